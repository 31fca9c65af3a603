"""The Indexer and the Rebuilder: what is owed becomes points, whatever fails in between."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import delete, select, update

from memsvc.app import Service, build, open_store
from memsvc.domain import KEY_FORM, Backlog, Owner, Query, Recorded, Shape, Status, Task, TaskKind, Unit
from memsvc.errors import EncoderMismatch, IndexReplaced, IndexUnavailable, Misconfigured, SessionNotFound
from memsvc.index.base import Index, Legs, Point, Probe, Rebuild
from memsvc.index.edge import EdgeIndex
from memsvc.index.lexical import Lexicon
from memsvc.index.server import ServerIndex, connect
from memsvc.inference.encoders import Encoded
from memsvc.intervals import Interval
from memsvc.memory.duties import Patience
from memsvc.memory.extracting import Extractor
from memsvc.memory.indexing import Projector, shape_of
from memsvc.memory.locales import Localizer
from memsvc.memory.metering import Meter
from memsvc.memory.reconciling import Batch, Reconciler
from memsvc.settings import Settings
from memsvc.store import tables
from memsvc.store.database import Store
from memsvc.store.facts import FactFilter
from memsvc.store.ledger import Decision
from tests.doubles import HashEncoder, QdrantDouble
from tests.factories import OWNER, STARTED, draft, probe_of, round_of, turn
from tests.memory import ATTEMPTS, LEASE_S, Memory

BEN = Owner("default", "ben")
LONGEST_WAIT_S = 450.0


class Poisoned(HashEncoder):
    """An encoder that cannot stand one word; it keeps what it was asked to encode."""

    def __init__(self) -> None:
        super().__init__()
        self.is_cured = False
        self.encoded: list[str] = []
        self.contexts: dict[str, str] = {}

    def encode(self, texts: Sequence[str], *, contexts: Sequence[str] = ()) -> list[Encoded]:
        self.encoded += texts
        self.contexts.update(zip(texts, contexts, strict=False))
        if not self.is_cured and any("poison" in text for text in texts):
            raise ValueError("cannot encode poison")
        return super().encode(texts, contexts=contexts)


class Interrupted(Index):
    """An index on which something else happens just before the next points are put, and which may be down."""

    def __init__(self, below: Index) -> None:
        self._below = below
        self.meanwhile: Callable[[], object] | None = None
        self.is_down = False

    def put(self, points: Sequence[Point]) -> None:
        self._require_up()
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        self._below.put(points)

    def drop(self, owner: Owner, session_row: UUID) -> None:
        self._require_up()
        self._below.drop(owner, session_row)

    def remove(self, owner: Owner, point_ids: Sequence[UUID]) -> None:
        self._require_up()
        self._below.remove(owner, point_ids)

    def search(self, owner: Owner, probe: Probe) -> Legs:
        return self._below.search(owner, probe)

    def count(self, owner: Owner | None = None, session_row: UUID | None = None) -> int:
        return self._below.count(owner, session_row)

    def rebuilt(self) -> Rebuild:
        return self._below.rebuilt()

    def close(self) -> None:
        self._below.close()

    def _require_up(self) -> None:
        if self.is_down:
            raise IndexUnavailable("The index is down.")


@pytest.fixture
def encoder() -> Poisoned:
    return Poisoned()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Interrupted]:
    with closing(EdgeIndex(tmp_path / "index", shape_of(HashEncoder()))) as below:
        yield Interrupted(below)


class Extracted(Memory):
    """Of what it records, the extraction is done: what is left to do is the Indexer's."""

    def record(self, session_id: str, *texts: str, owner: Owner = OWNER) -> Recorded:
        recorded = super().record(session_id, *texts, owner=owner)
        self.extract()
        return recorded


@pytest.fixture
def memory(store: Store, index: Interrupted, encoder: Poisoned) -> Memory:
    return Extracted(store, index, encoder)


def status(memory: Memory, session_id: str, owner: Owner = OWNER) -> Status:
    return memory.reader.status(owner, session_id)


def due(memory: Memory) -> int:
    return memory.reader.backlog().due


def rest(memory: Memory) -> None:
    """Let the longest wait between two attempts pass."""
    memory.clock.pass_time(seconds=LONGEST_WAIT_S)


