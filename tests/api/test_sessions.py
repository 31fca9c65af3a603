"""Recording on the wire: what goes in comes out again, once, and the past never changes."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from memsvc.app import Service
from memsvc.settings import Settings
from tests.api import DATABASES, execute, made, module_service, path, serving, turn_texts
from tests.doubles import until
from tests.factories import OWNER, session_body

UNINDEXED = {"indexed": False, "extracted": "off", "error": None, "degraded": None}
INDEXED = {"indexed": True, "extracted": "off", "error": None, "degraded": None}


@pytest.fixture(scope="module", params=DATABASES)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with module_service(request, tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with serving(service) as opened:
        yield opened


@pytest.fixture
def user() -> str:
    return f"user-{uuid4().hex[:8]}"


def conflict(session_id: str, what: str) -> dict[str, Any]:
    detail = f"Session {session_id!r} is on disk with other content: {what}. What was recorded is never changed; "
    return {"error": "session_conflict", "detail": detail + "record a new session, or delete this one first."}


def answer(turns: int, rounds: int, session_id: str = "s1") -> dict[str, Any]:
    return {"session_id": session_id, "turns": turns, "rounds": rounds, "status": INDEXED}


FULL_TURN = {
    "turn_id": "D1:1",
    "role": "user",
    "speaker": "Caroline",
    "text": "Look at this!",
    "said_at": "2024-03-01T10:00:00Z",
    "images": [{"caption": "a dog on a beach"}],
}


def full_session(**changes: Any) -> dict[str, Any]:
    return {"started_at": "2024-03-01T10:00:00Z", "turns": [{**FULL_TURN, **changes}]}


# Recording a whole session.


def test_new_session_is_created(client: httpx.Client, user: str) -> None:
    recorded = client.put(path(user, "s1"), json=session_body("I moved to Lisbon.", "How is it?", "Sunny."))

    assert recorded.status_code == 201
    assert {**recorded.json(), "status": None} == {"session_id": "s1", "turns": 3, "rounds": 2, "status": None}
    assert recorded.json()["status"] in (UNINDEXED, INDEXED)


def test_recorded_session_is_read_as_it_was_sent(client: httpx.Client, user: str) -> None:
    reply = {
        "turn_id": "D1:2",
        "role": "assistant",
        "speaker": "Mel",
        "text": "What a dog!",
        "said_at": "2024-03-01T10:01:30.250000+02:00",
        "images": [],
    }
    sent = {"started_at": "2024-03-01T09:59:00+02:00", "turns": [FULL_TURN, reply], "metadata": {"channel": "web"}}
    before = datetime.now(UTC)
    client.put(path(user, "s1"), params={"wait": "indexed"}, json=sent)

    read = client.get(path(user, "s1"))

    body = read.json()
    recorded_at = datetime.fromisoformat(body.pop("recorded_at"))
    assert read.status_code == 200
    told = [{**turn, "times": []} for turn in (FULL_TURN, reply)]
    assert body == {"session_id": "s1", **sent, "turns": told, "facts": [], "digest": [], "status": INDEXED}
    assert before <= recorded_at <= datetime.now(UTC)


def test_same_session_again_changes_nothing(client: httpx.Client, user: str) -> None:
    body = session_body("I moved to Lisbon.", "How is it?")
    client.put(path(user, "s1"), params={"wait": "extracted"}, json=body)
    read = client.get(path(user, "s1")).json()

    again = client.put(path(user, "s1"), json=body)

    assert (again.status_code, again.json()) == (200, answer(2, 1))
    assert client.get(path(user, "s1")).json() == read


def test_grown_session_gains_its_new_turns(client: httpx.Client, user: str) -> None:
    client.put(path(user, "s1"), json=session_body("I moved to Lisbon.", "How is it?"))

    grown = client.put(
        path(user, "s1"),
        params={"wait": "indexed"},
        json=session_body("I moved to Lisbon.", "How is it?", "Sunny.", "Enjoy!"),
    )

    assert (grown.status_code, grown.json()) == (200, answer(4, 2))
    assert turn_texts(client.get(path(user, "s1"))) == ["I moved to Lisbon.", "How is it?", "Sunny.", "Enjoy!"]


def test_new_turns_of_a_grown_session_are_recalled(client: httpx.Client, user: str) -> None:
    client.put(path(user, "s1"), params={"wait": "indexed"}, json=session_body("I moved to Lisbon."))
    client.put(path(user, "s1"), params={"wait": "indexed"}, json=session_body("I moved to Lisbon.", "Mind the trams."))

    found = client.post(f"/v1/users/{user}/recall", json={"query": "trams", "unit": "turn", "limit": 1})

    assert turn_texts(found) == ["Mind the trams."]


def test_shorter_session_loses_nothing(client: httpx.Client, user: str) -> None:
    client.put(path(user, "s1"), params={"wait": "indexed"}, json=session_body("one", "two", "three"))

    shorter = client.put(path(user, "s1"), json=session_body("one"))

    assert (shorter.status_code, shorter.json()) == (200, answer(3, 2))
    assert turn_texts(client.get(path(user, "s1"))) == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        pytest.param({"turn_id": "D1:9"}, "turn_id of turn 'D1:1' differs", id="turn_id"),
        pytest.param({"role": "assistant"}, "role of turn 'D1:1' differs", id="role"),
        pytest.param({"speaker": "Melanie"}, "speaker of turn 'D1:1' differs", id="speaker"),
        pytest.param({"text": "Look at that!"}, "text of turn 'D1:1' differs", id="text"),
        pytest.param({"images": [{"caption": "a cat"}]}, "captions of turn 'D1:1' differs", id="caption"),
        pytest.param({"images": []}, "captions of turn 'D1:1' differs", id="no caption"),
        pytest.param({"said_at": "2024-03-01T10:00:01Z"}, "said_at of turn 'D1:1' differs", id="said_at"),
    ],
)
def test_known_turn_cannot_change(client: httpx.Client, user: str, change: dict[str, Any], what: str) -> None:
    client.put(path(user, "s1"), params={"wait": "extracted"}, json=full_session())
    read = client.get(path(user, "s1")).json()

    refused = client.put(path(user, "s1"), json=full_session(**change))

    assert (refused.status_code, refused.json()) == (409, conflict("s1", what))
    assert client.get(path(user, "s1")).json() == read


def test_start_of_a_known_session_cannot_change(client: httpx.Client, user: str) -> None:
    client.put(path(user, "s1"), json=full_session())

    refused = client.put(path(user, "s1"), json={**full_session(), "started_at": "2024-03-02T10:00:00Z"})

    assert refused.status_code == 409
    assert refused.json() == conflict("s1", "it began at 2024-03-01T10:00:00+00:00")


def test_refused_growth_adds_none_of_its_turns(client: httpx.Client, user: str) -> None:
    client.put(path(user, "s1"), json=session_body("one", "two"))

    refused = client.put(path(user, "s1"), json=session_body("one", "changed", "three"))

    assert (refused.status_code, refused.json()) == (409, conflict("s1", "text of turn '1' differs"))
    assert turn_texts(client.get(path(user, "s1"))) == ["one", "two"]


def test_same_instant_in_another_zone_is_the_same_turn(client: httpx.Client, user: str) -> None:
    client.put(path(user, "s1"), params={"wait": "indexed"}, json=full_session())

    again = client.put(path(user, "s1"), json=full_session(said_at="2024-03-01T12:00:00+02:00"))

    assert (again.status_code, again.json()) == (200, answer(1, 1))


def test_session_recorded_by_many_at_once_is_on_disk_once(client: httpx.Client, user: str) -> None:
    body = session_body("one", "two", "three")

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: client.put(path(user, "s1"), json=body), range(8)))

    assert sorted(found.status_code for found in answers) == [200] * 7 + [201]
    assert turn_texts(client.get(path(user, "s1"))) == ["one", "two", "three"]


# What the caller leaves out.


def test_what_is_left_out_is_filled_in(client: httpx.Client, user: str) -> None:
    turns = [
        {"role": "user", "text": "one"},
        {"role": "assistant", "text": "two", "said_at": "2024-03-01T10:05:00Z"},
        {"role": "tool", "text": "three"},
        {"role": "system", "text": "four"},
    ]
    client.put(path(user, "s1"), json={"started_at": "2024-03-01T10:00:00Z", "turns": turns})

    read = client.get(path(user, "s1")).json()

    shown = [(turn["turn_id"], turn["speaker"], turn["said_at"], turn["images"]) for turn in read["turns"]]
    assert shown == [
        ("0", "user", "2024-03-01T10:00:00Z", []),
        ("1", "assistant", "2024-03-01T10:05:00Z", []),
        ("2", "tool", "2024-03-01T10:05:00Z", []),
        ("3", "system", "2024-03-01T10:05:00Z", []),
    ]
    assert read["metadata"] == {}


def test_session_without_a_start_begins_with_its_first_turn(client: httpx.Client, user: str) -> None:
    turn = {"role": "user", "text": "one", "said_at": "2024-03-01T10:00:00+01:00"}
    client.put(path(user, "s1"), json={"turns": [turn]})

    read = client.get(path(user, "s1")).json()

    assert read["started_at"] == "2024-03-01T10:00:00+01:00"


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        pytest.param("2024-03-01T10:00:00Z", "2024-03-01T10:00:00Z", id="Z"),
        pytest.param("2024-03-01T10:00:00+02:00", "2024-03-01T10:00:00+02:00", id="east"),
        pytest.param("2024-03-01T10:00:00-09:30", "2024-03-01T10:00:00-09:30", id="west, half an hour"),
        pytest.param("2024-03-01T10:00:00+00:00", "2024-03-01T10:00:00Z", id="+00:00"),
        pytest.param("2024-03-01T10:00:00.123456+02:00", "2024-03-01T10:00:00.123456+02:00", id="microseconds"),
        pytest.param("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", id="first year"),
        pytest.param("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z", id="last year"),
    ],
)
def test_times_keep_the_zone_they_came_with(client: httpx.Client, user: str, sent: str, answered: str) -> None:
    body = {"started_at": sent, "turns": [{"role": "user", "text": "hello", "said_at": sent}]}
    client.put(path(user, "s1"), params={"wait": "indexed"}, json=body)

    read = client.get(path(user, "s1")).json()
    listed = client.get(path(user)).json()["sessions"][0]
    found = client.post(f"/v1/users/{user}/recall", json={"query": "hello"}).json()["evidence"][0]

    assert [read["started_at"], read["turns"][0]["said_at"]] == [answered, answered]
    assert listed["started_at"] == answered
    assert [found["session_started_at"], found["turns"][0]["said_at"]] == [answered, answered]


@pytest.mark.parametrize(
    ("zone", "time"),
    [("America/New_York", "0001-01-01T00:00:00Z"), ("Asia/Tokyo", "9999-12-31T23:59:59Z")],
)
def test_time_zone_of_the_database_server_moves_no_time(
    settings: Settings,
    postgres: str,
    postgres_template: str,
    fresh_postgres: Callable[[str], str],
    zone: str,
    time: str,
) -> None:
    url = fresh_postgres(postgres_template)
    execute(postgres, f"ALTER DATABASE {make_url(url).database} SET timezone = '{zone}'")
    with serving(made(settings, database_url=url)) as client:
        client.put(path("ana", "s1"), json=session_body("hello", started_at=time))

        read = client.get(path("ana", "s1"))

        assert (read.status_code, read.json().get("started_at")) == (200, time)


# Appending turns.


def test_appending_to_a_new_session_creates_it(client: httpx.Client, user: str) -> None:
    turn = {"role": "user", "text": "one", "said_at": "2024-03-01T10:00:00+02:00"}

    appended = client.post(path(user, "s1", "/turns"), params={"wait": "indexed"}, json={"turns": [turn]})

    assert (appended.status_code, appended.json()) == (201, answer(1, 1))
    assert client.get(path(user, "s1")).json()["started_at"] == "2024-03-01T10:00:00+02:00"


def test_appending_without_a_time_begins_a_session_now(client: httpx.Client, user: str) -> None:
    before = datetime.now(UTC)
    client.post(path(user, "s1", "/turns"), json={"turns": [{"role": "user", "text": "one"}]})

    read = client.get(path(user, "s1")).json()

    assert before <= datetime.fromisoformat(read["started_at"]) <= datetime.now(UTC)
    assert read["turns"][0]["said_at"] == read["started_at"]


def test_appended_turns_follow_those_on_disk(client: httpx.Client, user: str) -> None:
    client.put(path(user, "s1"), json=session_body("one", "two"))
    turns = [
        {"role": "user", "text": "three", "said_at": "2024-03-01T11:00:00Z"},
        {"role": "assistant", "text": "four"},
    ]

    appended = client.post(path(user, "s1", "/turns"), params={"wait": "indexed"}, json={"turns": turns})

    assert (appended.status_code, appended.json()) == (200, answer(4, 2))
    read = client.get(path(user, "s1")).json()
    assert [(turn["turn_id"], turn["text"], turn["said_at"]) for turn in read["turns"]] == [
        ("0", "one", "2024-03-01T10:00:00Z"),
        ("1", "two", "2024-03-01T10:00:00Z"),
        ("2", "three", "2024-03-01T11:00:00Z"),
        ("3", "four", "2024-03-01T11:00:00Z"),
    ]


def test_appended_reply_joins_the_round_it_answers(client: httpx.Client, user: str) -> None:
    client.put(path(user, "s1"), params={"wait": "indexed"}, json=session_body("Where do I keep the keys?"))

    client.post(
        path(user, "s1", "/turns"),
        params={"wait": "indexed"},
        json={"turns": [{"role": "assistant", "text": "In the blue drawer."}]},
    )

    found = client.post(f"/v1/users/{user}/recall", json={"query": "blue drawer"})
    assert turn_texts(found) == ["Where do I keep the keys?", "In the blue drawer."]


def test_turn_known_by_its_id_is_not_doubled(client: httpx.Client, user: str) -> None:
    turns = [{"turn_id": "a", "role": "user", "text": "one"}, {"turn_id": "b", "role": "assistant", "text": "two"}]
    client.post(path(user, "s1", "/turns"), json={"turns": turns})

    again = client.post(
        path(user, "s1", "/turns"),
        params={"wait": "indexed"},
        json={"turns": [*turns, {"turn_id": "c", "role": "user", "text": "three"}]},
    )

    assert (again.status_code, again.json()) == (200, answer(3, 2))
    assert turn_texts(client.get(path(user, "s1"))) == ["one", "two", "three"]


def test_turn_known_by_its_id_cannot_change(client: httpx.Client, user: str) -> None:
    client.post(path(user, "s1", "/turns"), json={"turns": [{"turn_id": "a", "role": "user", "text": "one"}]})
    turns = [{"turn_id": "b", "role": "user", "text": "two"}, {"turn_id": "a", "role": "user", "text": "changed"}]

    refused = client.post(path(user, "s1", "/turns"), json={"turns": turns})

    assert (refused.status_code, refused.json()) == (409, conflict("s1", "text of turn 'a' differs"))
    assert turn_texts(client.get(path(user, "s1"))) == ["one"]


def test_turn_without_an_id_is_never_taken_for_a_known_one(client: httpx.Client, user: str) -> None:
    client.post(path(user, "s1", "/turns"), json={"turns": [{"turn_id": "1", "role": "user", "text": "Yes."}]})

    # Its position is an id that another turn has: it cannot be recorded, and may not be dropped in silence.
    refused = client.post(path(user, "s1", "/turns"), json={"turns": [{"role": "user", "text": "Yes."}]})

    assert refused.status_code == 409
    assert refused.json() == conflict("s1", "the next position, 1, is the id of another turn")
    assert turn_texts(client.get(path(user, "s1"))) == ["Yes."]


def test_turns_appended_by_many_at_once_are_all_on_disk(client: httpx.Client, user: str) -> None:
    client.put(path(user, "s1"), json=session_body("first"))
    texts = [f"turn {number}" for number in range(8)]

    with ThreadPoolExecutor(8) as threads:
        answers = list(
            threads.map(
                lambda text: client.post(path(user, "s1", "/turns"), json={"turns": [{"role": "user", "text": text}]}),
                texts,
            )
        )

    read = client.get(path(user, "s1"))
    assert [found.status_code for found in answers] == [200] * 8
    assert sorted(turn_texts(read)) == sorted(["first", *texts])
    assert [turn["turn_id"] for turn in read.json()["turns"]] == [str(position) for position in range(9)]


# Idempotency-Key.


def test_same_key_with_the_same_request_is_answered_alike_and_done_once(client: httpx.Client, user: str) -> None:
    body = {"turns": [{"role": "user", "text": "one", "said_at": "2024-03-01T10:00:00Z"}]}
    send: dict[str, Any] = {"headers": {"Idempotency-Key": "k1"}, "params": {"wait": "indexed"}, "json": body}

    first = client.post(path(user, "s1", "/turns"), **send)
    second = client.post(path(user, "s1", "/turns"), **send)

    assert (first.status_code, first.json()) == (201, answer(1, 1))
    assert (second.status_code, second.json()) == (201, answer(1, 1))
    assert turn_texts(client.get(path(user, "s1"))) == ["one"]


def test_same_turns_without_a_key_are_said_twice(client: httpx.Client, user: str) -> None:
    body = {"turns": [{"role": "user", "text": "one", "said_at": "2024-03-01T10:00:00Z"}]}

    client.post(path(user, "s1", "/turns"), json=body)
    client.post(path(user, "s1", "/turns"), json=body)

    assert turn_texts(client.get(path(user, "s1"))) == ["one", "one"]


@pytest.mark.parametrize(
    ("session", "body"),
    [
        pytest.param("s1", {"turns": [{"role": "user", "text": "two"}]}, id="other turns"),
        pytest.param("s2", {"turns": [{"role": "user", "text": "one"}]}, id="other session"),
        pytest.param("s1", {"turns": [{"role": "user", "text": "one"}], "metadata": {"a": 1}}, id="other metadata"),
    ],
)
def test_same_key_with_another_request_is_refused(
    client: httpx.Client, user: str, session: str, body: dict[str, Any]
) -> None:
    headers = {"Idempotency-Key": "k1"}
    client.post(path(user, "s1", "/turns"), headers=headers, json={"turns": [{"role": "user", "text": "one"}]})

    refused = client.post(path(user, session, "/turns"), headers=headers, json=body)

    assert refused.status_code == 409
    assert refused.json() == {
        "error": "idempotency_conflict",
        "detail": "This Idempotency-Key was used for another request; use a new key for a new request.",
    }
    assert turn_texts(client.get(path(user, "s1"))) == ["one"]
    assert [found["session_id"] for found in client.get(path(user)).json()["sessions"]] == ["s1"]


def test_same_key_of_another_user_is_another_key(client: httpx.Client, user: str) -> None:
    headers = {"Idempotency-Key": "k1"}
    client.post(path(user, "s1", "/turns"), headers=headers, json={"turns": [{"role": "user", "text": "one"}]})

    other = client.post(
        path(f"{user}-2", "s1", "/turns"), headers=headers, json={"turns": [{"role": "user", "text": "two"}]}
    )

    assert other.status_code == 201
    assert turn_texts(client.get(path(f"{user}-2", "s1"))) == ["two"]


def test_whole_session_with_the_same_key_is_answered_alike(client: httpx.Client, user: str) -> None:
    send: dict[str, Any] = {
        "headers": {"Idempotency-Key": "k1"},
        "params": {"wait": "indexed"},
        "json": session_body("one", "two"),
    }

    first = client.put(path(user, "s1"), **send)
    second = client.put(path(user, "s1"), **send)

    assert (first.status_code, first.json()) == (201, answer(2, 1))
    assert (second.status_code, second.json()) == (201, answer(2, 1))


def test_refused_request_does_not_use_its_key_up(client: httpx.Client, user: str) -> None:
    client.put(path(user, "s1"), json=session_body("one"))
    headers = {"Idempotency-Key": "k1"}
    client.put(path(user, "s1"), headers=headers, json=session_body("changed"))

    mended = client.put(path(user, "s1"), headers=headers, json=session_body("one", "two"))

    assert mended.status_code == 200
    assert turn_texts(client.get(path(user, "s1"))) == ["one", "two"]


def test_same_key_at_the_same_time_is_done_once(
    settings: Settings, postgres_template: str, fresh_postgres: Callable[[str], str]
) -> None:
    service = made(settings, database_url=fresh_postgres(postgres_template), workers=0)
    send: dict[str, Any] = {
        "headers": {"Idempotency-Key": "k1"},
        "json": {"turns": [{"role": "assistant", "text": "two"}]},
    }
    with serving(service) as client, ThreadPoolExecutor(2) as threads:
        client.put(path("ana", "s1"), json=session_body("one"))

        # Both requests have begun before either can write.
        with service.store.begin() as tx:
            tx.sessions.find(OWNER, "s1", lock=True)
            sent = [threads.submit(client.post, path("ana", "s1", "/turns"), **send) for _ in range(2)]
            until(lambda: blocked(service) == 2)
        answers = [each.result() for each in sent]

        assert [(found.status_code, found.json()["turns"]) for found in answers] == [(200, 2)] * 2
        assert turn_texts(client.get(path("ana", "s1"))) == ["one", "two"]


def blocked(service: Service) -> int:
    """How many statements wait for a lock of PostgreSQL's."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with service.store.engine.connect() as connection:
        return int(connection.execute(text(waiting)).scalar_one())


