"""The Recorder: a session goes to disk once, grows at its end, and its past never changes."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from memsvc.domain import Draft, Owner, Recorded, Role, Round, TaskKind, Turn
from memsvc.errors import (
    IdempotencyConflict,
    Invalid,
    MemsvcError,
    SessionConflict,
    SessionNotFound,
    TooManyTurns,
    TurnTooLong,
)
from memsvc.memory.reading import Reader
from memsvc.memory.recording import Limits, Recorder
from memsvc.store.database import Store
from tests.doubles import FixedClock, together, until
from tests.factories import OWNER, STARTED, draft, recorder

HELLO, HI, NEXT = draft("hello"), draft("hi", "assistant"), draft("and so")
BEN = Owner("default", "ben")


def turns(store: Store, session_id: str = "s1", *, owner: Owner = OWNER) -> list[Turn]:
    return list(Reader(store, FixedClock()).session(owner, session_id).turns)


def texts(store: Store, session_id: str = "s1", *, owner: Owner = OWNER) -> list[str]:
    return [turn.text for turn in turns(store, session_id, owner=owner)]


def rounds(store: Store) -> list[Round]:
    with store.read() as tx:
        return sorted((found for _, found in tx.rounds.page(after=None, limit=1000)), key=lambda r: r.first_position)


def owed(store: Store) -> list[TaskKind]:
    """What is due, of one session."""
    with store.begin() as tx:
        now = datetime.now(UTC)
        return [task.kind for kind in TaskKind for task in tx.outbox.claim(kind, limit=9, lease_s=0, now=now)]


def test_new_session_is_on_disk_and_its_indexing_and_extraction_are_owed(store: Store) -> None:
    recorded = recorder(store, FixedClock()).record(OWNER, "s1", [HELLO, HI, NEXT], started_at=STARTED)

    assert recorded == Recorded("s1", turns=3, rounds=2, created=True)
    assert texts(store) == ["hello", "hi", "and so"]
    assert [[turn.text for turn in found.turns] for found in rounds(store)] == [["hello", "hi"], ["and so"]]
    assert owed(store) == [TaskKind.INDEX, TaskKind.EXTRACT]


def test_what_the_caller_left_out_is_filled_in(store: Store) -> None:
    later = STARTED + timedelta(hours=1)
    drafts = [HELLO, draft("hi", "assistant", speaker="Bot", turn_id="b", said_at=later), NEXT]

    recorder(store).record(OWNER, "s1", drafts, started_at=STARTED)

    assert turns(store) == [
        Turn("0", Role.USER, "user", "hello", STARTED),
        Turn("b", Role.ASSISTANT, "Bot", "hi", later),
        Turn("2", Role.USER, "user", "and so", later),
    ]


def test_session_begins_with_its_first_turn_unless_told(store: Store) -> None:
    recorder(store).record(OWNER, "s1", [draft("hello", said_at=STARTED)])

    assert Reader(store, FixedClock()).session(OWNER, "s1").session.started_at == STARTED


def test_session_of_which_nobody_says_when_it_began_is_invalid(store: Store) -> None:
    with pytest.raises(Invalid) as raised:
        recorder(store).record(OWNER, "s1", [HELLO])

    assert (raised.value.name, raised.value.fields) == ("invalid_request", (("started_at", "is missing"),))
    assert owed(store) == []


def test_same_session_again_changes_nothing(store: Store) -> None:
    recorder(store).record(OWNER, "s1", [HELLO, HI], started_at=STARTED)
    before = turns(store)

    again = recorder(store).record(OWNER, "s1", [HELLO, HI], started_at=STARTED)

    assert again == Recorded("s1", turns=2, rounds=1, created=False)
    assert turns(store) == before


def test_longer_session_appends_what_is_new(store: Store) -> None:
    recorder(store).record(OWNER, "s1", [HELLO], started_at=STARTED)

    grown = recorder(store).record(OWNER, "s1", [HELLO, HI, NEXT], started_at=STARTED)

    assert grown == Recorded("s1", turns=3, rounds=2, created=False)
    assert texts(store) == ["hello", "hi", "and so"]


def test_shorter_session_that_agrees_changes_nothing(store: Store) -> None:
    recorder(store).record(OWNER, "s1", [HELLO, HI, NEXT], started_at=STARTED)

    again = recorder(store).record(OWNER, "s1", [HELLO], started_at=STARTED)

    assert again == Recorded("s1", turns=3, rounds=2, created=False)
    assert texts(store) == ["hello", "hi", "and so"]


def test_same_time_in_another_zone_is_no_change(store: Store) -> None:
    recorder(store).record(OWNER, "s1", [draft("hello", said_at=STARTED)], started_at=STARTED)

    elsewhere = datetime.fromisoformat("2024-03-01T15:30:00+05:30")
    again = recorder(store).record(OWNER, "s1", [draft("hello", said_at=elsewhere)], started_at=elsewhere)

    assert again == Recorded("s1", turns=1, rounds=1, created=False)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        pytest.param({"text": "other"}, "text of turn 'a' differs", id="text"),
        pytest.param({"turn_id": "z"}, "turn_id of turn 'a' differs", id="id"),
        pytest.param({"role": Role.ASSISTANT}, "role of turn 'a' differs", id="role"),
        pytest.param({"speaker": "Eve"}, "speaker of turn 'a' differs", id="speaker"),
        pytest.param({"captions": ("a dog",)}, "captions of turn 'a' differs", id="captions"),
        pytest.param({"said_at": STARTED + timedelta(seconds=1)}, "said_at of turn 'a' differs", id="time"),
    ],
)
def test_changed_past_is_refused_and_nothing_of_the_request_is_recorded(
    store: Store, changed: dict[str, Any], what: str
) -> None:
    known: dict[str, Any] = {"role": Role.USER, "text": "hello", "turn_id": "a", "speaker": "Ana"}
    recorder(store).record(OWNER, "s1", [Draft(**known)], started_at=STARTED)
    before = turns(store)

    with pytest.raises(SessionConflict, match=what):
        recorder(store).record(OWNER, "s1", [Draft(**known | changed), NEXT], started_at=STARTED)

    assert turns(store) == before


def test_changed_start_is_refused(store: Store) -> None:
    recorder(store).record(OWNER, "s1", [HELLO], started_at=STARTED)

    with pytest.raises(SessionConflict, match="it began at 2024-03-01T10:00:00"):
        recorder(store).record(OWNER, "s1", [HELLO, NEXT], started_at=STARTED + timedelta(days=1))

    assert texts(store) == ["hello"]


def test_metadata_is_replaced_when_given_and_kept_when_not(store: Store) -> None:
    seen = []
    for metadata in ({"channel": "web"}, None, {"channel": "app"}, {}):
        recorder(store).record(OWNER, "s1", [HELLO], started_at=STARTED, metadata=metadata)
        seen.append(Reader(store, FixedClock()).session(OWNER, "s1").session.metadata)

    assert seen == [{"channel": "web"}, {"channel": "web"}, {"channel": "app"}, {}]


def test_appended_turns_come_after_the_known_ones(store: Store) -> None:
    recorder(store).record(OWNER, "s1", [HELLO], started_at=STARTED)

    appended = recorder(store).append(OWNER, "s1", [HI, NEXT])

    assert appended == Recorded("s1", turns=3, rounds=2, created=False)
    assert turns(store) == [
        Turn("0", Role.USER, "user", "hello", STARTED),
        Turn("1", Role.ASSISTANT, "assistant", "hi", STARTED),
        Turn("2", Role.USER, "user", "and so", STARTED),
    ]


def test_appending_makes_a_session_that_begins_now(store: Store) -> None:
    clock = FixedClock()

    appended = recorder(store, clock).append(OWNER, "s1", [HELLO])

    assert appended == Recorded("s1", turns=1, rounds=1, created=True)
    assert Reader(store, clock).session(OWNER, "s1").session.started_at == clock.now()


def test_appended_turn_that_is_known_by_its_id_is_not_added(store: Store) -> None:
    recorder(store).append(OWNER, "s1", [draft("hello", turn_id="a")])

    again = recorder(store).append(OWNER, "s1", [draft("hello", turn_id="a"), draft("hi", "assistant", turn_id="b")])

    assert again == Recorded("s1", turns=2, rounds=1, created=False)
    assert texts(store) == ["hello", "hi"]


def test_appended_turn_with_a_known_id_and_other_content_is_refused(store: Store) -> None:
    recorder(store).append(OWNER, "s1", [draft("hello", turn_id="a")])

    with pytest.raises(SessionConflict, match="text of turn 'a' differs"):
        recorder(store).append(OWNER, "s1", [NEXT, draft("other", turn_id="a")])

    assert texts(store) == ["hello"]


def test_session_appended_turn_by_turn_is_the_session_recorded_whole(store: Store) -> None:
    people = [
        draft("hey", speaker="Caroline"),
        draft("hello", speaker="Mel"),
        draft("how are you", speaker="Mel"),
        draft("well", speaker="Caroline"),
        draft("a list", "assistant"),
        draft("found", "tool"),
        draft("thanks", speaker="Mel"),
    ]
    recorder(store).record(OWNER, "whole", people, started_at=STARTED)
    whole = [[turn.text for turn in found.turns] for found in rounds(store)]
    recorder(store).record(BEN, "grown", people[:1], started_at=STARTED)

    for one in people[1:]:
        recorder(store).append(BEN, "grown", [one])

    grown = [found for found in rounds(store) if found.session_id == "grown"]
    assert [[turn.text for turn in found.turns] for found in grown] == whole
    assert whole == [["hey", "hello"], ["how are you", "well", "a list", "found"], ["thanks"]]


def test_same_turn_id_twice_in_a_request_is_invalid(store: Store) -> None:
    with pytest.raises(Invalid, match="Two turns have the id 'a'"):
        recorder(store).append(OWNER, "s1", [draft("one", turn_id="a"), draft("two", turn_id="a")])

    with pytest.raises(SessionNotFound):
        turns(store)


@pytest.mark.parametrize(
    ("drafts", "expected"),
    [
        pytest.param([HELLO, HI, NEXT], TooManyTurns(3, 2), id="turns"),
        pytest.param([HELLO, draft("x" * 11)], TurnTooLong("1", 11, 10), id="text"),
        pytest.param([draft("hello", captions=("a dog", "a"), turn_id="a")], TurnTooLong("a", 11, 10), id="captions"),
    ],
)
@pytest.mark.parametrize("verb", ["record", "append"])
def test_request_over_a_limit_is_refused_whole(
    store: Store, verb: str, drafts: Sequence[Draft], expected: MemsvcError
) -> None:
    limited = recorder(store, limits=Limits(turns=2, turn_chars=10))
    more: dict[str, Any] = {"started_at": STARTED} if verb == "record" else {}

    with pytest.raises(type(expected)) as raised:
        getattr(limited, verb)(OWNER, "s1", drafts, **more)

    assert str(raised.value) == str(expected)
    assert owed(store) == []


Write = Callable[[Recorder, Sequence[Draft], str | None], Recorded]


def record(by: Recorder, drafts: Sequence[Draft], key: str | None) -> Recorded:
    return by.record(OWNER, "s1", drafts, started_at=STARTED, idempotency_key=key)


def append(by: Recorder, drafts: Sequence[Draft], key: str | None) -> Recorded:
    return by.append(OWNER, "s1", drafts, idempotency_key=key)


@pytest.mark.parametrize("write", [record, append])
def test_request_with_a_known_idempotency_key_is_answered_and_not_repeated(store: Store, write: Write) -> None:
    first = write(recorder(store), [HELLO], "key")
    recorder(store).append(OWNER, "s1", [HI])

    again = write(recorder(store), [HELLO], "key")

    assert again == first == Recorded("s1", turns=1, rounds=1, created=True)
    assert texts(store) == ["hello", "hi"]


@pytest.mark.parametrize("write", [record, append])
def test_idempotency_key_of_another_request_is_refused(store: Store, write: Write) -> None:
    write(recorder(store), [HELLO], "key")

    with pytest.raises(IdempotencyConflict):
        write(recorder(store), [HELLO, NEXT], "key")

    assert texts(store) == ["hello"]


def test_idempotency_key_belongs_to_its_user(store: Store) -> None:
    recorder(store).append(OWNER, "s1", [HELLO], idempotency_key="key")

    recorded = recorder(store).append(BEN, "s1", [NEXT], idempotency_key="key")

    assert recorded == Recorded("s1", turns=1, rounds=1, created=True)
    assert (texts(store), texts(store, owner=BEN)) == (["hello"], ["and so"])


def test_idempotency_key_of_a_refused_request_is_still_free(store: Store) -> None:
    recorder(store).append(OWNER, "s1", [draft("hello", turn_id="a")])
    with pytest.raises(SessionConflict):
        recorder(store).append(OWNER, "s1", [draft("other", turn_id="a")], idempotency_key="key")

    recorded = recorder(store).append(OWNER, "s1", [NEXT], idempotency_key="key")

    assert recorded == Recorded("s1", turns=2, rounds=2, created=False)


def test_workers_are_woken_once_it_is_on_disk(store: Store) -> None:
    seen: list[list[TaskKind]] = []
    waking = Recorder(store, FixedClock(), Limits(), owed=lambda: seen.append(owed(store)))

    waking.record(OWNER, "s1", [HELLO], started_at=STARTED)

    assert seen == [[TaskKind.INDEX, TaskKind.EXTRACT]]


def test_session_recorded_again_after_its_deletion_has_other_rows(store: Store) -> None:
    clock = FixedClock()
    recorder(store, clock).record(OWNER, "s1", [HELLO], started_at=STARTED)
    (before,) = rounds(store)
    with store.begin() as tx:
        tx.sessions.delete(OWNER, before.session_row)
    clock.pass_time(microseconds=1)

    recorder(store, clock).record(OWNER, "s1", [HELLO], started_at=STARTED)

    (after,) = rounds(store)
    assert after.session_row != before.session_row
    assert after.row_id != before.row_id


def test_same_session_put_by_many_at_once_is_the_longest_of_them(store: Store) -> None:
    drafts = [draft(f"text {number}") for number in range(16)]
    created: list[bool] = []

    def put(length: int) -> Callable[[], None]:
        by = recorder(store)
        return lambda: created.append(by.record(OWNER, "s1", drafts[:length], started_at=STARTED).created)

    raised = together(*[put(length) for length in range(2, 18, 2)])

    assert raised == []
    assert sorted(created) == [False] * 7 + [True]
    assert texts(store) == [one.text for one in drafts]
    assert [(found.first_position, len(found.turns)) for found in rounds(store)] == [(n, 1) for n in range(16)]


def test_turns_appended_by_many_at_once_are_all_there_once(store: Store) -> None:
    def append_ten(writer: int) -> Callable[[], None]:
        def run() -> None:
            for number in range(10):
                recorder(store).append(OWNER, "s1", [draft(f"{writer}.{number}"), draft("ok", "assistant")])

        return run

    raised = together(*[append_ten(writer) for writer in range(8)])

    said = texts(store)
    session = Reader(store, FixedClock()).session(OWNER, "s1").session
    assert raised == []
    assert sorted(said[::2]) == sorted(f"{writer}.{number}" for writer in range(8) for number in range(10))
    assert said[1::2] == ["ok"] * 80
    assert [turn.turn_id for turn in turns(store)] == [str(position) for position in range(160)]
    assert [(found.first_position, len(found.turns)) for found in rounds(store)] == [(2 * n, 2) for n in range(80)]
    assert (session.turn_count, session.round_count) == (160, 80)


def test_request_repeated_by_many_at_once_under_one_idempotency_key_is_done_once(store: Store) -> None:
    answers: list[Recorded] = []

    raised = together(*[lambda: answers.append(append(recorder(store), [HELLO], "key"))] * 8)

    assert raised == []
    assert answers == [Recorded("s1", turns=1, rounds=1, created=True)] * 8
    assert texts(store) == ["hello"]


def interrupt(store: Store, meanwhile: Callable[[], None]) -> None:
    """Do something else once, right before the next session's row is written."""
    waiting = [meanwhile]

    @event.listens_for(store.engine, "before_cursor_execute")
    def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO sessions") and waiting:
            waiting.pop()()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_user_forgotten_in_the_middle_of_a_recording_does_not_break_it(store: Store) -> None:
    def forget_user() -> None:
        with store.begin() as tx:
            tx.workspaces.delete_user(OWNER)

    def forget_at_once_or_wait_for_the_recording() -> None:
        forgetting.start()
        until(lambda: not forgetting.is_alive() or waits_for_a_lock(store))

    forgetting = threading.Thread(target=forget_user)
    recorder(store).record(OWNER, "before", [HELLO], started_at=STARTED)
    interrupt(store, forget_at_once_or_wait_for_the_recording)

    recorded = recorder(store).record(OWNER, "meanwhile", [HELLO], started_at=STARTED)
    forgetting.join()

    assert recorded == Recorded("meanwhile", turns=1, rounds=1, created=True)
    with pytest.raises(SessionNotFound):
        turns(store, "before")


def waits_for_a_lock(store: Store) -> bool:
    """Whether any connection to the database waits for another's lock."""
    statement = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with store.engine.connect() as connection:
        return bool(connection.execute(statement).scalar_one())
