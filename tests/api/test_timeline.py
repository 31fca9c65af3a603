"""Timelines on the wire: what was told, by the time it tells of."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from memsvc.app import Service
from memsvc.domain import Scope
from tests.api import DATABASES, encoded, invalid, key, module_service, path, serving
from tests.factories import session_body

# Each with the day it tells of.
TEXTS = (
    "I flew on 3 May 2024.",
    "Was it hot?",
    "I swam on 5 May 2024.",
    "You ran since March 2024.",
    "I smoked before 2020.",
)


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


@pytest.fixture
def history(client: httpx.Client, user: str) -> str:
    """A session in which four turns of five name a time."""
    record(client, user, *TEXTS)
    return user


def record(
    client: httpx.Client, user: str, *texts: str, session: str = "s1", started_at: str = "2024-06-12T15:30:00Z"
) -> None:
    recorded = client.put(
        path(user, session), params={"wait": "indexed"}, json=session_body(*texts, started_at=started_at)
    )
    assert recorded.json()["status"]["indexed"]


def where(user: str) -> str:
    return f"/v1/users/{encoded(user)}/timeline"


def timeline(client: httpx.Client, user: str, **params: Any) -> dict[str, Any]:
    found = client.get(where(user), params=params)
    assert found.status_code == 200, found.text
    body: dict[str, Any] = found.json()
    return body


def words(body: dict[str, Any]) -> list[str]:
    return [item["when"] for item in body["items"]]


def test_item_tells_all_that_is_known_of_it(client: httpx.Client, user: str) -> None:
    body = session_body(
        "Look!", "Hello! I flew to Rome in spring 2022. It was hot.", started_at="2024-06-12T15:30:00+02:00"
    )
    body["turns"][1] |= {"turn_id": "D1:2", "speaker": "Ana", "role": "user"}
    client.put(path(user, "s1"), params={"wait": "indexed"}, json=body)

    found = timeline(client, user)

    assert found == {
        "items": [
            {
                "kind": "sentence",
                "text": "I flew to Rome in spring 2022.",
                "when": "spring 2022",
                "event": {"from": "2022-03-01", "to": "2022-06-01", "precision": "season"},
                "speaker": "Ana",
                "role": "user",
                "said_at": "2024-06-12T15:30:00+02:00",
                "sources": [
                    {
                        "session_id": "s1",
                        "turn_id": "D1:2",
                        "quote": "I flew to Rome in spring 2022.",
                        "start": 7,
                        "end": 37,
                    }
                ],
            }
        ],
        "next_cursor": None,
    }


@pytest.mark.parametrize(
    ("told", "event"),
    [
        ("on 3 May 2024", {"from": "2024-05-03", "to": "2024-05-04", "precision": "day"}),
        ("in the 90s", {"from": "1990-01-01", "to": "2000-01-01", "precision": "decade"}),
        ("in 2019", {"from": "2019-01-01", "to": "2020-01-01", "precision": "year"}),
        ("since March 2024", {"from": "2024-03-01", "to": None, "precision": "month"}),
        ("before 2020", {"from": None, "to": "2020-01-01", "precision": "year"}),
        ("yesterday", {"from": "2024-06-11", "to": "2024-06-12", "precision": "day"}),
        ("this morning", {"from": "2024-06-12T08:00:00Z", "to": "2024-06-12T12:00:00Z", "precision": "hour"}),
    ],
)
def test_event_is_half_open_and_as_exact_as_it_was_told(
    client: httpx.Client, user: str, told: str, event: dict[str, Any]
) -> None:
    record(client, user, f"I lived in Porto {told}.")

    (item,) = timeline(client, user)["items"]

    assert item["event"] == event


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({}, ["before 2020", "since March 2024", "3 May 2024", "5 May 2024"]),
        ({"from": "2024-05-03T00:00:00Z", "to": "2024-05-04T00:00:00Z"}, ["since March 2024", "3 May 2024"]),
        ({"from": "2024-05-04T00:00:00Z"}, ["since March 2024", "5 May 2024"]),
        ({"to": "2024-05-03T00:00:00Z"}, ["before 2020", "since March 2024"]),
        ({"to": "2024-05-03T00:00:01Z"}, ["before 2020", "since March 2024", "3 May 2024"]),
        ({"from": "2020-01-01T00:00:00Z", "to": "2024-03-01T00:00:00Z"}, []),
        ({"from": "2024-05-04T02:00:00+02:00", "to": "2024-05-04T20:00:00-04:00"}, ["since March 2024"]),
    ],
)
def test_timeline_between_two_instants_is_half_open(
    client: httpx.Client, history: str, params: dict[str, str], found: list[str]
) -> None:
    body = timeline(client, history, **params)

    assert words(body) == found


def test_timeline_of_a_speaker(client: httpx.Client, history: str) -> None:
    found = {who: words(timeline(client, history, speaker=who)) for who in ("user", "assistant", "Ana")}

    assert found == {
        "user": ["before 2020", "3 May 2024", "5 May 2024"],
        "assistant": ["since March 2024"],
        "Ana": [],
    }


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 200])
def test_pages_give_each_item_once(client: httpx.Client, history: str, limit: int) -> None:
    whole = timeline(client, history)["items"]

    pages = [timeline(client, history, limit=limit)]
    while pages[-1]["next_cursor"]:
        pages.append(timeline(client, history, limit=limit, cursor=pages[-1]["next_cursor"]))

    assert [item for page in pages for item in page["items"]] == whole
    assert [len(page["items"]) for page in pages] == [min(limit, 4 - at) for at in range(0, 4, limit)]


def test_timeline_is_as_it_was_known(client: httpx.Client, user: str) -> None:
    record(client, user, "I flew on 3 May 2024.", session="s1")
    summary = client.get(path(user, "s1")).json()["recorded_at"]
    record(client, user, "I swam on 5 May 2024.", session="s2", started_at="2024-06-13T15:30:00Z")

    clocks: list[dict[str, str]] = [
        {"valid_at": "2024-06-12T15:30:00Z"},
        {"valid_at": "2024-06-12T15:29:59Z"},
        {"valid_at": "2024-06-13T17:30:00+02:00"},
        {"recorded_at": summary},
        {"recorded_at": "2024-06-12T15:30:00Z"},
    ]
    found = [words(timeline(client, user, **clock)) for clock in clocks]

    assert found == [["3 May 2024"], [], ["3 May 2024", "5 May 2024"], ["3 May 2024"], []]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"from": "1714694400"}, "from"),
        ({"to": "2024-13-01T00:00:00Z"}, "to"),
        ({"from": "2024-05-03T00:00:00"}, "from"),
        ({"valid_at": "2024-05-03T00:00:00"}, "valid_at"),
        ({"recorded_at": "now"}, "recorded_at"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"speaker": "x" * 256}, "speaker"),
        ({"speaker": "a\x00b"}, "speaker"),
        ({"cursor": "x" * 2001}, "cursor"),
    ],
)
def test_malformed_request_is_refused(client: httpx.Client, user: str, params: dict[str, str], field: str) -> None:
    refused = client.get(where(user), params=params)

    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_request")
    assert [told["field"] for told in refused.json()["fields"]] == [field]


@pytest.mark.parametrize("to", ["2024-05-03T00:00:00Z", "2024-05-02T00:00:00Z", "2024-05-03T01:00:00+02:00"])
def test_empty_interval_is_refused(client: httpx.Client, user: str, to: str) -> None:
    refused = client.get(where(user), params={"from": "2024-05-03T00:00:00Z", "to": to})

    assert refused.status_code == 422
    assert refused.json() == invalid("The interval is empty: from is not before to.", "to", "must be after from")


@pytest.mark.parametrize("cursor", ["", "x", "bm9uc2Vuc2U=", "WyIyMDI0LTA1LTAzVDAwOjAwOjAwWiIsICJ4Il0=", "é"])
def test_cursor_of_nobodys_is_refused(client: httpx.Client, user: str, cursor: str) -> None:
    refused = client.get(where(user), params={"cursor": cursor})

    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_cursor")


def test_user_nobody_knows_has_told_nothing(client: httpx.Client, user: str) -> None:
    found = timeline(client, user)

    assert found == {"items": [], "next_cursor": None}


def test_timeline_needs_the_scope_to_read(client: httpx.Client, service: Service, history: str) -> None:
    headers = [key(service, scope) for scope in (Scope.READ, Scope.WRITE, Scope.ADMIN)]

    codes = [client.get(where(history), headers=header).status_code for header in headers]

    assert codes == [200, 403, 200]


def test_another_tenant_and_another_user_see_nothing(client: httpx.Client, service: Service, history: str) -> None:
    theirs = key(service, Scope.READ, workspace="elsewhere")
    cursor = timeline(client, history, limit=1)["next_cursor"]

    answers = [
        client.get(where(history), headers=theirs),
        client.get(where(history), headers=theirs, params={"cursor": cursor}),
        client.get(where("another"), params={"cursor": cursor}),
    ]

    assert [answer.json() for answer in answers] == [{"items": [], "next_cursor": None}] * 3


def test_forgotten_session_is_on_no_timeline(client: httpx.Client, history: str) -> None:
    client.delete(path(history, "s1"))

    assert timeline(client, history) == {"items": [], "next_cursor": None}


def test_turns_of_a_session_tell_the_times_they_name(client: httpx.Client, history: str) -> None:
    turns = client.get(path(history, "s1")).json()["turns"]

    assert [turn["times"] for turn in turns[:2]] == [
        [
            {
                "from": "2024-05-03",
                "to": "2024-05-04",
                "precision": "day",
                "text": "3 May 2024",
                "start": 10,
                "end": 20,
                "relative": False,
            }
        ],
        [],
    ]