def test_session_deleted_meanwhile_is_recorded_again_under_the_same_key(client: httpx.Client, user: str) -> None:
    send: dict[str, Any] = {
        "headers": {"Idempotency-Key": "k1"},
        "params": {"wait": "indexed"},
        "json": session_body("one"),
    }
    client.put(path(user, "s1"), **send)
    client.delete(path(user, "s1"))

    again = client.put(path(user, "s1"), **send)

    assert (again.status_code, again.json()) == (201, answer(1, 1))
    assert turn_texts(client.get(path(user, "s1"))) == ["one"]


# Reading and listing.


def test_session_that_nobody_recorded_is_not_found(client: httpx.Client, user: str) -> None:
    missing = client.get(path(user, "s1"))

    assert missing.status_code == 404
    assert missing.json() == {"error": "session_not_found", "detail": f"User '{user}' has no session 's1'."}


def test_unknown_user_has_no_sessions(client: httpx.Client, user: str) -> None:
    listed = client.get(path(user))

    assert (listed.status_code, listed.json()) == (200, {"sessions": [], "next_cursor": None})


def test_listed_session_tells_how_far_it_has_come(client: httpx.Client, user: str) -> None:
    body = session_body("one", "two", "three", metadata={"channel": "web"})
    client.put(path(user, "s1"), params={"wait": "indexed"}, json=body)
    read = client.get(path(user, "s1")).json()

    listed = client.get(path(user))

    assert listed.json() == {
        "sessions": [
            {
                "session_id": "s1",
                "started_at": "2024-03-01T10:00:00Z",
                "recorded_at": read["recorded_at"],
                "turns": 3,
                "rounds": 2,
                "metadata": {"channel": "web"},
                "status": INDEXED,
            }
        ],
        "next_cursor": None,
    }


