"""Facts as their owner tells them, over HTTP on both databases: what is kept of them, merged, ended, and refused."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from starlette.responses import Response

from memsvc.app import Service
from memsvc.domain import Scope
from memsvc.settings import Settings
from tests.api import DATABASES, encoded, key, made, malformed, module_service, path, serving
from tests.factories import session_body
from tests.llm import cut_off, empty, reset, said, scripted_llm, status

NOBODYS = "00000000-0000-0000-0000-000000000000"
JULY, AUGUST, SEPTEMBER = (f"2024-0{month}-01T00:00:00Z" for month in (7, 8, 9))


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


def where(user: str, fact_id: str = "", rest: str = "") -> str:
    return f"/v1/users/{encoded(user)}/facts" + (f"/{fact_id}{rest}" if fact_id else "")


def ok(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def tell(client: httpx.Client, user: str, text: str = "Ana lives in Rome.", **more: Any) -> dict[str, Any]:
    return ok(client.post(where(user), json={"text": text, **more}), 201)


def tell_again(client: httpx.Client, user: str, text: str = "Ana lives in Rome.", **more: Any) -> dict[str, Any]:
    """Tell what is known already."""
    return ok(client.post(where(user), json={"text": text, **more}))


def listed(fact: dict[str, Any]) -> dict[str, Any]:
    """A fact as it stands in a list: without its turns and its history."""
    return {name: value for name, value in fact.items() if name not in ("turns", "history")}


def home(client: httpx.Client, user: str, town: str, valid_at: str, **more: Any) -> dict[str, Any]:
    return tell(client, user, f"Ana lives in {town}.", slot="home", value=town, valid_at=valid_at, **more)


def read(client: httpx.Client, user: str, fact_id: str) -> dict[str, Any]:
    return ok(client.get(where(user, fact_id)))


def change(client: httpx.Client, user: str, fact_id: str, **given: Any) -> dict[str, Any]:
    return ok(client.patch(where(user, fact_id), json=given))


def record(client: httpx.Client, user: str, *texts: str, session: str = "s1", **more: Any) -> None:
    client.put(path(user, session), params={"wait": "extracted"}, json=session_body(*texts, **more))


def cited(text: str, quote: str | None = None, *, turn: str = "0", session: str = "s1") -> dict[str, Any]:
    """A request that tells a fact with its source."""
    return {"text": text, "sources": [{"session_id": session, "turn_id": turn, "quote": quote or text}]}


def page(client: httpx.Client, user: str, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ok(client.get(where(user), params=params))["facts"]
    return found


def texts(client: httpx.Client, user: str, **params: Any) -> list[str]:
    return [fact["text"] for fact in page(client, user, **params)]


def refused(answer: httpx.Response) -> tuple[int, str, list[str]]:
    """The status, the name and the fields of a refusal."""
    body = answer.json()
    return answer.status_code, body["error"], [field["field"] for field in body.get("fields", ())]


def test_told_fact_is_on_record_with_a_turn_of_its_own(client: httpx.Client, user: str) -> None:
    told = tell(
        client,
        user,
        "  Ana   lives\nin Rome. ",
        kind="event",
        speaker="Ben",
        subject="Ana",
        slot="home",
        value="Rome",
        event={"from": "2024-06-30", "to": "2024-07-01"},
        valid_at="2024-07-01T02:00:00+02:00",
        confidence=0.75,
    )

    turn_id = told["sources"][0]["turn_id"]
    assert told == {
        "fact_id": told["fact_id"],
        "text": "Ana lives in Rome.",
        "kind": "event",
        "subject": "Ana",
        "speaker": "Ben",
        "slot": "home",
        "value": "Rome",
        "event": {"from": "2024-06-30", "to": "2024-07-01", "precision": "day"},
        "when": None,
        "event_source": "api",
        "valid_at": "2024-07-01T00:00:00Z",
        "invalid_at": None,
        "recorded_at": told["recorded_at"],
        "expired_at": None,
        "superseded_by": None,
        "confidence": 0.75,
        "source": "api",
        "trust": "user",
        "sources": [
            {"session_id": "memsvc:facts", "turn_id": turn_id, "quote": "Ana lives in Rome.", "start": 0, "end": 18}
        ],
        "turns": [
            {
                "session_id": "memsvc:facts",
                "turn_id": turn_id,
                "role": "user",
                "speaker": "Ben",
                "text": "Ana lives in Rome.",
                "said_at": told["turns"][0]["said_at"],
            }
        ],
        "history": [
            {
                "at": told["recorded_at"],
                "valid_at": "2024-07-01T00:00:00Z",
                "invalid_at": None,
                "superseded_by": None,
                "merged_into": None,
                "reason": "it is new",
                "decided_by": "rules",
            }
        ],
    }
    assert read(client, user, told["fact_id"]) == told
    assert page(client, user) == [listed(told)]


def test_text_alone_is_a_fact_about_the_user_from_now_on(client: httpx.Client, user: str) -> None:
    told = tell(client, user)

    turn = ok(client.get(path(user, "memsvc:facts")))["turns"][0]
    assert {name: told[name] for name in ("kind", "subject", "speaker", "slot", "event", "confidence")} == {
        "kind": "fact",
        "subject": "user",
        "speaker": "user",
        "slot": None,
        "event": None,
        "confidence": None,
    }
    assert (turn["text"], turn["role"]) == ("Ana lives in Rome.", "user")
    # It was said when it was told, whenever it holds from.
    assert turn["said_at"] >= told["valid_at"]


@pytest.mark.parametrize(
    ("said", "quote", "found"),
    [
        pytest.param("Well, I live in Rome.", "I live in Rome.", ("I live in Rome.", 6, 21), id="word for word"),
        pytest.param("Well, I live in Rome.", "i LIVE in  rome", ("I live in Rome", 6, 20), id="tidied by the caller"),
        pytest.param(
            "😀👩‍👩‍👧 naïve, 我住在罗马。", "我住在罗马。", ("我住在罗马。", 14, 20), id="characters, not bytes"
        ),
        pytest.param("Rome. Rome.", "Rome.", ("Rome.", 0, 5), id="the first of two"),
    ],
)
def test_quote_is_cut_to_the_turns_own_words(
    client: httpx.Client, user: str, said: str, quote: str, found: tuple[str, int, int]
) -> None:
    record(client, user, said)

    told = ok(client.post(where(user), json=cited("Ana lives in Rome.", quote)), 201)

    quoted, start, end = found
    assert told["sources"] == [{"session_id": "s1", "turn_id": "0", "quote": quoted, "start": start, "end": end}]
    assert said[start:end] == quoted


def test_caption_can_be_quoted(client: httpx.Client, user: str) -> None:
    body = session_body("Look!")
    body["turns"][0]["images"] = [{"caption": "a dog on a beach"}]
    client.put(path(user, "s1"), json=body)

    told = ok(client.post(where(user), json=cited("Ana has a dog.", "a dog on a beach")), 201)

    (source,) = told["sources"]
    assert (source["quote"], source["start"], source["end"]) == ("a dog on a beach", 14, 30)
    assert "Look!\n[image: a dog on a beach]"[14:30] == "a dog on a beach"


def test_cited_fact_is_as_old_and_as_trusted_as_its_turn(client: httpx.Client, user: str) -> None:
    record(client, user, "Where shall I go?", "Go to Ramiro.", started_at="2024-03-01T10:00:00Z")

    told = ok(client.post(where(user), json=cited("Ramiro is good.", "Go to Ramiro", turn="1")), 201)

    assert (told["valid_at"], told["speaker"], told["trust"], told["source"]) == (
        "2024-03-01T10:00:00Z",
        "assistant",
        "assistant",
        "api",
    )


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        pytest.param(
            {"from": "2024-02-27", "to": "2024-03-02"},
            {"from": "2024-02-27", "to": "2024-03-02", "precision": "day"},
            id="days",
        ),
        pytest.param(
            {"from": "2024-02-29"}, {"from": "2024-02-29", "to": "2024-03-01", "precision": "day"}, id="one day"
        ),
        pytest.param(
            {"from": "2024-05-06", "precision": "week"},
            {"from": "2024-05-06", "to": "2024-05-13", "precision": "week"},
            id="one week",
        ),
        pytest.param(
            {"from": "2024-02-01", "precision": "month"},
            {"from": "2024-02-01", "to": "2024-03-01", "precision": "month"},
            id="one month",
        ),
        pytest.param(
            {"from": "2024-01-31", "precision": "month"},
            {"from": "2024-01-31", "to": "2024-02-29", "precision": "month"},
            id="a month from the last day of one",
        ),
        pytest.param(
            {"from": "2024-10-01", "precision": "quarter"},
            {"from": "2024-10-01", "to": "2025-01-01", "precision": "quarter"},
            id="one quarter",
        ),
        pytest.param(
            {"from": "2023-12-01", "precision": "season"},
            {"from": "2023-12-01", "to": "2024-03-01", "precision": "season"},
            id="one season",
        ),
        pytest.param(
            {"from": "2020-01-01", "precision": "decade"},
            {"from": "2020-01-01", "to": "2030-01-01", "precision": "decade"},
            id="one decade",
        ),
        pytest.param(
            {"from": "2024-01-01", "precision": "year"},
            {"from": "2024-01-01", "to": "2025-01-01", "precision": "year"},
            id="one year",
        ),
        pytest.param(
            {"from": "2024-02-27T09:30:00+05:30", "to": "2024-02-27T10:00:00+05:30", "precision": "minute"},
            {"from": "2024-02-27T09:30:00+05:30", "to": "2024-02-27T10:00:00+05:30", "precision": "minute"},
            id="in their own zone",
        ),
        pytest.param(
            {"from": "2024-02-27T09:00:00Z", "precision": "hour"},
            {"from": "2024-02-27T09:00:00Z", "to": "2024-02-27T10:00:00Z", "precision": "hour"},
            id="one hour",
        ),
        pytest.param(
            {"from": "2024-02-27T00:00:00+02:00", "precision": "hour"},
            {"from": "2024-02-27T00:00:00+02:00", "to": "2024-02-27T01:00:00+02:00", "precision": "hour"},
            id="an hour that begins the day",
        ),
    ],
)
def test_event_is_kept_as_it_is_told(
    client: httpx.Client, user: str, given: dict[str, str], shown: dict[str, str]
) -> None:
    told = tell(client, user, event=given)

    assert told["event"] == shown
    assert read(client, user, told["fact_id"])["event"] == shown


def test_days_are_the_users_own(client: httpx.Client, user: str) -> None:
    record(client, user, "Hello!")
    ok(client.patch(f"/v1/users/{user}", json={"time_zone": "America/New_York"}))

    tell(client, user, event={"from": "2024-02-27"})

    evening = {"from": "2024-02-28T04:00:00Z", "to": "2024-02-28T05:00:00Z"}
    after = {"from": "2024-02-28T05:00:00Z", "to": "2024-02-28T06:00:00Z"}
    assert texts(client, user, **evening) == ["Ana lives in Rome."]
    assert texts(client, user, **after) == []


def test_instant_that_begins_a_day_elsewhere_stays_that_instant(client: httpx.Client, user: str) -> None:
    record(client, user, "Hello!")
    ok(client.patch(f"/v1/users/{user}", json={"time_zone": "America/New_York"}))

    tell(client, user, event={"from": "2024-02-27T00:00:00Z", "precision": "hour"})

    assert texts(client, user, **{"from": "2024-02-27T00:00:00Z", "to": "2024-02-27T01:00:00Z"}) == [
        "Ana lives in Rome."
    ]


def test_time_without_a_zone_is_told_in_the_workspaces_own(service: Service, client: httpx.Client, user: str) -> None:
    workspace = f"workspace-{uuid4().hex[:8]}"
    theirs = key(service, Scope.WRITE, workspace=workspace)
    service.use_cases.gatekeeper.set_time_zone(workspace, "Europe/Berlin")
    event = {"from": "2024-07-01T09:00:00", "to": "2024-07-01T10:00:00", "precision": "hour"}
    body = {"text": "Ana sang.", "valid_at": "2024-07-01T02:00:00", "event": event}

    told = ok(client.post(where(user), json=body, headers=theirs), 201)

    assert told["valid_at"] == JULY
    assert told["event"] == {
        "from": "2024-07-01T09:00:00+02:00",
        "to": "2024-07-01T10:00:00+02:00",
        "precision": "hour",
    }


@pytest.mark.parametrize(
    "text",
    [
        "Ж" * 2000,
        "😀" * 2000,
        "e\u0301 naïve 我住在罗马。 مرحبا",
        "<b>&amp;</b> \\ ' \" ; DROP TABLE facts",
        "\u202eback",
    ],
    ids=["2,000 letters", "2,000 emoji", "many scripts", "marks", "right to left"],
)
def test_text_comes_back_as_it_was_told(client: httpx.Client, user: str, text: str) -> None:
    told = tell(client, user, text)

    assert (told["text"], told["sources"][0]["quote"], told["sources"][0]["end"]) == (text, text, len(text))
    assert read(client, user, told["fact_id"]) == told


def test_later_value_ends_the_earlier_one(client: httpx.Client, user: str) -> None:
    porto = home(client, user, "Porto", JULY)

    faro = home(client, user, "Faro", AUGUST)

    ended = read(client, user, porto["fact_id"])
    assert {name: ended[name] for name in ("invalid_at", "superseded_by", "expired_at")} == {
        "invalid_at": AUGUST,
        "superseded_by": faro["fact_id"],
        "expired_at": faro["recorded_at"],
    }
    assert ended["history"] == [
        porto["history"][0],
        {
            "at": faro["recorded_at"],
            "valid_at": JULY,
            "invalid_at": AUGUST,
            "superseded_by": faro["fact_id"],
            "merged_into": None,
            "reason": "another home",
            "decided_by": "rules",
        },
    ]
    assert texts(client, user) == ["Ana lives in Faro."]


def test_earlier_value_that_is_told_late_ends_at_once(client: httpx.Client, user: str) -> None:
    faro = home(client, user, "Faro", AUGUST)

    porto = home(client, user, "Porto", JULY)

    assert (porto["invalid_at"], porto["superseded_by"]) == (AUGUST, faro["fact_id"])
    assert texts(client, user) == ["Ana lives in Faro."]


def test_fact_told_again_is_the_known_one_with_one_more_source(client: httpx.Client, user: str) -> None:
    first = tell(client, user, valid_at=JULY)

    again = tell_again(client, user, "ana lives in ROME", valid_at=AUGUST)

    assert (again["fact_id"], again["text"], again["valid_at"]) == (first["fact_id"], "Ana lives in Rome.", JULY)
    assert again["sources"][0] == first["sources"][0]
    assert [turn["text"] for turn in again["turns"]] == ["Ana lives in Rome.", "ana lives in ROME"]
    assert page(client, user, include="superseded") == [listed(again)]


@pytest.mark.parametrize("more", [{"valid_at": JULY}, {}], ids=["of an instant", "of now"])
def test_request_that_is_repeated_changes_nothing(client: httpx.Client, user: str, more: dict[str, Any]) -> None:
    first = tell(client, user, **more)

    again = [tell_again(client, user, **more) for _ in range(3)]

    assert again == [first] * 3
    assert page(client, user, include="superseded") == [listed(first)]
    assert len(ok(client.get(path(user, "memsvc:facts")))["turns"]) == 1


@pytest.mark.parametrize("more", [{"valid_at": JULY}, {}], ids=["of an instant", "of now"])
def test_request_that_is_sent_many_times_at_once_is_one_fact(
    client: httpx.Client, user: str, more: dict[str, Any]
) -> None:
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(client.post, where(user), json={"text": "Ana lives in Rome.", **more}) for _ in range(8)]
    answers = [one.result() for one in sent]

    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert [fact["fact_id"] for fact in page(client, user)] == [answers[0].json()["fact_id"]]


def test_facts_that_are_told_at_once_are_all_kept(client: httpx.Client, user: str) -> None:
    names = [f"Ana knows person {number}." for number in range(8)]

    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(client.post, where(user), json={"text": name}) for name in names]

    assert [one.result().status_code for one in sent] == [201] * 8
    assert sorted(texts(client, user)) == names


def test_repeated_request_does_not_bring_back_what_was_ended_since(client: httpx.Client, user: str) -> None:
    porto, faro = home(client, user, "Porto", JULY), home(client, user, "Faro", AUGUST)

    again = tell_again(client, user, "Ana lives in Porto.", slot="home", value="Porto", valid_at=JULY)

    assert (again["fact_id"], again["superseded_by"]) == (porto["fact_id"], faro["fact_id"])
    assert texts(client, user) == ["Ana lives in Faro."]


def test_state_that_comes_back_is_a_fact_of_its_own(client: httpx.Client, user: str) -> None:
    first, faro = home(client, user, "Porto", JULY), home(client, user, "Faro", AUGUST)

    back = home(client, user, "Porto", SEPTEMBER)

    assert (back["fact_id"] != first["fact_id"], back["valid_at"], back["sources"][1:]) == (True, SEPTEMBER, [])
    assert read(client, user, faro["fact_id"])["superseded_by"] == back["fact_id"]
    assert texts(client, user) == ["Ana lives in Porto."]


def test_state_that_comes_back_is_believed_also_where_no_time_is_told(client: httpx.Client, user: str) -> None:
    for town in ("Porto", "Faro"):
        tell(client, user, f"Ana lives in {town}.", slot="home", value=town)

    client.post(where(user), json={"text": "Ana lives in Porto.", "slot": "home", "value": "Porto"})

    assert texts(client, user) == ["Ana lives in Porto."]


def test_cited_fact_told_twice_is_one(client: httpx.Client, user: str) -> None:
    record(client, user, "Well, Rome it is.")
    first = ok(client.post(where(user), json=cited("Ana lives in Rome.", "Rome it is")), 201)

    again = client.post(where(user), json=cited("Ana lives in Rome.", "Rome it is"))

    assert (again.status_code, again.json()) == (200, first)
    assert page(client, user, include="superseded") == [listed(first)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("Ana writes C.", "Ana writes C++.", id="C and C++"),
        pytest.param("It was 5 degrees.", "It was -5 degrees.", id="above and below"),
        pytest.param("Ana says 👍", "Ana says 👎", id="signs"),
        pytest.param("👍", "👎", id="nothing but signs"),
        pytest.param("Ana paid 1.5.", "Ana paid 15.", id="numbers"),
        pytest.param("Ana likes it.", "Ana likes i t.", id="words"),
    ],
)
def test_facts_that_say_two_things_are_two(client: httpx.Client, user: str, one: str, other: str) -> None:
    tell(client, user, one, valid_at=JULY)

    tell(client, user, other, valid_at=AUGUST)

    assert texts(client, user) == [one, other]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({}, "text", id="nothing"),
        pytest.param({"text": ""}, "text", id="empty text"),
        pytest.param({"text": " \n\u00a0"}, "text", id="blank text"),
        pytest.param({"text": "...!?"}, "text", id="nothing but punctuation"),
        pytest.param({"text": "\u200b"}, "text", id="nothing that can be seen"),
        pytest.param({"text": "x" * 2001}, "text", id="2,001 characters"),
        pytest.param({"text": "a\x00b"}, "text", id="NUL in the text"),
        pytest.param({"text": "a\ud800b"}, "text", id="half a character"),
        pytest.param({"text": 5}, "text", id="text that is none"),
        pytest.param({"kind": "Fact"}, "kind", id="kind in capitals"),
        pytest.param({"kind": "x" * 33}, "kind", id="long kind"),
        pytest.param({"kind": None}, "kind", id="no kind"),
        pytest.param({"speaker": ""}, "speaker", id="nobody"),
        pytest.param({"speaker": "a\nb"}, "speaker", id="line break in a name"),
        pytest.param({"subject": "x" * 201}, "subject", id="long subject"),
        pytest.param({"subject": "a\x00b"}, "subject", id="NUL in the subject"),
        pytest.param({"subject": "Ana\n## Standing instructions"}, "subject", id="line break in the subject"),
        pytest.param({"slot": "a\x00b"}, "slot", id="NUL in the slot"),
        pytest.param({"slot": "a\u2028b"}, "slot", id="line separator in the slot"),
        pytest.param({"value": "a\x1bb"}, "value", id="control character in the value"),
        pytest.param({"value": "x" * 201}, "value", id="long value"),
        pytest.param({"confidence": 1.01}, "confidence", id="too confident"),
        pytest.param({"confidence": -0.01}, "confidence", id="less than no confidence"),
        pytest.param({"valid_at": "2024-01-01T00:00:00"}, "valid_at", id="valid_at without a zone"),
        pytest.param({"valid_at": 1704067200}, "valid_at", id="valid_at as a number"),
        pytest.param({"valid_at": "9999-12-31T23:59:59-01:00"}, "valid_at", id="after the calendar"),
        pytest.param({"event": {}}, "event.from", id="event without a beginning"),
        pytest.param({"event": {"from": "2024-01-02", "to": "2024-01-02"}}, "event.to", id="empty event"),
        pytest.param({"event": {"from": "2024-01-02", "to": "2024-01-01"}}, "event.to", id="event backwards"),
        pytest.param({"event": {"from": "2024-01-02", "precision": "moment"}}, "event.precision", id="no precision"),
        pytest.param({"event": {"from": "2024-02-30"}}, "event.from", id="no day"),
        pytest.param({"event": {"from": "2024-01-01T10:00:00"}}, "event.from", id="event without a zone"),
        pytest.param({"event": {"from": "2024-01-01T00:00:00"}}, "event.from", id="midnight without a zone"),
        pytest.param({"event": {"from": 1704067200}}, "event.from", id="event as a number"),
        pytest.param({"event": {"from": "1704067200"}}, "event.from", id="event as a number in a string"),
        pytest.param({"event": {"from": "9999-12-31"}}, "event.from", id="the day before the calendar ends"),
        pytest.param({"event": {"from": "0001-01-01T00:30:00+01:00", "precision": "hour"}}, "event.from", id="year 0"),
        pytest.param(
            {"event": {"from": "9999-12-31T23:00:00-12:00", "to": "9999-12-31T23:30:00-12:00"}},
            "event.from",
            id="event after the calendar",
        ),
        pytest.param(
            {"event": {"from": "9995-01-01", "precision": "decade"}}, "event.from", id="decade beyond the last"
        ),
        pytest.param(
            {"event": {"from": "9999-12-31T22:30:00-01:00", "precision": "hour"}},
            "event.from",
            id="hour that ends after the calendar",
        ),
        pytest.param({"event": {"from": "20240101"}}, "event.from", id="date without its dashes"),
        pytest.param({"event": {"from": "2024-W10-1"}}, "event.from", id="day of a week"),
        pytest.param({"sources": [{}, {}]}, "sources", id="two sources"),
        pytest.param({"sources": [{"turn_id": "0", "quote": "q"}]}, "sources.0.session_id", id="source of no session"),
        pytest.param(
            {"sources": [{"session_id": "s1", "turn_id": "0", "quote": ""}]}, "sources.0.quote", id="empty quote"
        ),
        pytest.param(
            {"sources": [{"session_id": "s1", "turn_id": "0", "quote": "q" * 2001}]}, "sources.0.quote", id="long quote"
        ),
        pytest.param(
            {"sources": [{"session_id": "s1", "turn_id": "0", "quote": "\x00"}]}, "sources.0.quote", id="NUL in a quote"
        ),
        pytest.param({"txt": "misspelt"}, "txt", id="unknown field"),
    ],
)
def test_malformed_fact_is_refused_and_leaves_no_trace(
    client: httpx.Client, user: str, body: dict[str, Any], field: str
) -> None:
    # Written by hand, since no client sends half a character by itself.
    content = json.dumps({"text": "Ana lives in Rome.", **body} if body else {})

    answer = client.post(where(user), content=content, headers={"Content-Type": "application/json"})

    status, error, fields = refused(answer)
    assert (status, error) == (422, "invalid_request")
    assert field in fields
    assert client.get(path(user)).json() == {"sessions": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        pytest.param(cited("Rome", session="s2"), (404, "session_not_found", []), id="unknown session"),
        pytest.param(
            cited("Rome", turn="9"), (422, "invalid_request", ["sources.0.turn_id"]), id="turn that is not there"
        ),
        pytest.param(cited("Rome", "I live in Paris"), (422, "invalid_request", ["sources.0.quote"]), id="other words"),
        pytest.param(cited("Rome", "Rome in live"), (422, "invalid_request", ["sources.0.quote"]), id="another order"),
        pytest.param(cited("Rome", "Rom"), (422, "invalid_request", ["sources.0.quote"]), id="half a word"),
        pytest.param(cited("Rome", "since 201"), (422, "invalid_request", ["sources.0.quote"]), id="half a number"),
        pytest.param(cited("Rome", " "), (422, "invalid_request", ["sources.0.quote"]), id="blank"),
        pytest.param(cited("Rome", "!?"), (422, "invalid_request", ["sources.0.quote"]), id="no word"),
    ],
)
def test_quote_that_is_not_there_is_refused(
    client: httpx.Client, user: str, body: dict[str, Any], refusal: tuple[int, str, list[str]]
) -> None:
    record(client, user, "I live in Romeo's house, in Rome, since 2015.")
    before = page(client, user)

    answer = client.post(where(user), json=body)

    assert refused(answer) == refusal
    assert page(client, user) == before


def test_quote_of_another_user_is_not_there(client: httpx.Client, user: str) -> None:
    record(client, f"{user}-2", "I live in Rome.")

    answer = client.post(where(user), json=cited("Ana lives in Rome.", "I live in Rome."))

    assert (answer.status_code, answer.json()) == (
        404,
        {"error": "session_not_found", "detail": f"User {user!r} has no session 's1'."},
    )


def test_body_that_is_no_object_is_refused(client: httpx.Client, user: str) -> None:
    answer = client.post(where(user), json="Ana lives in Rome.")

    assert (answer.status_code, answer.json()) == (
        422,
        malformed("body", "must be a JSON object, sent with Content-Type: application/json"),
    )


def test_same_words_of_two_users_are_two_facts(client: httpx.Client, user: str) -> None:
    mine, theirs = tell(client, user, valid_at=JULY), tell(client, f"{user}-2", valid_at=JULY)

    assert UUID(mine["fact_id"]) != UUID(theirs["fact_id"])
    assert (len(mine["sources"]), len(theirs["sources"])) == (1, 1)


@pytest.mark.parametrize(
    "replies",
    [
        pytest.param([status(500)], id="down"),
        pytest.param([status(429)], id="busy"),
        pytest.param([reset()], id="reset"),
        pytest.param([cut_off("{")], id="cut off"),
        pytest.param([said("no"), said("no")], id="nonsense, twice"),
        pytest.param([said({"pairs": []}), empty()], id="no judgement, then nothing"),
    ],
)
def test_fact_is_compared_by_rules_alone_while_the_model_fails(
    settings: Settings, database_url: str, replies: list[Response]
) -> None:
    with scripted_llm() as llm:
        changes = {"llm_base_url": llm.url, "llm_model": "small", "llm_attempts": 1}
        with serving(made(settings, database_url=database_url, **changes)) as client:
            violin = tell(client, "ana", "Ana plays the violin in a band.", valid_at=JULY)
            llm.then(*replies)

            told = tell(client, "ana", "Ana plays no violin in a band.", valid_at=AUGUST)

            (_, outcome) = ok(client.get(path("ana", "memsvc:facts", "/outcome")))["statements"]
            found = page(client, "ana")

    assert len(llm.requests) == len(replies)
    assert (outcome["outcome"], outcome["action"], outcome["decided_by"]) == ("added", "add", "rules")
    assert found == [listed(violin), listed(told)]


def test_rules_end_what_they_can_while_the_model_is_down(settings: Settings, database_url: str) -> None:
    with scripted_llm() as llm:
        llm.answers = lambda _body: status(500)
        changes = {"llm_base_url": llm.url, "llm_model": "small", "llm_attempts": 1}
        with serving(made(settings, database_url=database_url, **changes)) as client:
            porto, faro = home(client, "ana", "Porto", JULY), home(client, "ana", "Faro", AUGUST)

            ended = read(client, "ana", porto["fact_id"])

    assert (ended["superseded_by"], ended["invalid_at"]) == (faro["fact_id"], AUGUST)