def test_what_is_owed_is_indexed_marked_and_done(memory: Memory) -> None:
    memory.record("s1", "a tortoise", "a ferry")
    memory.record("s2", "a piano", owner=BEN)

    claimed = memory.indexer.drain()

    assert claimed == 2
    assert (status(memory, "s1"), status(memory, "s2", BEN)) == (Status(indexed=True), Status(indexed=True))
    assert memory.reader.backlog() == Backlog(due=0, failed=0, oldest_s=0.0)
    assert memory.index.count() == memory.keys() == 3
    assert sorted(memory.recalled("tortoise")) == ["a ferry", "a tortoise"]


def test_nothing_owed_is_nothing_done(memory: Memory) -> None:
    assert memory.indexer.drain() == 0


def test_session_of_several_slices_is_indexed_whole(memory: Memory) -> None:
    memory.record("s1", *[f"text {number}" for number in range(300)])

    memory.indexer.drain()

    assert memory.index.count() == 300
    assert status(memory, "s1") == Status(indexed=True)


def test_texts_of_many_sessions_are_encoded_together(memory: Memory, encoder: Poisoned) -> None:
    for number in range(40):
        memory.record(f"s{number}", f"text {number}")

    claimed = [memory.indexer.drain() for _ in range(3)]

    assert claimed == [32, 8, 0]
    assert sorted(encoder.encoded) == sorted(f"user: text {number}" for number in range(40))


def test_turn_is_read_behind_the_one_before_it_in_its_session(memory: Memory, encoder: Poisoned) -> None:
    memory.recorder.record(
        OWNER, "s1", [draft("a tortoise"), draft("how slow", "assistant"), draft("a ferry")], started_at=STARTED
    )
    memory.record("s2", "a piano")

    memory.drain()

    assert encoder.contexts == {
        "user: a tortoise": "",
        "assistant: how slow": "user: a tortoise",
        "user: a ferry": "assistant: how slow",
        "user: a piano": "",
    }


def test_turn_that_comes_later_is_read_behind_the_one_that_was_indexed(memory: Memory, encoder: Poisoned) -> None:
    memory.record("s1", "a tortoise")
    memory.drain()
    memory.recorder.append(OWNER, "s1", [draft("a ferry")])

    memory.drain()

    assert encoder.contexts == {"user: a tortoise": "", "user: a ferry": "user: a tortoise"}


def test_rebuild_reads_turns_behind_the_same_as_the_worker_did(memory: Memory, encoder: Poisoned) -> None:
    memory.record("s1", *[f"text {number}" for number in range(200)])
    memory.drain()
    by_worker = dict(encoder.contexts)
    encoder.contexts.clear()

    memory.rebuilder.rebuild()

    assert len(by_worker) == 200
    assert by_worker["user: text 128"] == "user: text 127"
    assert encoder.contexts == by_worker


def test_turns_are_dated_when_they_are_indexed(memory: Memory) -> None:
    memory.record("s1", "I sailed yesterday", "a ferry")
    before = turn_times(memory)

    memory.drain()

    assert before == {}
    assert turn_times(memory) == {"I sailed yesterday": ["yesterday"]}


def test_turn_that_comes_later_is_dated_and_the_others_again(memory: Memory) -> None:
    memory.record("s1", "I sailed yesterday")
    memory.drain()
    memory.recorder.append(OWNER, "s1", [draft("And I do so tomorrow", "assistant")])

    memory.drain()

    assert turn_times(memory) == {"I sailed yesterday": ["yesterday"], "And I do so tomorrow": ["tomorrow"]}


def test_rebuild_dates_turns_anew(memory: Memory) -> None:
    memory.record("s1", "I sailed yesterday")
    memory.drain()
    with memory.store.engine.begin() as connection:
        connection.execute(delete(tables.turn_times))
        connection.execute(update(tables.turns).values(said_weekday=None, said_minute=None))

    memory.rebuilder.rebuild()

    assert turn_times(memory) == {"I sailed yesterday": ["yesterday"]}
    with memory.store.engine.connect() as connection:
        clocks = connection.execute(select(tables.turns.c.said_weekday, tables.turns.c.said_minute)).all()
    assert [tuple(clock) for clock in clocks] == [(4, 600)]