def pages(client: httpx.Client, user: str, *, limit: int) -> Iterator[list[str]]:
    cursor: str | None = None
    while True:
        found = client.get(path(user), params={"limit": limit} | ({"cursor": cursor} if cursor else {})).json()
        yield [session["session_id"] for session in found["sessions"]]
        cursor = found["next_cursor"]
        if cursor is None:
            return


def test_pages_hold_every_session_once_newest_first(client: httpx.Client, user: str) -> None:
    # Ten sessions a day: those of one instant are told apart by their ids alone.
    ids = {f"s{number:02}": f"2024-03-{1 + number // 10:02}T10:00:00Z" for number in range(25)}
    for session_id, started_at in ids.items():
        client.put(path(user, session_id), json=session_body("hello", started_at=started_at))

    listed = list(pages(client, user, limit=7))

    newest_first = sorted(ids, key=lambda session_id: (ids[session_id], session_id), reverse=True)
    assert listed == [newest_first[:7], newest_first[7:14], newest_first[14:21], newest_first[21:]]


def test_last_page_that_is_full_names_no_other(client: httpx.Client, user: str) -> None:
    for number in range(4):
        client.put(path(user, f"s{number}"), json=session_body("hello"))

    assert list(pages(client, user, limit=2)) == [["s3", "s2"], ["s1", "s0"]]


