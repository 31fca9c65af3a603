"""Statements about one user's sessions, which see nothing of anybody else's."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import func, select

from memsvc.domain import Owner, Session, Status, TaskKind, Turn
from memsvc.store import tables
from memsvc.store.database import Store
from memsvc.store.rounds import Made
from memsvc.store.sessions import NewTurn, round_row_id
from tests.factories import OWNER, STARTED, row_id, turn

NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)
FOREIGN = [
    pytest.param(Owner("theirs", "ana"), id="another-workspace"),
    pytest.param(Owner("default", "ben"), id="another-user"),
]


def session(name: str = "s1", *, started_at: datetime = STARTED, turns: int = 0, rounds: int = 0) -> Session:
    return Session(row_id(name), name, started_at, NOW, turns, rounds, metadata={"channel": ["web", None, 1.5]})


def insert(store: Store, new: Session, *, owner: Owner = OWNER) -> bool:
    with store.begin() as tx:
        tx.workspaces.ensure_user(owner, now=NOW)
        return tx.sessions.insert(owner, new)


def add(store: Store, *new: NewTurn, owner: Owner = OWNER, row: str = "s1") -> None:
    with store.begin() as tx:
        tx.sessions.add_turns(owner, row_id(row), new, now=NOW)


def find(store: Store, name: str = "s1", *, owner: Owner = OWNER) -> Session | None:
    with store.read() as tx:
        return tx.sessions.find(owner, name)


def status(store: Store, *, owner: Owner = OWNER) -> Status:
    with store.read() as tx:
        return tx.sessions.status(owner, row_id("s1"))


def owe(store: Store, kind: TaskKind) -> None:
    with store.begin() as tx:
        tx.outbox.owe(kind, OWNER, row_id("s1"), now=NOW)


def mark_drawn(store: Store, *, turns: int, by: str = "llm") -> None:
    with store.begin() as tx:
        tx.rounds.mark_drawn(OWNER, round_row_id(row_id("s1"), 0), turns=turns, by=by)


def mark_indexed(store: Store) -> None:
    with store.begin() as tx:
        waiting = tx.rounds.unindexed([row_id("s1")], limit=10)
        tx.rounds.mark_indexed([Made(owner, found, key_count=1) for owner, found in waiting], now=NOW)


def row_counts(store: Store) -> dict[str, int]:
    with store.engine.connect() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (tables.sessions, tables.rounds, tables.turns)
        }


HELLO = NewTurn(turn("hello", turn_id="a"), position=0, round_position=0)
REPLY = NewTurn(turn("hi", "assistant", turn_id="b", captions=("a wave", "a smile")), position=1, round_position=0)
NEXT = NewTurn(turn("and so", turn_id="c"), position=2, round_position=2)


def test_session_comes_back_as_it_was(store: Store) -> None:
    inserted = insert(store, session())

    assert inserted is True
    assert find(store) == session()


def test_session_keeps_the_offset_it_was_given_with(store: Store) -> None:
    started_at = datetime(2024, 3, 1, 10, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))
    insert(store, session(started_at=started_at))

    found = find(store)

    assert found is not None
    assert found.started_at.isoformat() == "2024-03-01T10:00:00-03:30"


def test_known_session_is_not_inserted_again(store: Store) -> None:
    insert(store, session())

    inserted = insert(store, replace(session(), row_id=row_id("other"), metadata={}))

    assert inserted is False
    assert find(store) == session()


@pytest.mark.parametrize("stranger", FOREIGN)
def test_same_id_of_somebody_else_is_another_session(store: Store, stranger: Owner) -> None:
    insert(store, session())

    inserted = insert(store, replace(session(), row_id=row_id("theirs")), owner=stranger)

    assert inserted is True
    assert (find(store), find(store, owner=stranger)) == (session(), replace(session(), row_id=row_id("theirs")))


def test_turns_come_back_in_order_and_are_counted(store: Store) -> None:
    insert(store, session())
    add(store, HELLO, REPLY)

    add(store, NEXT)

    with store.read() as tx:
        found = tx.sessions.turns(OWNER, row_id("s1"))
    assert found == [HELLO.turn, REPLY.turn, NEXT.turn]
    assert find(store) == session(turns=3, rounds=2)


def test_turn_keeps_the_offset_it_was_given_with(store: Store) -> None:
    said_at = datetime(2024, 3, 1, 10, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=9)))
    insert(store, session())

    add(store, NewTurn(turn("hello", said_at=said_at), 0, 0))

    with store.read() as tx:
        (found,) = tx.sessions.turns(OWNER, row_id("s1"))
    assert found.said_at.isoformat() == "2024-03-01T10:00:00.123456+09:00"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("👩‍👩‍👧 was there", id="joined-emoji"),
        pytest.param("שלום עולם", id="right-to-left"),
        pytest.param("我昨天去了图书馆。", id="chinese"),
        pytest.param("a\tb\r\nc\u2028d", id="line-ends"),
        pytest.param("'; DROP TABLE turns; --", id="quotes"),
        pytest.param("x" * 200_000, id="long"),
    ],
)
def test_text_comes_back_to_the_letter(store: Store, text: str) -> None:
    insert(store, session())

    add(store, NewTurn(turn(text), 0, 0))

    with store.read() as tx:
        assert [found.text for found in tx.sessions.turns(OWNER, row_id("s1"))] == [text]


def test_last_round_is_the_one_that_may_grow(store: Store) -> None:
    insert(store, session())
    with store.read() as tx:
        before = tx.sessions.last_round(OWNER, row_id("s1"))
    add(store, HELLO, REPLY, NEXT)

    with store.read() as tx:
        after = tx.sessions.last_round(OWNER, row_id("s1"))

    assert before == (0, [])
    assert after == (2, [NEXT.turn])


def test_turns_are_found_by_their_ids(store: Store) -> None:
    insert(store, session())
    add(store, HELLO, REPLY)

    with store.read() as tx:
        found = tx.sessions.turns_with_ids(OWNER, row_id("s1"), ["b", "nobody's"])

    assert found == {"b": REPLY.turn}


def test_turn_is_found_with_its_round_by_its_user_alone(store: Store) -> None:
    insert(store, session())
    add(store, HELLO, REPLY, NEXT)
    asked = [(OWNER, "s1", "b"), (OWNER, "s1", "nobody's"), (OWNER, "s2", "b"), (Owner("default", "ben"), "s1", "b")]

    with store.read() as tx:
        found = [tx.sessions.turn(owner, row_id(row), turn_id) for owner, row, turn_id in asked]

    assert found == [(REPLY.turn, round_row_id(row_id("s1"), 0)), None, None, None]


def test_round_that_grows_waits_for_the_index_again(store: Store) -> None:
    insert(store, session())
    add(store, HELLO)
    mark_indexed(store)
    before = status(store)

    add(store, REPLY)

    assert (before.indexed, status(store).indexed) == (True, False)


def test_session_without_turns_has_nothing_to_index_or_to_extract(store: Store) -> None:
    insert(store, session())

    assert status(store) == Status(indexed=True, extracted="done")


@pytest.mark.parametrize(("kind", "extracted"), [(TaskKind.INDEX, "pending"), (TaskKind.EXTRACT, "failed")])
def test_status_carries_the_error_of_a_failed_task(kind: TaskKind, extracted: str, store: Store) -> None:
    insert(store, session())
    add(store, HELLO)
    owe(store, kind)
    with store.begin() as tx:
        (task,) = tx.outbox.claim(kind, limit=1, lease_s=60, now=NOW)
        tx.outbox.give_up(task, error="ValueError: no", now=NOW)

    assert status(store) == Status(indexed=False, extracted=extracted, error="ValueError: no")


def test_status_tells_how_far_extraction_is(store: Store) -> None:
    insert(store, session())
    add(store, HELLO, REPLY)
    seen = [status(store)]

    owe(store, TaskKind.EXTRACT)
    seen.append(status(store))
    mark_drawn(store, turns=1)
    with store.begin() as tx:
        (task,) = tx.outbox.claim(TaskKind.EXTRACT, limit=1, lease_s=60, now=NOW)
        seen.append(tx.sessions.status(OWNER, row_id("s1")))
        tx.outbox.complete(task, now=NOW)
    seen.append(status(store))
    mark_drawn(store, turns=2)
    seen.append(status(store))

    assert seen == [
        Status(indexed=False, extracted="pending"),
        Status(indexed=False, extracted="pending", is_drawing=True),
        Status(indexed=False, extracted="pending", is_drawing=True),
        Status(indexed=False, extracted="pending"),
        Status(indexed=False, extracted="done"),
    ]


def test_status_says_that_rules_took_the_models_place(store: Store) -> None:
    insert(store, session())
    add(store, HELLO)
    mark_drawn(store, turns=1, by="rules")
    by_rules = status(store)

    mark_drawn(store, turns=1, by="llm")

    reason = "drawn by rules: there was no language model, or the budget of the day was used up"
    assert by_rules == Status(indexed=False, extracted="done", degraded=reason)
    assert status(store) == Status(indexed=False, extracted="done")


def test_metadata_is_replaced(store: Store) -> None:
    insert(store, session())

    with store.begin() as tx:
        tx.sessions.set_metadata(OWNER, row_id("s1"), {"tag": "new"})

    assert find(store) == replace(session(), metadata={"tag": "new"})


def test_sessions_are_listed_newest_first_in_pages(store: Store) -> None:
    days = {"a": 3, "b": 1, "c": 2, "d": 2, "e": 2}
    for name, day in days.items():
        insert(store, session(name, started_at=STARTED + timedelta(days=day)))

    with store.read() as tx:
        pages = [tx.sessions.newest(OWNER, before=None, limit=2)]
        while pages[-1]:
            last = pages[-1][-1][0]
            pages.append(tx.sessions.newest(OWNER, before=(last.started_at, last.session_id), limit=2))

    assert [[found.session_id for found, _ in page] for page in pages] == [["a", "e"], ["d", "c"], ["b"], []]


def test_each_listed_session_has_its_own_status(store: Store) -> None:
    insert(store, session("s1"))
    insert(store, session("s2", started_at=STARTED + timedelta(days=1)))
    add(store, HELLO)

    with store.read() as tx:
        listed = tx.sessions.newest(OWNER, before=None, limit=9)

    assert [(found.session_id, how) for found, how in listed] == [
        ("s2", Status(True, "done")),
        ("s1", Status(False, "pending")),
    ]


def test_deleted_session_takes_its_rounds_and_turns_along(store: Store) -> None:
    insert(store, session())
    insert(store, session("other"))
    add(store, HELLO, REPLY, NEXT)
    add(store, HELLO, row="other")

    with store.begin() as tx:
        tx.sessions.delete(OWNER, row_id("s1"))

    assert row_counts(store) == {"sessions": 1, "rounds": 1, "turns": 1}


def test_alive_sessions_are_told_from_those_that_are_gone(store: Store) -> None:
    insert(store, session())

    with store.read() as tx:
        alive = tx.sessions.alive([row_id("s1"), row_id("gone")])

    assert alive == {row_id("s1")}


@pytest.mark.parametrize("stranger", FOREIGN)
def test_stranger_sees_and_changes_nothing(store: Store, stranger: Owner) -> None:
    insert(store, session())
    add(store, HELLO)
    with store.begin() as tx:
        tx.workspaces.ensure_user(stranger, now=NOW)
        tx.sessions.keep_answer(OWNER, "key", fingerprint="f", answer={}, now=NOW)

    with store.begin() as tx:
        seen: list[object] = [
            tx.sessions.find(stranger, "s1", lock=True),
            tx.sessions.turns(stranger, row_id("s1")),
            tx.sessions.turns_with_ids(stranger, row_id("s1"), ["a"]),
            tx.sessions.last_round(stranger, row_id("s1")),
            tx.sessions.newest(stranger, before=None, limit=9),
            tx.sessions.all_rows(stranger),
            tx.sessions.kept_answer(stranger, "key"),
        ]
        tx.sessions.set_metadata(stranger, row_id("s1"), {"by": "stranger"})
        tx.sessions.delete(stranger, row_id("s1"))

    assert seen == [None, [], {}, (0, []), [], [], None]
    assert find(store) == session(turns=1, rounds=1)


def test_kept_answer_comes_back_until_it_is_forgotten(store: Store) -> None:
    with store.begin() as tx:
        tx.workspaces.ensure_user(OWNER, now=NOW)
        tx.sessions.keep_answer(OWNER, "old", fingerprint="f1", answer={"turns": 1}, now=NOW - timedelta(seconds=1))
        tx.sessions.keep_answer(OWNER, "new", fingerprint="f2", answer={"turns": 2}, now=NOW)

    with store.begin() as tx:
        forgotten = tx.sessions.forget_answers(before=NOW)
        kept = [tx.sessions.kept_answer(OWNER, key) for key in ("old", "new")]

    assert forgotten == 1
    assert kept == [None, ("f2", {"turns": 2})]


def test_row_ids_follow_from_what_the_row_is() -> None:
    places = [(row_id("s1"), 0), (row_id("s1"), 1), (row_id("s2"), 0)]

    ids = [round_row_id(row, position) for row, position in places]

    assert len(set(ids)) == 3
    assert ids == [round_row_id(row, position) for row, position in places]


def test_turn_says_its_text_and_its_captions() -> None:
    said: Turn = REPLY.turn

    assert said.said == "hi\n[image: a wave]\n[image: a smile]"