def test_change_of_zone_dates_all_that_was_said_anew(memory: Memory) -> None:
    localizer = Localizer(memory.store, memory.clock, owed=lambda: None)
    for owner in (OWNER, BEN):
        memory.record("s1", "I sail today", owner=owner)
    memory.drain()

    localizer.change(OWNER, lambda before: replace(before, time_zone="Pacific/Kiritimati"))

    memory.drain()
    with memory.store.read() as tx:
        starts = {
            owner: turn.times[0].start
            for owner, found in tx.rounds.page(after=None, limit=10)
            for turn in tx.sessions.turns(owner, found.session_row)
        }
    # In Kiritimati, fourteen hours ahead, it was the next day when it was said.
    assert starts == {OWNER: datetime(2024, 3, 1, 10, tzinfo=UTC), BEN: datetime(2024, 3, 1, tzinfo=UTC)}
    assert memory.index.search(OWNER, probe_of("sail"))["bm25"][0].found.events == (
        Interval(datetime(2024, 3, 1, 10, tzinfo=UTC), datetime(2024, 3, 2, 10, tzinfo=UTC)),
    )


def test_point_has_the_events_of_its_turn_alone() -> None:
    talk = round_of(turn("We sailed yesterday", turn_id="a"), turn("I see, today then", turn_id="b"))
    midnight = datetime(2024, 3, 1, tzinfo=UTC)

    points, (made,) = Projector(HashEncoder(), Lexicon()).project([(BEN, talk)])

    assert [point.events for point in points] == [
        (Interval(midnight - timedelta(days=1), midnight),),
        (Interval(midnight, midnight + timedelta(days=1)),),
    ]
    assert made.owner == BEN
    assert [[time.text for time in turn.times] for turn in made.round.turns] == [["yesterday"], ["today"]]


def turn_times(memory: Memory) -> dict[str, list[str]]:
    """The words that date a turn, by its text, of all that are dated."""
    with memory.store.read() as tx:
        turns = tx.sessions.turns(OWNER, row_of(memory, "s1"))
    return {turn.text: [time.text for time in turn.times] for turn in turns if turn.times}


def row_of(memory: Memory, session_id: str) -> UUID:
    with memory.store.read() as tx:
        session = tx.sessions.find(OWNER, session_id)
    assert session is not None
    return session.row_id


def test_words_of_a_context_are_words_of_its_point() -> None:
    talk = round_of(turn("Any pets?", turn_id="a", speaker="Ben"), turn("A kitten.", turn_id="b", speaker="Ana"))

    points, _ = Projector(HashEncoder(), Lexicon()).project([(OWNER, talk)])

    lexicon, encoder = Lexicon(), HashEncoder()
    assert [point.sparse for point in points] == [
        lexicon.document("\nBen: Any pets?"),
        lexicon.document("Ben: Any pets?\nAna: A kitten."),
    ]
    # Sentence and token vectors are of the turn itself.
    for point, text in zip(points, ["Ben: Any pets?", "Ana: A kitten."], strict=True):
        (vectors,) = encoder.encode([text])
        assert point.dense.tolist() == vectors.dense.tolist()
        assert point.tokens.tolist() == vectors.tokens.tolist()


def test_what_was_made_of_a_round_is_told_with_the_token_ids_of_each_turn() -> None:
    long = round_of(turn("One two. " * 60, turn_id="a"), turn("three two three", turn_id="b"))
    short = round_of(turn("four", turn_id="c"), session="s2")

    points, made = Projector(HashEncoder(), Lexicon()).project([(OWNER, long), (BEN, short)])

    ids = [_ids(words) for words in ("user one two", "user two three", "user four")]
    assert [(entry.round, entry.terms) for entry in made] == [(long, ids[0] + ids[1]), (short, ids[2])]
    assert [entry.key_count for entry in made] == [len(points) - 1, 1]
    assert len(points) > 3


def test_nothing_is_made_of_no_rounds() -> None:
    assert Projector(HashEncoder(), Lexicon()).project([]) == ([], [])


def test_task_done_twice_leaves_the_same_points(memory: Memory) -> None:
    memory.record("s1", "a tortoise", "a ferry")
    memory.drain()
    memory.recorder.append(OWNER, "s1", [draft("indeed", "assistant")])

    memory.drain()

    assert memory.index.count() == memory.keys()
    assert sorted(memory.recalled("tortoise")) == ["a ferry", "a tortoise", "indeed"]


class Dying(Reconciler):
    """A reconciler whose process ends when its batch is written, before anything else is done."""

    def reconcile(self, owner: Owner, batch: Batch, *, between: Callable[[], None] = lambda: None) -> list[Decision]:
        super().reconcile(owner, batch, between=between)
        raise SystemExit