def test_session_recorded_between_two_pages_doubles_none(client: httpx.Client, user: str) -> None:
    for number in range(4):
        client.put(path(user, f"s{number}"), json=session_body("hello", started_at=f"2024-03-0{number + 1}T10:00:00Z"))
    listing = pages(client, user, limit=2)
    first = next(listing)

    client.put(path(user, "s9"), json=session_body("hello", started_at="2024-04-01T10:00:00Z"))
    client.put(path(user, "s8"), json=session_body("hello", started_at="2024-03-02T12:00:00Z"))

    assert [first, *listing] == [["s3", "s2"], ["s8", "s1"], ["s0"]]


def test_sessions_are_ordered_by_instant_in_whatever_zone(client: httpx.Client, user: str) -> None:
    starts = {"late": "2024-03-01T10:00:00-08:00", "early": "2024-03-01T10:00:00+08:00", "noon": "2024-03-01T10:00:00Z"}
    for session_id, started_at in starts.items():
        client.put(path(user, session_id), json=session_body("hello", started_at=started_at))

    assert list(pages(client, user, limit=2)) == [["late", "noon"], ["early"]]


# Forgetting.


def test_deleted_session_leaves_a_receipt(client: httpx.Client, user: str) -> None:
    client.put(path(user, "s1"), params={"wait": "indexed"}, json=session_body("one", "two", "three"))
    before = datetime.now(UTC)

    deleted = client.delete(path(user, "s1"))

    receipt = deleted.json()
    forgotten_at = datetime.fromisoformat(receipt.pop("forgotten_at"))
    assert deleted.status_code == 200
    assert receipt == {
        "user_id": user,
        "session_id": "s1",
        "deleted": {"sessions": 1, "turns": 3, "rounds": 2},
        "points_left": 0,
    }
    assert before <= forgotten_at <= datetime.now(UTC)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_deleted_session_is_not_found(client: httpx.Client, user: str, method: str) -> None:
    client.put(path(user, "s1"), json=session_body("one"))
    client.delete(path(user, "s1"))

    missing = client.request(method, path(user, "s1"))

    assert missing.status_code == 404
    assert missing.json() == {"error": "session_not_found", "detail": f"User '{user}' has no session 's1'."}


