"""Lives told in sessions: what is said, what a scripted language model makes of it, and what holds when.

The model's answers follow from the words that it is asked about alone, whatever their order; and a desk has the use
cases that keep statements, over one store.
"""

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from starlette.responses import Response

from memsvc.clock import Clock
from memsvc.domain import Draft, Owner, Role
from memsvc.facts import Origin, Rejection, Statement
from memsvc.inference.encoders import Encoded, Encoder
from memsvc.inference.llm import ChatLlm, Llm, LlmAccess
from memsvc.memory.curating import Curator
from memsvc.memory.duties import Patience
from memsvc.memory.extracting import Extractor
from memsvc.memory.metering import Meter
from memsvc.memory.reconciling import Batch, Reconciler, Sourced
from memsvc.store.database import Store
from memsvc.store.facts import FactFilter
from memsvc.store.ledger import Decision
from tests.doubles import FixedClock
from tests.factories import OWNER, recorder
from tests.llm import Body, ScriptedLlm, said, scripted_llm

LEASE_S = 60.0
_LINE = re.compile(r"^\[(\d+)[^\]]*\] [^:]+: (.*)$", re.MULTILINE)
_TOLD = re.compile(r"^S(\d+) \[[^\]]*\] (.*)$", re.MULTILINE)
_PAIR = re.compile(r"^(\d+): S(\d+) → S(\d+)$", re.MULTILINE)