def test_facts_of_a_worker_that_died_when_they_were_written_are_indexed(memory: Memory, encoder: Poisoned) -> None:
    memory.recorder.record(OWNER, "s1", [draft("I have a tortoise.")], started_at=STARTED)
    while memory.indexer.drain():
        pass
    meter = Meter(memory.store, None, memory.clock)
    dying = Extractor(
        memory.store,
        Dying(memory.store, encoder, meter, memory.clock),
        meter,
        memory.clock,
        Patience(LEASE_S, ATTEMPTS),
        count_tokens=encoder.count_tokens,
    )
    with pytest.raises(SystemExit):
        dying.drain()
    rest(memory)

    memory.drain()

    found = memory.recaller.recall(OWNER, Query("tortoise", asked_at=memory.clock.now(), unit=Unit.FACT)).evidence
    assert [[fact.text for fact in item.facts] for item in found] == [["I have a tortoise."]]
    assert memory.index.count() == memory.keys() == 2


def test_facts_are_indexed_with_their_rounds_and_go_when_they_are_forgotten(memory: Memory) -> None:
    memory.record("s1", "I have a tortoise.", "I live in Lisbon.")
    memory.drain()
    before = memory.index.count(), memory.keys()
    session_row = row_of(memory, "s1")
    with memory.store.begin() as tx:
        tortoise, _ = tx.facts.page(OWNER, FactFilter(memory.clock.now()), limit=9)
        tx.facts.forget(OWNER, [tortoise.fact_id], now=memory.clock.now())
        tx.outbox.owe(TaskKind.INDEX, OWNER, session_row, now=memory.clock.now())

    memory.drain()

    assert before == (4, 4)
    assert memory.index.count() == memory.keys() == 3


def test_rebuild_holds_facts_too(memory: Memory) -> None:
    memory.record("s1", "I have a tortoise.", "I live in Lisbon.")
    memory.drain()
    memory.clock.pass_time(hours=1)

    rounds = memory.rebuilder.rebuild()

    assert (rounds, due(memory)) == (2, 0)
    assert memory.index.count() == memory.keys() == 4


def test_fact_that_waits_during_a_rebuild_is_indexed(memory: Memory) -> None:
    memory.record("s1", "I have a tortoise.")

    memory.rebuilder.rebuild()
    memory.drain()

    assert memory.index.count() == memory.keys() == 2


def test_poisoned_task_blocks_no_other(memory: Memory) -> None:
    for session_id in ("before", "poison", "after"):
        memory.record(session_id, session_id)

    memory.indexer.drain()

    assert [status(memory, name).indexed for name in ("before", "poison", "after")] == [True, False, True]
    assert due(memory) == 1


def test_poisoned_task_is_tried_again_after_growing_waits(memory: Memory, encoder: Poisoned) -> None:
    memory.record("s1", "poison")

    tried = []
    for seconds in (0.0, 0.49, 1.5, 0.99, 3.0):
        memory.clock.pass_time(seconds=seconds)
        tried.append(memory.indexer.drain())

    # The first wait is 0.5 to 1.5 seconds, the second 1 to 3.
    assert tried == [1, 0, 1, 0, 1]
    assert encoder.encoded == ["user: poison"] * 3


def test_poisoned_task_rests_as_failed_after_its_last_attempt(memory: Memory) -> None:
    memory.record("s1", "poison")
    for _ in range(ATTEMPTS):
        memory.indexer.drain()
        rest(memory)

    drained = memory.indexer.drain()

    (failed,) = memory.reader.failed_tasks("default", limit=9)
    assert drained == 0
    assert (failed.session_id, failed.attempts, failed.error) == ("s1", ATTEMPTS, "ValueError: cannot encode poison")
    assert status(memory, "s1") == Status(indexed=False, error="ValueError: cannot encode poison")


def test_failed_task_is_done_when_it_is_retried_and_cured(memory: Memory, encoder: Poisoned) -> None:
    memory.record("s1", "poison")
    for _ in range(ATTEMPTS):
        memory.indexer.drain()
        rest(memory)
    encoder.is_cured = True
    (failed,) = memory.reader.failed_tasks("default", limit=9)

    memory.reader.retry("default", failed.task_id)
    memory.indexer.drain()

    assert memory.reader.failed_tasks("default", limit=9) == []
    assert status(memory, "s1") == Status(indexed=True)