def test_deleted_session_is_neither_listed_nor_recalled(client: httpx.Client, user: str) -> None:
    client.put(path(user, "s1"), params={"wait": "indexed"}, json=session_body("The code is 4711."))
    client.put(path(user, "s2"), params={"wait": "indexed"}, json=session_body("The weather is mild."))

    client.delete(path(user, "s1"))

    found = client.post(f"/v1/users/{user}/recall", json={"query": "what is the code 4711"})
    assert [session["session_id"] for session in client.get(path(user)).json()["sessions"]] == ["s2"]
    assert turn_texts(found) == ["The weather is mild."]
    assert found.json()["context"] == "[2024-03-01 10:00] user: The weather is mild."


def test_deleted_session_can_be_recorded_anew(client: httpx.Client, user: str) -> None:
    client.put(path(user, "s1"), params={"wait": "indexed"}, json=session_body("The code is 4711."))
    client.delete(path(user, "s1"))

    again = client.put(path(user, "s1"), params={"wait": "indexed"}, json=session_body("The code is 1984.", "Noted."))

    found = client.post(f"/v1/users/{user}/recall", json={"query": "the code"})
    assert (again.status_code, again.json()) == (201, answer(2, 1))
    assert turn_texts(found) == ["The code is 1984.", "Noted."]