def moment(day: str, hour: int = 10) -> datetime:
    """An hour of a day, in UTC."""
    return datetime.fromisoformat(day).replace(hour=hour, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Says:
    """A turn, and the statement that is drawn from it."""

    turn: str
    text: str
    topic: str
    kind: str = "fact"
    slot: str | None = None
    value: str | None = None
    when: str | None = None
    role: Role = Role.USER


@dataclass(frozen=True, slots=True)
class Chat:
    """A session of a day."""

    day: str
    says: tuple[Says, ...]

    @property
    def said_at(self) -> datetime:
        return moment(self.day)


class Stands(NamedTuple):
    """A statement, from which day until which it holds, what ended it, and what it only says again."""

    text: str
    start: str
    end: str | None = None
    by: str | None = None
    into: str | None = None


class Row(NamedTuple):
    """What holds from when to when, and on which day that, and its end, were told."""

    text: str
    start: datetime
    told: str
    end: datetime | None = None
    end_told: str | None = None

    def holds(self, valid: datetime, recorded: datetime | None = None) -> bool:
        """Whether it holds at an instant, as far as that was on record at another; an hour after it was said it was."""
        if recorded is not None and moment(self.told, 11) > recorded:
            return False
        is_over = self.end is not None and (recorded is None or moment(self.end_told or self.told, 11) <= recorded)
        return self.start <= valid and not (is_over and self.end is not None and self.end <= valid)


def _city(turn: str, text: str, value: str, when: str | None = None) -> Says:
    return Says(turn, text, "home", "event" if when else "fact", "home city", value, when)


def _job(turn: str, text: str, value: str, when: str | None = None) -> Says:
    return Says(turn, text, "work", "event" if when else "fact", "employer", value, when)


HISTORY = (
    Chat("2020-01-10", (
        _city("I live in Lisbon.", "The user lives in Lisbon.", "Lisbon"),
        _job("I work at the Santa Maria hospital.", "The user works at the Santa Maria hospital.", "Santa Maria"),
    )),
    Chat("2020-03-05", (Says("I've taken up tennis.", "The user plays tennis.", "tennis", "preference"),)),
    Chat("2020-06-20", (
        _city("On 15 June 2020 I moved to Porto.", "The user moved to Porto.", "Porto", "On 15 June 2020"),
    )),
    Chat("2020-09-05", (
        _job("I started at Bosch on 1 September 2020.", "The user works at Bosch.", "Bosch", "on 1 September 2020"),
    )),
    Chat("2021-01-15", (Says("I gave up tennis.", "The user gave up tennis.", "tennis"),)),
    Chat("2021-02-10", (Says("I am a vegetarian.", "The user is a vegetarian.", "diet"),)),
    Chat("2021-03-10", (Says("Of course I eat meat.", "The user eats meat.", "diet"),)),
    Chat("2021-05-20", (
        _city("I moved to Berlin on 1 May 2021.", "The user moved to Berlin.", "Berlin", "on 1 May 2021"),
    )),
    Chat("2021-06-05", (Says("No meat for me, ever.", "The user is a vegetarian.", "diet"),)),
    Chat("2021-06-20", (
        Says("We married on 5 June 2021.", "The user married on 5 June 2021.", "wedding", "event",
             when="on 5 June 2021"),
    )),
    Chat("2021-08-01", (
        Says("I was wrong: it was on 6 June 2021 that we married.", "The user married on 6 June 2021.", "wedding",
             "event", when="on 6 June 2021"),
        _city("Here in Berlin it rains.", "The user lives in Berlin.", "Berlin"),
    )),
    Chat("2022-01-10", (Says("I go climbing now.", "The user climbs.", "climbing", "preference"),)),
    Chat("2022-05-01", (
        _city("On 2 April 2022 I moved back to Lisbon.", "The user moved back to Lisbon.", "Lisbon",
              "On 2 April 2022"),
        Says("As you live in Madrid, try the Prado.", "The assistant said that the user lives in Madrid.", "home",
             role=Role.ASSISTANT),
    )),
    Chat("2022-06-01", (
        _city("I had moved to Faro on 3 September 2008.", "The user moved to Faro.", "Faro", "on 3 September 2008"),
    )),
    Chat("2022-09-01", (
        Says("No more climbing for me.", "The user gave up climbing.", "climbing"),
        Says("I paint instead.", "The user paints.", "painting", "preference"),
    )),
)  # fmt: skip

# How the model judges two statements; of all others, that they are independent.
RELATIONS = {
    frozenset({"The user plays tennis.", "The user gave up tennis."}): "end",
    frozenset({"The user climbs.", "The user gave up climbing."}): "end",
    frozenset({"The user is a vegetarian.", "The user eats meat."}): "update",
    frozenset({"The user married on 5 June 2021.", "The user married on 6 June 2021."}): "correct",
    **{
        frozenset({"The user moved to Faro.", later}): "update"
        for later in (
            "The user lives in Lisbon.", "The user moved to Porto.", "The user moved to Berlin.",
            "The user lives in Berlin.", "The user moved back to Lisbon.",
        )
    },
}  # fmt: skip

# What holds when, by hand.
TABLE = (
    Row("The user moved to Faro.", moment("2008-09-03", 0), "2022-06-01", moment("2020-01-10")),
    Row("The user lives in Lisbon.", moment("2020-01-10"), "2020-01-10", moment("2020-06-15", 0), "2020-06-20"),
    Row("The user moved to Porto.", moment("2020-06-15", 0), "2020-06-20", moment("2021-05-01", 0), "2021-05-20"),
    Row("The user moved to Berlin.", moment("2021-05-01", 0), "2021-05-20", moment("2022-04-02", 0), "2022-05-01"),
    Row("The user moved back to Lisbon.", moment("2022-04-02", 0), "2022-05-01"),
    Row("The assistant said that the user lives in Madrid.", moment("2022-05-01"), "2022-05-01"),
    Row("The user works at the Santa Maria hospital.", moment("2020-01-10"), "2020-01-10", moment("2020-09-01", 0),
        "2020-09-05"),
    Row("The user works at Bosch.", moment("2020-09-01", 0), "2020-09-05"),
    Row("The user plays tennis.", moment("2020-03-05"), "2020-03-05", moment("2021-01-15"), "2021-01-15"),
    Row("The user gave up tennis.", moment("2021-01-15"), "2021-01-15"),
    Row("The user is a vegetarian.", moment("2021-02-10"), "2021-02-10", moment("2021-03-10"), "2021-03-10"),
    Row("The user eats meat.", moment("2021-03-10"), "2021-03-10", moment("2021-06-05"), "2021-06-05"),
    Row("The user is a vegetarian.", moment("2021-06-05"), "2021-06-05"),
    Row("The user married on 5 June 2021.", moment("2021-06-05", 0), "2021-06-20", moment("2021-06-05", 0),
        "2021-08-01"),
    Row("The user married on 6 June 2021.", moment("2021-06-06", 0), "2021-08-01"),
    Row("The user climbs.", moment("2022-01-10"), "2022-01-10", moment("2022-09-01"), "2022-09-01"),
    Row("The user gave up climbing.", moment("2022-09-01"), "2022-09-01"),
    Row("The user paints.", moment("2022-09-01"), "2022-09-01"),
)  # fmt: skip

NOW = moment("2025-01-01")


def instants(rows: Iterable[Row] = TABLE) -> list[datetime]:
    """Instants at and just before every change of the world, and one after all of them."""
    changes = {change for row in rows for change in (row.start, row.end) if change is not None}
    return sorted({*changes, *(datetime.fromtimestamp(at.timestamp() - 1, UTC) for at in changes), NOW})


def expected(valid: datetime, recorded: datetime | None = None) -> list[str]:
    """What the table says."""
    return sorted(row.text for row in TABLE if row.holds(valid, recorded))


class TopicEncoder(Encoder):
    """Makes exactly the statements of one topic alike; what belongs to none is like nothing."""

    name = "topics"
    variant = ""
    dimension = 1024
    token_dimension = 0
    max_tokens = 64

    def __init__(self, topics: Mapping[str, str] | None = None) -> None:
        self._topics = dict(topics if topics is not None else topics_of(HISTORY))

    def encode(self, texts: Sequence[str], *, contexts: Sequence[str] = ()) -> list[Encoded]:
        return [self._encoded(text) for text in texts]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def _encoded(self, text: str) -> Encoded:
        dense = np.zeros(self.dimension, np.float32)
        dense[zlib.crc32(self._topics.get(text, text).encode()) % self.dimension] = 1.0
        return Encoded(dense, np.empty((0, 0), np.float32), np.empty(0, np.uint32))


def topics_of(history: Iterable[Chat]) -> dict[str, str]:
    """The topic of each statement."""
    return {says.text: says.topic for chat in history for says in chat.says}


@dataclass(frozen=True, slots=True)
class Script:
    """What the model answers: it draws what a history draws, and judges as the relations say."""

    relations: Mapping[frozenset[str], str]
    history: Sequence[Chat] = ()

    def __call__(self, body: Body) -> Response:
        text = body["messages"][1]["content"]
        if "<statements>" in text:
            return said({"pairs": list(self._judged(text))})
        return said({"statements": list(self._drawn(text))})

    def _drawn(self, text: str) -> Iterator[dict[str, Any]]:
        known = {says.turn: says for chat in self.history for says in chat.says}
        for number, turn in _LINE.findall(text):
            if (says := known.get(turn)) is not None:
                yield {
                    "text": says.text, "kind": says.kind, "subject": "user", "slot": says.slot, "value": says.value,
                    "turn": int(number), "quote": says.turn, "when": says.when, "from": None, "to": None,
                    "confidence": 0.9,
                }  # fmt: skip

    def _judged(self, text: str) -> Iterator[dict[str, Any]]:
        told = dict(_TOLD.findall(text))
        for number, one, other in _PAIR.findall(text):
            relation = self.relations.get(frozenset({told[one], told[other]}), "independent")
            yield {"pair": int(number), "relation": relation, "reason": f"it is {relation}"}


@contextmanager
def judging(script: Script) -> Iterator[tuple[ChatLlm, ScriptedLlm]]:
    """A client of a model that answers so, and the model itself."""
    with scripted_llm() as scripted:
        scripted.answers = script
        with closing(ChatLlm(LlmAccess(scripted.url, "a-model"))) as chat:
            yield chat, scripted


class Desk:
    """The use cases that keep statements, over one store, with a clock that stands until it is moved."""

    def __init__(
        self, store: Store, llm: Llm | None = None, *, encoder: Encoder | None = None, clock: Clock | None = None
    ) -> None:
        self.store = store
        self.clock = FixedClock(NOW)
        self.encoder = encoder or TopicEncoder()
        told = clock or self.clock
        self.recorder = recorder(store, told)
        self.meter = Meter(store, llm, told)
        self.reconciler = Reconciler(store, self.encoder, self.meter, told)
        self.curator = Curator(store, self.recorder, self.reconciler, told, owed=lambda: None)
        self.extractor = Extractor(
            store,
            self.reconciler,
            self.meter,
            told,
            Patience(LEASE_S, max_attempts=1000),
            count_tokens=self.encoder.count_tokens,
        )

    def move_to(self, instant: datetime) -> None:
        """Set the clock."""
        self.clock.pass_time(seconds=(instant - self.clock.now()).total_seconds())

    def record(self, chat: Chat, *, owner: Owner = OWNER) -> None:
        """Record a session as it is told; the extraction of it is owed."""
        drafts = [Draft(says.role, says.turn) for says in chat.says]
        self.recorder.record(owner, chat.day, drafts, started_at=chat.said_at)

    def drain(self) -> None:
        """Do all the extraction that is due."""
        while self.extractor.drain():
            pass

    def said(
        self,
        text: str,
        day: str = "2024-03-01",
        *,
        session: str | None = None,
        role: str = "user",
        owner: Owner = OWNER,
        quote: str | None = None,
        **told: Any,
    ) -> Sourced:
        """A statement, drawn from the only turn of a session that is recorded for it."""
        name = session or f"{day}: {text}"
        words = quote or text
        self.recorder.record(owner, name, [Draft(Role(role), words)], started_at=moment(day))
        with self.store.read() as tx:
            found = tx.sessions.find(owner, name)
            assert found is not None
            place = tx.sessions.turn(owner, found.row_id, "0")
            assert place is not None
        turn, round_row = place
        known: dict[str, Any] = {"kind": "fact", "subject": "user"}
        statement = Statement(turn.turn_id, text, quote=words, start=0, end=len(words), **(known | told))
        return Sourced(statement, turn, round_row, found.row_id, name)

    def reconcile(
        self,
        *sourced: Sourced,
        owner: Owner = OWNER,
        origin: Origin = Origin.LLM,
        rejections: tuple[Rejection, ...] = (),
    ) -> list[Decision]:
        """Reconcile statements of one session."""
        return self.reconciler.reconcile(owner, batch_of(*sourced, origin=origin, rejections=rejections))

    def add(self, text: str, day: str = "2024-03-01", **told: Any) -> UUID:
        """Say something, and reconcile what is drawn from it; its fact's id."""
        owner = told.get("owner", OWNER)
        origin = told.pop("origin", Origin.LLM)
        (decision,) = self.reconcile(self.said(text, day, **told), owner=owner, origin=origin)
        assert decision.fact_id is not None
        return decision.fact_id

    def held(self, valid: datetime = NOW, recorded: datetime | None = None, *, owner: Owner = OWNER) -> list[str]:
        """The texts of what holds at an instant, as far as it was on record at another."""
        with self.store.read() as tx:
            return sorted(fact.text for fact in tx.facts.page(owner, FactFilter(valid, recorded), limit=1000))

    def standings(self, *, owner: Owner = OWNER) -> list[Stands]:
        """Every statement with what it is worth, by when it was said."""
        with self.store.read() as tx:
            rows = [session.row_id for session in tx.sessions.all_rows(owner)]
            found = [fact for row in rows for fact in tx.facts.of_session(owner, row, merged=True)]
            roots = tx.facts.roots(owner, [fact.fact_id for fact in found])
        texts: dict[UUID | None, str] = {fact.fact_id: fact.text for fact in found}
        found.sort(key=lambda fact: (fact.sources[0].said_at, fact.text))
        return [
            Stands(
                fact.text,
                f"{fact.valid_at:%Y-%m-%d}",
                f"{fact.invalid_at:%Y-%m-%d}" if fact.invalid_at else None,
                texts.get(fact.superseded_by),
                texts.get(roots.get(fact.fact_id)),
            )
            for fact in found
        ]


def batch_of(*sourced: Sourced, origin: Origin = Origin.LLM, rejections: tuple[Rejection, ...] = ()) -> Batch:
    """Statements of one session as they are reconciled together; their rounds count as extracted."""
    drawn = {one.round_row: 1 for one in sourced}
    return Batch(sourced[0].session_row, sourced, rejections, origin, "test", drawn)