def test_failed_session_that_grows_is_tried_again(memory: Memory, encoder: Poisoned) -> None:
    memory.record("s1", "poison")
    for _ in range(ATTEMPTS):
        memory.indexer.drain()
        rest(memory)
    encoder.is_cured = True

    memory.recorder.append(OWNER, "s1", [draft("an antidote")])
    memory.extract()
    memory.indexer.drain()

    assert status(memory, "s1") == Status(indexed=True)
    assert sorted(memory.recalled("antidote")) == ["an antidote", "poison"]


@pytest.mark.parametrize(
    ("attempts", "shortest", "longest"),
    [(1, 0.5, 1.5), (2, 1.0, 3.0), (5, 8.0, 24.0), (9, 128.0, 384.0), (10, 150.0, 450.0), (1000, 150.0, 450.0)],
)
def test_wait_doubles_up_to_five_minutes_and_is_spread(attempts: int, shortest: float, longest: float) -> None:
    waits = [Patience().wait_s(attempts) for _ in range(100)]

    assert shortest <= min(waits) < max(waits) <= longest


def test_outage_never_counts_as_an_attempt(memory: Memory, index: Interrupted) -> None:
    memory.record("s1", "a tortoise")
    index.is_down = True
    for _ in range(3 * ATTEMPTS):
        assert memory.indexer.drain() == 1
        rest(memory)
    during = memory.reader.failed_tasks("default", limit=9), status(memory, "s1")
    index.is_down = False

    memory.indexer.drain()

    assert during == ([], Status(indexed=False))
    assert status(memory, "s1") == Status(indexed=True)


def test_task_whose_worker_died_in_every_attempt_is_given_up(memory: Memory) -> None:
    memory.record("s1", "a tortoise")
    for attempt in range(ATTEMPTS):
        (claimed,) = memory.claim(retried=attempt > 0)
        memory.clock.pass_time(seconds=LEASE_S)

    memory.indexer.drain()

    (failed,) = memory.reader.failed_tasks("default", limit=9)
    assert claimed.attempts == ATTEMPTS
    assert failed.error == "The worker ended in the middle of every attempt."


def test_session_deleted_while_its_points_are_put_leaves_none(memory: Memory, index: Interrupted) -> None:
    memory.record("s1", "a tortoise")
    index.meanwhile = lambda: memory.forgetter.forget_session(OWNER, "s1")

    memory.drain()

    assert memory.index.count() == 0
    assert due(memory) == 0


def test_user_deleted_while_its_points_are_put_leaves_none(memory: Memory, index: Interrupted) -> None:
    memory.record("s1", "a tortoise")
    memory.record("s2", "a ferry")
    index.meanwhile = lambda: memory.forgetter.forget_user(OWNER)

    memory.drain()

    assert memory.index.count() == 0
    assert due(memory) == 0


def test_session_deleted_and_recorded_again_while_its_points_are_put_has_its_own(
    memory: Memory, index: Interrupted
) -> None:
    def replace() -> None:
        memory.forgetter.forget_session(OWNER, "s1")
        memory.clock.pass_time(microseconds=1)
        memory.record("s1", "a ferry")

    memory.record("s1", "a tortoise", "a piano")
    index.meanwhile = replace

    memory.drain()

    assert memory.index.count() == 1
    assert memory.recalled("tortoise ferry") == ["a ferry"]


def test_round_that_grows_while_it_is_indexed_is_indexed_anew(memory: Memory, index: Interrupted) -> None:
    memory.record("s1", "a tortoise")
    index.meanwhile = lambda: memory.recorder.append(OWNER, "s1", [draft("how slow", "assistant")])

    memory.drain()

    assert status(memory, "s1") == Status(indexed=True)
    assert memory.index.count() == memory.keys() == 2
    assert sorted(memory.recalled("slow")) == ["a tortoise", "how slow"]


def test_worker_of_a_replaced_index_stops_and_gives_its_tasks_back(memory: Memory) -> None:
    memory.record("s1", "a tortoise")
    memory.record("s2", "a ferry")
    replace_index(memory.store)

    with pytest.raises(IndexReplaced) as raised:
        memory.indexer.drain()

    assert str(raised.value) == (
        f"The index is now filled with other (32 dimensions, no token vectors, keys of form {KEY_FORM}); "
        "restart with the same encoder and version."
    )
    assert attempts_of(memory.claim()) == [1, 1]
    assert not status(memory, "s1").indexed