# Speakers, images, metadata, rounds.


def test_two_people_are_told_apart(client: httpx.Client, user: str) -> None:
    turns = [
        {"role": "user", "speaker": "Caroline", "text": "I went to the support group."},
        {"role": "user", "speaker": "Mel", "text": "How was the group?"},
    ]
    client.put(
        path(user, "s1"), params={"wait": "indexed"}, json={"started_at": "2023-05-08T13:56:00Z", "turns": turns}
    )

    found = client.post(f"/v1/users/{user}/recall", json={"query": "support group"}).json()

    assert [(turn["role"], turn["speaker"]) for turn in found["evidence"][0]["turns"]] == [
        ("user", "Caroline"),
        ("user", "Mel"),
    ]
    assert found["context"] == (
        "[2023-05-08 13:56] Caroline: I went to the support group.\n[2023-05-08 13:56] Mel: How was the group?"
    )


def test_image_is_found_by_its_caption(client: httpx.Client, user: str) -> None:
    body = session_body("We had a good day.", "Lovely!", "Then we went home.", "Sleep well.")
    body["turns"][0] |= {"text": "", "images": [{"caption": "a photo of a dog on a beach"}, {"caption": "a kite"}]}
    client.put(path(user, "s1"), params={"wait": "indexed"}, json=body)

    found = client.post(f"/v1/users/{user}/recall", json={"query": "dog beach", "unit": "turn", "limit": 1}).json()

    shown = found["evidence"][0]["turns"]
    assert [(turn["text"], turn["images"]) for turn in shown] == [
        ("", [{"caption": "a photo of a dog on a beach"}, {"caption": "a kite"}])
    ]
    assert found["context"] == "[2024-03-01 10:00] user: [image: a photo of a dog on a beach]\n  [image: a kite]"


