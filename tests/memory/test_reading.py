"""The Reader: what is on disk, for its owner alone."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from uuid import uuid4, uuid5

import pytest

from memsvc.domain import Backlog, Owner, Session, Status
from memsvc.errors import SessionNotFound, TaskNotFailed, TaskNotFound
from memsvc.index.edge import EdgeIndex
from memsvc.memory.indexing import shape_of
from memsvc.memory.reading import Reader
from memsvc.store.database import Store
from tests.doubles import HashEncoder
from tests.factories import OWNER, STARTED, draft, turn
from tests.memory import Memory

BEN = Owner("default", "ben")
THEIRS = Owner("theirs", "ana")


@pytest.fixture
def memory(store: Store, tmp_path: Path) -> Iterator[Memory]:
    with closing(EdgeIndex(tmp_path / "index", shape_of(HashEncoder()))) as index:
        yield Memory(store, index)


def test_session_is_read_whole(memory: Memory) -> None:
    memory.recorder.record(
        OWNER, "s1", [draft("hello"), draft("hi", "assistant")], started_at=STARTED, metadata={"channel": "web"}
    )

    found = memory.reader.session(OWNER, "s1")

    assert found.session == Session(
        found.session.row_id, "s1", STARTED, memory.clock.now(), 2, 1, metadata={"channel": "web"}
    )
    assert found.turns == (turn("hello"), turn("hi", "assistant", turn_id="1"))
    assert found.status == Status(indexed=False, is_drawing=True)
    assert found.facts == ()


def test_session_is_read_with_the_facts_that_were_drawn_from_it(memory: Memory) -> None:
    memory.record("s1", "I live in Lisbon.", "hello", "I have a grey kitten.")
    memory.record("s2", "I play the violin.")

    memory.drain()

    found = memory.reader.session(OWNER, "s1").facts
    assert [fact.text for fact in found] == ["I live in Lisbon.", "I have a grey kitten."]


@pytest.mark.parametrize("stranger", [BEN, THEIRS])
def test_strangers_session_is_not_found(memory: Memory, stranger: Owner) -> None:
    memory.record("s1", "hello")

    with pytest.raises(SessionNotFound, match="has no session 's1'"):
        memory.reader.session(stranger, "s1")
    with pytest.raises(SessionNotFound, match="has no session 's1'"):
        memory.reader.status(stranger, "s1")

    assert memory.reader.sessions(stranger, before=None, limit=9) == []


def test_status_follows_the_session(memory: Memory) -> None:
    memory.record("s1", "hello")
    before = memory.reader.status(OWNER, "s1")

    memory.drain()

    after = memory.reader.status(OWNER, "s1")
    assert (before, after) == (Status(indexed=False, is_drawing=True), Status(indexed=True))


def test_status_is_told_by_whether_there_is_a_language_model(memory: Memory) -> None:
    memory.record("s1", "hello")
    reader = Reader(memory.store, memory.clock, has_llm=True)
    before = reader.status(OWNER, "s1")

    memory.drain()

    after = reader.status(OWNER, "s1")
    reason = "drawn by rules: there was no language model, or the budget of the day was used up"
    assert before == Status(indexed=False, extracted="pending", is_drawing=True)
    assert after == Status(indexed=True, extracted="done", degraded=reason)
    assert after == reader.session(OWNER, "s1").status == reader.sessions(OWNER, before=None, limit=1)[0][1]
    assert memory.reader.status(OWNER, "s1") == Status(indexed=True, extracted="off")


def test_sessions_are_listed_newest_first(memory: Memory) -> None:
    for number in range(3):
        memory.recorder.record(OWNER, f"s{number}", [draft("hello")], started_at=STARTED + timedelta(days=number))

    first = memory.reader.sessions(OWNER, before=None, limit=2)
    last = first[-1][0]
    second = memory.reader.sessions(OWNER, before=(last.started_at, last.session_id), limit=2)

    listed = [[(session.session_id, status) for session, status in page] for page in (first, second)]
    waiting = Status(indexed=False, is_drawing=True)
    assert listed == [[("s2", waiting), ("s1", waiting)], [("s0", waiting)]]


def test_users_are_listed_with_the_time_they_were_first_seen(memory: Memory) -> None:
    seen = memory.clock.now()
    for owner in (BEN, OWNER, THEIRS):
        memory.record("s1", "hello", owner=owner)
    memory.clock.pass_time(hours=1)
    memory.record("s2", "hello")

    assert memory.reader.users("default", after=None, limit=9) == [("ana", seen), ("ben", seen)]
    assert memory.reader.users("default", after="ana", limit=9) == [("ben", seen)]
    assert memory.reader.users("nobody's", after=None, limit=9) == []


def test_task_that_nobody_has_is_not_found(memory: Memory) -> None:
    task_id = uuid4()

    with pytest.raises(TaskNotFound, match=str(task_id)):
        memory.reader.retry("default", task_id)


@pytest.mark.parametrize("workspace", ["default", "theirs"])
def test_only_failed_tasks_of_the_workspace_are_retried(memory: Memory, workspace: str) -> None:
    memory.record("s1", "hello")
    task_id = uuid5(memory.reader.session(OWNER, "s1").session.row_id, "index")

    with pytest.raises(TaskNotFailed if workspace == "default" else TaskNotFound):
        memory.reader.retry(workspace, task_id)


def test_backlog_tells_how_long_the_oldest_has_waited(memory: Memory) -> None:
    memory.record("s1", "hello")
    memory.clock.pass_time(seconds=90)
    memory.record("s2", "hello")

    # Of each session, that it is indexed and that it is extracted.
    assert memory.reader.backlog() == Backlog(due=4, failed=0, oldest_s=90.0)
