"""Rounds as recall, the index and a rebuild read them."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from memsvc.domain import Owner, Round
from memsvc.store.database import Store
from tests.factories import OWNER, STARTED, draft, recorder

NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)
BEN = Owner("default", "ben")
THEIRS = Owner("theirs", "ana")


def record(store: Store, *texts: str, owner: Owner = OWNER, session_id: str = "s1") -> None:
    """Record a session in which every turn is a round of its own."""
    recorder(store).record(owner, session_id, [draft(text) for text in texts], started_at=STARTED)


def all_rounds(store: Store) -> list[tuple[Owner, Round]]:
    with store.read() as tx:
        return tx.rounds.page(after=None, limit=1000)


def mark(store: Store, *rounds: Round, keys: int = 1, now: datetime = NOW) -> None:
    with store.begin() as tx:
        tx.rounds.mark_indexed([(found, keys) for found in rounds], now=now)


def counts(store: Store) -> tuple[int, int, int]:
    with store.read() as tx:
        return tx.rounds.counts()


def test_round_is_loaded_whole(store: Store) -> None:
    recorder(store).record(
        OWNER, "s1", [draft("hello"), draft("hi", "assistant", captions=("a wave",))], started_at=STARTED
    )
    ((_, found),) = all_rounds(store)

    with store.read() as tx:
        loaded = tx.rounds.load(OWNER, [found.row_id])

    assert loaded == {found.row_id: found}
    assert (found.session_id, found.session_started_at, found.first_position) == ("s1", STARTED, 0)
    assert [(turn.turn_id, turn.said) for turn in found.turns] == [("0", "hello"), ("1", "hi\n[image: a wave]")]


@pytest.mark.parametrize("stranger", [BEN, THEIRS])
def test_strangers_round_is_not_loaded(store: Store, stranger: Owner) -> None:
    record(store, "mine")
    record(store, "theirs", owner=stranger)
    rows = [found.row_id for _, found in all_rounds(store)]

    with store.read() as tx:
        loaded = tx.rounds.load(OWNER, rows)

    assert [turn.text for found in loaded.values() for turn in found.turns] == ["mine"]


def test_nothing_is_loaded_for_no_ids(store: Store) -> None:
    record(store, "hello")

    with store.read() as tx:
        assert tx.rounds.load(OWNER, []) == {}
        assert tx.rounds.load(OWNER, [uuid4()]) == {}


def test_unindexed_rounds_come_in_slices_with_their_owners(store: Store) -> None:
    record(store, "one", "two", "three")
    record(store, "other", owner=BEN)
    rounds = {found.turns[0].text: (owner, found) for owner, found in all_rounds(store)}
    mark(store, rounds["two"][1])
    rows = [rounds["one"][1].session_row, rounds["other"][1].session_row]

    with store.read() as tx:
        all_waiting = tx.rounds.unindexed(rows, limit=10)
        two_waiting = tx.rounds.unindexed(rows, limit=2)
        mine = tx.rounds.unindexed(rows[:1], limit=10)
        nobodys = tx.rounds.unindexed([], limit=10)

    def texts(found: list[tuple[Owner, Round]]) -> list[tuple[str, str]]:
        return sorted((owner.user_id, each.turns[0].text) for owner, each in found)

    assert texts(all_waiting) == [("ana", "one"), ("ana", "three"), ("ben", "other")]
    assert len(two_waiting) == 2
    assert texts(mine) == [("ana", "one"), ("ana", "three")]
    assert nobodys == []


def test_round_that_has_grown_is_not_marked(store: Store) -> None:
    record(store, "hello")
    ((_, read_before),) = all_rounds(store)
    recorder(store).append(OWNER, "s1", [draft("hi", "assistant")])

    mark(store, read_before)

    assert counts(store) == (1, 0, 0)


def test_counts_say_how_many_keys_the_index_should_hold(store: Store) -> None:
    record(store, "one", "two", "three")
    record(store, "other", owner=THEIRS)
    rounds = [found for _, found in all_rounds(store)]

    mark(store, *rounds[:2], keys=3)

    assert counts(store) == (4, 2, 6)


def test_key_counts_are_corrected(store: Store) -> None:
    record(store, "one", "two")
    rounds = [found for _, found in all_rounds(store)]
    mark(store, *rounds, keys=3)

    with store.begin() as tx:
        tx.rounds.set_key_counts([(rounds[0], 1)])

    assert counts(store) == (2, 2, 4)


def test_pages_walk_through_every_round_once(store: Store) -> None:
    record(store, *[f"text {number}" for number in range(23)])
    record(store, "other", owner=THEIRS)

    walked: list[tuple[Owner, Round]] = []
    with store.read() as tx:
        while page := tx.rounds.page(after=walked[-1][1].row_id if walked else None, limit=5):
            walked += page

    assert walked == all_rounds(store)
    assert len({found.row_id for _, found in walked}) == 24


def test_rounds_indexed_since_are_owed_with_those_that_wait(store: Store) -> None:
    for name in ("before", "since", "waiting"):
        record(store, name, session_id=name)
    rounds = {found.session_id: found for _, found in all_rounds(store)}
    mark(store, rounds["before"], now=NOW - timedelta(microseconds=1))
    mark(store, rounds["since"], now=NOW)

    with store.begin() as tx:
        owed = tx.rounds.owed_since(NOW)

    assert sorted(owed, key=str) == sorted(
        [(OWNER, rounds[name].session_row) for name in ("since", "waiting")], key=str
    )
    assert counts(store) == (3, 1, 1)


def test_live_index_is_the_last_one_noted(store: Store) -> None:
    with store.begin() as tx:
        seen = [tx.rounds.live_index()]
        for encoder, dimension in (("first", 8), ("second", 16)):
            tx.rounds.set_live_index(encoder, dimension, now=NOW)
            seen.append(tx.rounds.live_index())

    assert seen == [None, ("first", 8), ("second", 16)]