def test_metadata_comes_back_as_it_was_sent(client: httpx.Client, user: str) -> None:
    metadata = {
        "channel": "web",
        "ключ": "значение",
        "nested": {"list": [1, 2.5, True, None, "x", {"deep": []}], "": "an empty name"},
        "largest": 2**63 - 1,
        "smallest": -(2**63),
    }
    client.put(path(user, "s1"), json=session_body("one", metadata=metadata))

    assert client.get(path(user, "s1")).json()["metadata"] == metadata


def test_metadata_sent_again_takes_the_place_of_the_old(client: httpx.Client, user: str) -> None:
    client.put(path(user, "s1"), json=session_body("one", metadata={"a": 1, "b": 2}))

    client.put(path(user, "s1"), json=session_body("one", metadata={"b": 3}))

    assert client.get(path(user, "s1")).json()["metadata"] == {"b": 3}


def test_metadata_left_out_is_kept(client: httpx.Client, user: str) -> None:
    client.put(path(user, "s1"), json=session_body("one", metadata={"a": 1}))

    client.put(path(user, "s1"), json=session_body("one", "two"))
    client.post(path(user, "s1", "/turns"), json={"turns": [{"role": "user", "text": "three"}]})

    assert client.get(path(user, "s1")).json()["metadata"] == {"a": 1}