def test_worker_of_a_replaced_index_gives_back_also_what_stood_beside_a_failure(memory: Memory) -> None:
    for session_id in ("poison", "s1", "s2"):
        memory.record(session_id, session_id)
    replace_index(memory.store)

    with pytest.raises(IndexReplaced):
        memory.indexer.drain()
    memory.clock.pass_time(seconds=1.5)

    assert len(memory.claim()) + len(memory.claim(retried=True)) == 3


def test_worker_whose_collection_is_gone_from_the_server_stops(store: Store, qdrant: tuple[QdrantDouble, str]) -> None:
    _, url = qdrant
    worker = Memory(store, server_index(url, HashEncoder()), HashEncoder())
    worker.record("s1", "a tortoise")
    with store.begin() as tx:
        tx.rounds.set_live_index(shape_of(HashEncoder()), now=worker.clock.now())
    worker.drain()
    other = HashEncoder("other", 32)
    Memory(store, server_index(url, other), other).rebuilder.rebuild()
    worker.record("s2", "a ferry")

    with pytest.raises(IndexReplaced):
        worker.indexer.drain()


class Swapped(EdgeIndex):
    """An embedded index in whose place another one stands once something was put."""

    swap: Callable[[], None] | None = None

    def put(self, points: Sequence[Point]) -> None:
        super().put(points)
        if self.swap is not None:
            swap, self.swap = self.swap, None
            swap()


def test_what_was_put_as_a_rebuild_swapped_the_index_is_put_again(store: Store, tmp_path: Path) -> None:
    with closing(Swapped(tmp_path / "index", shape_of(HashEncoder()))) as index:
        memory = Memory(store, index)
        memory.record("s1", "a tortoise")
        session = row_of(memory, "s1")

        def swap() -> None:
            index.drop(OWNER, session)
            with store.begin() as tx:
                tx.rounds.set_live_index(shape_of(HashEncoder()), now=memory.clock.now())

        index.swap = swap
        memory.drain()

        assert memory.recalled("tortoise") == ["a tortoise"]
        assert index.count() == memory.keys()


def test_worker_that_is_stopped_gives_its_tasks_back_unharmed(memory: Memory, encoder: Poisoned) -> None:
    memory.record("s1", "a tortoise")
    memory.record("s2", "a ferry")

    claimed = memory.indexer.drain(stopping=lambda: True)

    assert claimed == 2
    assert encoder.encoded == []
    assert attempts_of(memory.claim()) == [1, 1]


def test_worker_stopped_between_two_slices_keeps_what_is_indexed(memory: Memory, encoder: Poisoned) -> None:
    memory.record("s1", *[f"text {number}" for number in range(300)])

    memory.indexer.drain(stopping=lambda: bool(encoder.encoded))
    between = memory.index.count()
    memory.drain()

    assert 0 < between < 300
    assert len(encoder.encoded) == memory.index.count() == 300


def test_rebuild_heals_a_lost_index(settings: Settings) -> None:
    with closing(build(settings, encoder=HashEncoder())) as before:
        fill(before)
    shutil.rmtree(settings.index_dir)

    with closing(build(settings, encoder=HashEncoder(), to_rebuild=True)) as healed:
        rounds = healed.rebuilder.rebuild()

        assert rounds == 3
        assert points_by_user(healed) == {"ana": 2, "ben": 1}
    build(settings, encoder=HashEncoder()).close()


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param("edge_config.json", id="settings"),
        pytest.param("payload_index/*/tracker.dat", id="payloads"),
        pytest.param("mutable_id_tracker.mappings", id="ids"),
    ],
)
def test_rebuild_heals_a_damaged_index(settings: Settings, damaged: str) -> None:
    with closing(build(settings, encoder=HashEncoder())) as before:
        fill(before)
    for file in settings.index_dir.rglob(damaged):
        file.write_bytes(b"\xff" * file.stat().st_size)

    with closing(build(settings, encoder=HashEncoder(), to_rebuild=True)) as healed:
        rounds = healed.rebuilder.rebuild()

        assert rounds == 3
        assert points_by_user(healed) == {"ana": 2, "ben": 1}


def test_rebuild_tells_how_far_it_is(memory: Memory) -> None:
    memory.record("s1", *[f"text {number}" for number in range(200)])
    told: list[tuple[int, int]] = []

    memory.rebuilder.rebuild(progress=lambda done, total: told.append((done, total)))

    assert told == [(128, 200), (200, 200)]


