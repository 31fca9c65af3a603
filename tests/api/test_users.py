"""Users on the wire: how they tell time, and what a change of it does."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from memsvc.app import Service
from memsvc.domain import Scope
from tests.api import DATABASES, encoded, invalid, key, malformed, module_service, path, serving
from tests.doubles import until
from tests.factories import session_body


@pytest.fixture(scope="module", params=DATABASES)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with module_service(request, tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with serving(service) as opened:
        opened.headers.update(key(service, Scope.READ, Scope.WRITE))
        yield opened


@pytest.fixture
def user() -> str:
    return f"user-{uuid4().hex[:8]}"


def where(user: str) -> str:
    return f"/v1/users/{encoded(user)}"


def record(client: httpx.Client, user: str, *texts: str, session: str = "s1") -> None:
    body = session_body(*texts, started_at="2024-06-12T22:30:00Z")
    recorded = client.put(path(user, session), params={"wait": "indexed"}, json=body)
    assert recorded.json()["status"]["indexed"]


def locale(user: str, **more: Any) -> dict[str, Any]:
    return {"user_id": user, "time_zone": None, "week_start": "monday", "language": "en"} | more


def told(client: httpx.Client, user: str) -> list[tuple[str, str]]:
    """The words that the session's turns name times with, and when those begin."""
    turns = client.get(path(user, "s1")).json()["turns"]
    return [(time["text"], time["from"]) for turn in turns for time in turn["times"]]


def test_user_tells_time_the_usual_way_until_told_otherwise(client: httpx.Client, user: str) -> None:
    record(client, user, "Hello!")

    found = client.get(where(user))

    assert (found.status_code, found.json()) == (200, locale(user))


def test_user_nobody_knows_is_not_found(client: httpx.Client, user: str) -> None:
    found = client.get(where(user))

    assert (found.status_code, found.json()["error"]) == (404, "user_not_found")


def test_change_answers_the_whole_and_keeps_what_is_left_out(client: httpx.Client, user: str) -> None:
    changes: list[dict[str, Any]] = [
        {"time_zone": "Europe/Berlin"},
        {"week_start": "sunday"},
        {"language": "de"},
        {},
        {"time_zone": None, "week_start": "saturday"},
    ]

    answers = [client.patch(where(user), json=body) for body in changes]

    berlin = locale(user, time_zone="Europe/Berlin")
    assert [answer.status_code for answer in answers] == [200] * 5
    assert [answer.json() for answer in answers] == [
        berlin,
        {**berlin, "week_start": "sunday"},
        {**berlin, "week_start": "sunday", "language": "de"},
        {**berlin, "week_start": "sunday", "language": "de"},
        locale(user, week_start="saturday", language="de"),
    ]
    assert client.get(where(user)).json() == answers[-1].json()


def test_change_dates_anew_what_was_said(client: httpx.Client, user: str) -> None:
    record(client, user, "We met yesterday.")
    before = told(client, user)

    client.patch(where(user), json={"time_zone": "Asia/Tokyo"})

    until(lambda: client.get(path(user, "s1")).json()["status"]["indexed"])
    # In Tokyo it was the 13th when it was said.
    assert (before, told(client, user)) == ([("yesterday", "2024-06-11")], [("yesterday", "2024-06-12")])


def test_words_of_a_query_are_read_in_the_users_zone(client: httpx.Client, user: str) -> None:
    record(client, user, "Hello!")
    client.patch(where(user), json={"time_zone": "Asia/Tokyo"})
    asks = {"query": "What did I buy yesterday?", "asked_at": "2024-06-12T22:30:00Z"}

    window = client.post(f"{where(user)}/recall", json=asks).json()["window"]

    assert (window["from"], window["to"]) == ("2024-06-12T00:00:00+09:00", "2024-06-13T00:00:00+09:00")


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "", " ", "europe", "../UTC", "/etc/passwd", "UTC\x00", "Europe/Berlin "]
)
def test_zone_nobody_knows_is_refused(client: httpx.Client, user: str, zone: str) -> None:
    client.patch(where(user), json={"time_zone": "Asia/Tokyo"})

    refused = client.patch(where(user), json={"time_zone": zone})

    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_request")
    assert [field["field"] for field in refused.json()["fields"]] == ["time_zone"]
    assert client.get(where(user)).json()["time_zone"] == "Asia/Tokyo"


def test_refusals_say_what_to_give_instead(client: httpx.Client, user: str) -> None:
    bodies = [{"time_zone": "Mars/Olympus"}, {"language": "xx"}]

    refused = [client.patch(where(user), json=body) for body in bodies]

    assert [answer.json() for answer in refused] == [
        invalid("'Mars/Olympus' is not a time zone; give one like Europe/Berlin.", "time_zone", "is not known"),
        invalid(
            "Times cannot be read in the language 'xx'; give a code like en, de or zh.", "language", "is not known"
        ),
    ]
    assert client.get(where(user)).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"week_start": "tuesday"}, "week_start"),
        ({"week_start": 0}, "week_start"),
        ({"week_start": None}, "week_start"),
        ({"language": "German"}, "language"),
        ({"language": "DE"}, "language"),
        ({"language": None}, "language"),
        ({"language": ""}, "language"),
        ({"time_zone": 2}, "time_zone"),
        ({"time_zone": "x" * 65}, "time_zone"),
        ({"timezone": "UTC"}, "timezone"),
    ],
)
def test_malformed_change_is_refused(client: httpx.Client, user: str, body: dict[str, Any], field: str) -> None:
    refused = client.patch(where(user), json=body)

    assert refused.status_code == 422
    (told_,) = refused.json()["fields"]
    assert refused.json() == malformed(field, told_["message"])
    assert client.get(where(user)).status_code == 404


@pytest.mark.parametrize(
    ("body", "error"),
    [("[]", "invalid_request"), ("null", "invalid_request"), ('"UTC"', "invalid_request"), ("{", "invalid_json")],
)
def test_body_that_is_no_object_is_refused(client: httpx.Client, user: str, body: str, error: str) -> None:
    refused = client.patch(where(user), content=body, headers={"Content-Type": "application/json"})

    assert (refused.status_code, refused.json()["error"]) == (422, error)


def test_reading_needs_the_scope_to_read_and_changing_that_to_write(
    client: httpx.Client, service: Service, user: str
) -> None:
    client.patch(where(user), json={})
    read, write = key(service, Scope.READ), key(service, Scope.WRITE)

    codes = [
        client.request(method, where(user), headers=header, json=body).status_code
        for header in (read, write)
        for method, body in (("GET", None), ("PATCH", {}))
    ]

    assert codes == [200, 403, 403, 200]


def test_another_tenant_neither_sees_nor_changes_a_user(client: httpx.Client, service: Service, user: str) -> None:
    client.patch(where(user), json={"time_zone": "Asia/Tokyo"})
    theirs = key(service, Scope.READ, Scope.WRITE, workspace="elsewhere")

    seen = client.get(where(user), headers=theirs)
    changed = client.patch(where(user), headers=theirs, json={"time_zone": "Europe/Berlin"})

    assert seen.status_code == 404
    assert changed.json()["time_zone"] == "Europe/Berlin"
    assert client.get(where(user)).json()["time_zone"] == "Asia/Tokyo"


def test_odd_ids_are_users_too(client: httpx.Client) -> None:
    odd = f"ana/../ bén?{uuid4().hex[:8]}"

    changed = client.patch(where(odd), json={"time_zone": "Asia/Tokyo"})

    assert changed.json() == locale(odd, time_zone="Asia/Tokyo") == client.get(where(odd)).json()