ANA, BEN = ("user", "Ana"), ("user", "Ben")
USER, ASSISTANT, TOOL, SYSTEM = ("user", "user"), ("assistant", "assistant"), ("tool", "tool"), ("system", "system")


@pytest.mark.parametrize(
    ("said", "rounds"),
    [
        pytest.param([USER], 1, id="a question alone"),
        pytest.param([USER, ASSISTANT], 1, id="question and reply"),
        pytest.param([USER, TOOL, ASSISTANT, ASSISTANT], 1, id="a reply in parts"),
        pytest.param([USER, USER, ASSISTANT], 2, id="two questions"),
        pytest.param([SYSTEM, USER, ASSISTANT], 2, id="a system turn first"),
        pytest.param([ASSISTANT, USER, ASSISTANT], 2, id="a greeting first"),
        pytest.param([ANA, BEN], 1, id="two people"),
        pytest.param([ANA, BEN, ANA, BEN], 2, id="two people, two rounds"),
        pytest.param([ANA, BEN, ANA], 2, id="two people, no last reply"),
        pytest.param([ANA, ANA, BEN], 2, id="one of two goes on"),
    ],
)
def test_turns_are_divided_into_rounds(
    client: httpx.Client, user: str, said: list[tuple[str, str]], rounds: int
) -> None:
    turns = [{"role": role, "speaker": speaker, "text": f"turn {n}"} for n, (role, speaker) in enumerate(said)]

    at_once = client.put(path(user, "s1"), json={"started_at": "2024-03-01T10:00:00Z", "turns": turns})
    by_turns = [client.post(path(user, "s2", "/turns"), json={"turns": [turn]}) for turn in turns]

    assert (at_once.json()["turns"], at_once.json()["rounds"]) == (len(said), rounds)
    assert (by_turns[-1].json()["turns"], by_turns[-1].json()["rounds"]) == (len(said), rounds)