def test_rebuild_that_fails_keeps_the_old_index(memory: Memory, encoder: Poisoned, tmp_path: Path) -> None:
    memory.record("s1", "a tortoise")
    memory.drain()
    memory.record("s2", "poison")

    with pytest.raises(ValueError, match="cannot encode poison"):
        memory.rebuilder.rebuild()

    assert memory.recalled("tortoise") == ["a tortoise"]
    assert len([entry for entry in (tmp_path / "index").iterdir() if entry.is_dir()]) == 1


def test_rebuild_catches_up_with_what_happened_meanwhile(memory: Memory) -> None:
    for name in ("kept", "deleted", "grown"):
        memory.record(name, f"{name} before")
    memory.drain()

    def happen() -> None:
        memory.forgetter.forget_session(OWNER, "deleted")
        memory.recorder.append(OWNER, "grown", [draft("grown meanwhile")])
        memory.record("new", "new meanwhile")
        memory.drain()
        memory.record("owed", "owed meanwhile")

    happenings = [happen]
    memory.rebuilder.rebuild(progress=lambda _done, _total: happenings.pop()() if happenings else None)
    memory.drain()

    assert memory.index.count() == memory.keys() == 5
    assert sorted(memory.recalled("meanwhile before")) == [
        "grown before",
        "grown meanwhile",
        "kept before",
        "new meanwhile",
        "owed meanwhile",
    ]


def test_task_in_hand_during_a_rebuild_is_done_once_more(memory: Memory) -> None:
    memory.record("s1", "a tortoise")
    (in_hand,) = memory.claim()

    memory.rebuilder.rebuild()
    with memory.store.begin() as tx:
        tx.outbox.complete(in_hand, now=memory.clock.now())

    assert due(memory) == 1


def test_rebuild_with_another_encoder_takes_the_place_of_the_old(settings: Settings) -> None:
    with closing(build(settings, encoder=HashEncoder())) as before:
        fill(before)
    other = HashEncoder("other-32", 32)

    with closing(build(settings, encoder=other, to_rebuild=True)) as rebuilding:
        rounds = rebuilding.rebuilder.rebuild()

    with closing(build(settings, encoder=other)) as after:
        assert rounds == 3
        assert points_by_user(after) == {"ana": 2, "ben": 1}
    with pytest.raises(EncoderMismatch) as raised:
        build(settings, encoder=HashEncoder())
    assert str(raised.value) == (
        f"The index was filled with the encoder other-32 (32 dimensions, 64 a token, keys of form {KEY_FORM}), but "
        "this process would fill it with hash-64. Run `memsvc rebuild` to fill a new collection with hash-64, or set "
        "MEMSVC_ENCODER=other-32."
    )


def test_other_encoder_is_refused_before_the_rebuild(settings: Settings) -> None:
    build(settings, encoder=HashEncoder()).close()

    with pytest.raises(EncoderMismatch) as raised:
        build(settings, encoder=HashEncoder("other-32", 32))

    assert "Run `memsvc rebuild` to fill a new collection with other-32" in str(raised.value)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(HashEncoder("hash-64", 32), id="another dimension"),
        pytest.param(HashEncoder("hash-64", token_dimension=32), id="token vectors of another dimension"),
        pytest.param(HashEncoder("hash-64", token_dimension=0), id="no token vectors"),
    ],
)
def test_same_name_with_vectors_of_another_shape_is_refused(settings: Settings, other: HashEncoder) -> None:
    build(settings, encoder=HashEncoder()).close()

    with pytest.raises(EncoderMismatch, match="memsvc rebuild"):
        build(settings, encoder=other)


def test_index_of_an_earlier_form_is_refused_until_a_rebuild(settings: Settings) -> None:
    with closing(build(settings, encoder=HashEncoder())) as before:
        fill(before)
    become_form_1(settings)

    with pytest.raises(EncoderMismatch, match="Run `memsvc rebuild` to fill a new collection"):
        build(settings, encoder=HashEncoder())
    with closing(build(settings, encoder=HashEncoder(), to_rebuild=True)) as rebuilding:
        rounds = rebuilding.rebuilder.rebuild()

    with closing(build(settings, encoder=HashEncoder())) as after:
        memory = Memory(after.store, after.index)
        assert rounds == 3
        assert points_by_user(after) == {"ana": 2, "ben": 1}
        assert memory.recalled("tortoise")[0] == "a tortoise"
        assert after.use_cases.recaller.search(OWNER, asked("tortoise"))["late"][0].score > 0.9
        with after.store.read() as tx:
            assert (tx.rounds.live_index(), tx.rounds.indexed_turns(OWNER)) == (shape_of(HashEncoder()), 2)
    assert len([entry for entry in settings.index_dir.iterdir() if entry.is_dir()]) == 1


