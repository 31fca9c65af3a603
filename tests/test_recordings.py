"""Answers recorded from a language model, read as memsvc reads them (`tests/recordings/README.md`)."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from memsvc.clock import SystemClock
from memsvc.domain import Draft, Owner, Role, Session
from memsvc.facts import Action, Fact
from memsvc.inference.llm import LlmAccess
from memsvc.inference.llm_batch import BatchLlm
from memsvc.inference.llm_cache import ResponseCache
from memsvc.memory.duties import Patience
from memsvc.memory.extracting import Extractor
from memsvc.memory.metering import Meter
from memsvc.memory.reconciling import Reconciler
from memsvc.store import schema
from memsvc.store.database import Store
from memsvc.store.facts import FactFilter
from memsvc.store.ledger import Decision
from tests.doubles import HashEncoder
from tests.factories import recorder

RECORDINGS = Path(__file__).parent / "recordings"
MODEL = "recorded-model"


class Replayed:
    """Every recorded chat, extracted with the recorded answers; what has no answer would be written to `requests`."""

    def __init__(self, folder: Path) -> None:
        self.requests = folder / "requests.jsonl"
        self.store = Store(f"sqlite:///{folder / 'memsvc.sqlite3'}")
        schema.migrate(self.store.engine)
        self.sessions: dict[str, tuple[Owner, Session]] = {}
        llm = BatchLlm(LlmAccess("http://recorded", MODEL), cache_of(folder / "cache"), self.requests)
        clock, encoder = SystemClock(), HashEncoder()
        meter = Meter(self.store, llm, clock)
        # The hashing encoder compares statements alike on every machine, so that the same pairs are asked about.
        extractor = Extractor(
            self.store,
            Reconciler(self.store, encoder, meter, clock),
            meter,
            clock,
            Patience(),
            count_tokens=encoder.count_tokens,
        )
        for told in json.loads((RECORDINGS / "sessions.json").read_text("utf-8")):
            owner, session = self._recorded(told)
            extractor.extract(owner, session.row_id)
            self.sessions[session.session_id] = owner, session

    def _recorded(self, told: dict[str, Any]) -> tuple[Owner, Session]:
        owner = Owner("default", told["user_id"])
        started_at = datetime.fromisoformat(told["started_at"])
        drafts = [drafted(turn) for turn in told["turns"]]
        recorder(self.store).record(owner, told["session_id"], drafts, started_at=started_at)
        with self.store.read() as tx:
            session = tx.sessions.find(owner, told["session_id"])
        assert session is not None
        return owner, session

    def decisions(self) -> Iterator[Decision]:
        for owner, session in self.sessions.values():
            with self.store.read() as tx:
                yield from tx.ledger.decisions(owner, session.row_id)

    def statements(self, session_id: str) -> list[Fact]:
        owner, session = self.sessions[session_id]
        with self.store.read() as tx:
            return tx.facts.of_session(owner, session.row_id, merged=True)

    def held(self, user_id: str) -> set[str]:
        """What holds of a user in the end."""
        with self.store.read() as tx:
            wanted = FactFilter(SystemClock().now())
            return {fact.text for fact in tx.facts.page(Owner("default", user_id), wanted, limit=1000)}


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayed]:
    found = Replayed(tmp_path_factory.mktemp("recordings"))
    yield found
    found.store.close()


def cache_of(folder: Path) -> ResponseCache:
    cache = ResponseCache(folder)
    for line in (RECORDINGS / "answers.jsonl").read_text("utf-8").splitlines():
        answer = json.loads(line)
        message = {"role": "assistant", "content": answer["text"]}
        completion = {"choices": [{"finish_reason": "stop", "message": message}]}
        cache.keep_completion(answer["key"], name=answer["name"], model=MODEL, completion=completion)
    return cache


def drafted(turn: dict[str, Any]) -> Draft:
    said_at = turn.get("said_at")
    return Draft(
        Role(turn["role"]),
        turn["text"],
        turn.get("turn_id"),
        turn.get("speaker"),
        datetime.fromisoformat(said_at) if said_at else None,
    )


def test_every_request_has_its_recorded_answer_and_every_answer_is_read(replayed: Replayed) -> None:
    assert len(replayed.sessions) == 18
    assert not replayed.requests.exists() or replayed.requests.read_text() == ""
    assert {name for name, (owner, session) in replayed.sessions.items() if not replayed.statements(name)} == set()


def test_nearly_every_quote_stands_where_the_model_says(replayed: Replayed) -> None:
    made = list(replayed.decisions())
    rejected = [decision for decision in made if decision.action is Action.REJECT]

    assert len(made) > 450
    assert len(rejected) / len(made) <= 0.02


def test_quotes_are_the_turns_own_words(replayed: Replayed) -> None:
    for told in json.loads((RECORDINGS / "sessions.json").read_text("utf-8")):
        said = {turn.get("turn_id") or str(place): turn["text"] for place, turn in enumerate(told["turns"])}
        for fact in replayed.statements(told["session_id"]):
            (source, *_) = fact.sources
            assert said[source.turn_id][source.start : source.end] == source.quote


@pytest.mark.parametrize(
    "checked",
    json.loads((RECORDINGS / "dates.json").read_text("utf-8")),
    ids=lambda checked: f"{checked['session_id']} {checked['when']}",
)
def test_times_are_what_the_chat_says(replayed: Replayed, checked: dict[str, str | None]) -> None:
    assert checked["text"] is not None
    (fact,) = [fact for fact in replayed.statements(str(checked["session_id"])) if fact.text == checked["text"]]

    assert fact.event is not None
    ends = [end and end.isoformat() for end in (fact.event.start, fact.event.end)]
    assert (fact.when, ends, fact.reading) == (checked["when"], [checked["from"], checked["to"]], checked["reading"])


def test_what_has_changed_is_superseded_and_what_was_repeated_is_merged(replayed: Replayed) -> None:
    held = replayed.held("user-1") | replayed.held("user-2")

    assert "The user has just reached Premier Gold status with United Airlines." in held
    assert "The user is now eligible for Premier Silver status on United Airlines." not in held
    assert "The user has increased the morning coffee limit to two cups." in held
    assert "The user has a United MileagePlus account." in held
    assert "The user has a United Airlines MileagePlus account." not in held


def test_what_the_assistant_said_is_never_told_as_the_users(replayed: Replayed) -> None:
    trusts = {
        (fact.kind == "assistant", fact.trust) for name in replayed.sessions for fact in replayed.statements(name)
    }

    assert trusts == {(True, "assistant"), (False, "user")}