def test_index_of_an_earlier_form_on_a_server_is_refused_until_a_rebuild(
    settings: Settings, qdrant: tuple[QdrantDouble, str]
) -> None:
    on_server = settings.model_copy(update={"qdrant_url": qdrant[1]})
    old = Shape("hash-64", 64, token_dimension=0, form=KEY_FORM - 1)
    with closing(build(on_server, encoder=HashEncoder(token_dimension=0))) as before:
        fill(before)
        with before.store.begin() as tx:
            tx.rounds.set_live_index(old, now=STARTED)

    with pytest.raises(Misconfigured, match="Run `memsvc rebuild` to fill"):
        build(on_server, encoder=HashEncoder())
    with closing(build(on_server, encoder=HashEncoder(), to_rebuild=True)) as rebuilding:
        rebuilding.rebuilder.rebuild()

    with closing(build(on_server, encoder=HashEncoder())) as after:
        assert points_by_user(after) == {"ana": 2, "ben": 1}
        assert Memory(after.store, after.index).recalled("tortoise")[0] == "a tortoise"


@pytest.mark.parametrize(("before", "after"), [(64, 0), (0, 64)], ids=["switched off", "switched on"])
def test_token_vectors_come_and_go_with_a_rebuild(settings: Settings, before: int, after: int) -> None:
    with closing(build(settings, encoder=HashEncoder(token_dimension=before))) as service:
        fill(service)
    other = HashEncoder(token_dimension=after)

    with closing(build(settings, encoder=other, to_rebuild=True)) as rebuilding:
        rebuilding.rebuilder.rebuild()

    with closing(build(settings, encoder=other)) as service:
        legs = service.use_cases.recaller.search(OWNER, asked("tortoise"))
        assert Memory(service.store, service.index, other).recalled("tortoise")[0] == "a tortoise"
        assert ("late" in legs) == bool(after)


def test_deleted_session_is_not_read_again(memory: Memory) -> None:
    memory.record("s1", "a tortoise")
    memory.drain()
    memory.forgetter.forget_session(OWNER, "s1")

    memory.drain()

    with pytest.raises(SessionNotFound):
        status(memory, "s1")
    assert memory.index.count() == 0


def replace_index(store: Store) -> None:
    """Note another encoder as a rebuild does when it has swapped the index."""
    with store.begin() as tx:
        tx.rounds.set_live_index(Shape("other", 32), now=STARTED)


def become_form_1(settings: Settings) -> None:
    """Make folder and database as the version before token vectors left them."""
    shutil.rmtree(settings.index_dir)
    old = Shape("hash-64", 64, token_dimension=0, form=KEY_FORM - 1)
    EdgeIndex(settings.index_dir, old).close()
    current = settings.index_dir / "CURRENT"
    name = current.read_text().strip()
    # That version's names told model and dimension alone.
    of_old = f"memsvc-hash-64-64-{name.rsplit('-', 1)[1]}"
    (settings.index_dir / name).rename(settings.index_dir / of_old)
    current.write_text(f"{of_old}\n")
    with closing(open_store(settings)) as store:
        with store.begin() as tx:
            tx.rounds.set_live_index(old, now=STARTED)
        with store.engine.begin() as connection:
            connection.execute(update(tables.rounds).values(terms=None))


def asked(text: str) -> Query:
    return Query(text, asked_at=STARTED)


def _ids(words: str) -> bytes:
    """The ids of words as a round's row keeps them: sorted, four bytes each."""
    return np.unique(HashEncoder().encode([words])[0].token_ids).astype("<u4").tobytes()


def attempts_of(tasks: Sequence[Task]) -> list[int]:
    return [task.attempts for task in tasks]


def server_index(url: str, encoder: HashEncoder) -> ServerIndex:
    return ServerIndex(connect(url), shape_of(encoder))


def fill(service: Service) -> None:
    """Record and index two users' sessions."""
    memory = Memory(service.store, service.index, service.encoder)
    memory.record("s1", "a tortoise", "a ferry")
    memory.record("s1", "a piano", owner=BEN)
    memory.drain()


def points_by_user(service: Service) -> dict[str, int]:
    return {owner.user_id: service.index.count(owner) for owner in (OWNER, BEN)}
