"""The Reconciler: new statements meet what is known of the same user; nothing is deleted, and every decision is kept.

Statements and the bonds between them are written; what holds when follows from those (`ledger`), so that sessions may
come in any order, twice, or again after a crash.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID, uuid5

import numpy as np

from memsvc.clock import Clock
from memsvc.domain import Owner, Role, TaskKind, Turn
from memsvc.errors import BudgetUsedUp, LlmAnswerInvalid, LlmUnavailable
from memsvc.facts import PLAN, Action, Fact, Origin, Rejection, Statement, Trust
from memsvc.inference.encoders import Encoder
from memsvc.memory import comparing, ledger, settling
from memsvc.memory.comparing import INDEPENDENT, Compared, Pair, Verdict
from memsvc.memory.metering import Meter
from memsvc.memory.quoting import plain
from memsvc.memory.verdicts import Judged, mates_of, spread
from memsvc.store.database import Store, Transaction
from memsvc.store.facts import Known, NewFact
from memsvc.store.ledger import Decision

TASK = "reconcile"
_TRUST = {Role.USER: Trust.USER, Role.ASSISTANT: Trust.ASSISTANT, Role.SYSTEM: Trust.ASSISTANT, Role.TOOL: Trust.TOOL}


@dataclass(frozen=True, slots=True)
class Sourced:
    """A statement with the turn that it rests on, and the round and the session of that turn.

    `valid_at` is when it became valid, where the caller says so; `position` is that of the turn in its session.
    """

    statement: Statement
    turn: Turn
    round_row: UUID
    session_row: UUID
    session_id: str = ""
    valid_at: datetime | None = None
    position: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Statements that are reconciled together: drawn by whom, and those that were refused.

    `drawn` says how many turns of which rounds they were drawn from; in the same commit these count as extracted.
    """

    session_row: UUID
    sourced: tuple[Sourced, ...]
    rejections: tuple[Rejection, ...] = ()
    origin: Origin = Origin.LLM
    extractor: str = ""
    drawn: Mapping[UUID, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one statement: what was decided when it came, and what it is worth now.

    `became` is `added`, `merged`, `superseded` or `rejected`.
    """

    decision: Decision
    became: str
    superseded_by: UUID | None = None


class Reconciler:
    """Writes statements. Two workers on one user cannot contradict each other: who comes second judges again."""

    def __init__(self, store: Store, encoder: Encoder, meter: Meter, clock: Clock) -> None:
        self._store = store
        self._encoder = encoder
        self._meter = meter
        self._clock = clock

    def reconcile(self, owner: Owner, batch: Batch, *, between: Callable[[], None] = lambda: None) -> list[Decision]:
        """Write a batch; what became of each of its statements. Nothing is written twice.

        `between` is called before each question to the model. Raises LlmUnavailable and LlmAnswerInvalid before
        anything is written.
        """
        asked: dict[Pair, Verdict] = {}
        vectors = self._vectors(batch)
        while True:
            new = _new_facts(batch, vectors, self._clock.now())
            with self._store.read() as tx:
                version = tx.ledger.version(owner)
                known = self._known(tx, owner, batch, new)
                bonds = tx.ledger.bonds(owner, [one.fact.fact_id for one in known])
            judged = self._judged(owner, new, known, asked, batch.origin, between).carried(bonds)
            with self._store.begin() as tx:
                # A session that went, or that another worker was faster with, is no longer this one's.
                is_there = tx.workspaces.lock_user(owner) and bool(tx.sessions.alive([batch.session_row]))
                if not is_there or _is_done(tx, owner, batch):
                    return []
                if tx.ledger.advance(owner, since=version):
                    return self._write(tx, owner, batch, new, judged)

    def foreseen(self, owner: Owner, batch: Batch) -> list[Outcome]:
        """What would become of a batch; nothing is written."""
        new = _new_facts(batch, self._vectors(batch), self._clock.now())
        with self._store.read() as tx:
            known = self._known(tx, owner, batch, new)
            others = [known_.fact.fact_id for known_ in known]
            bonds = tx.ledger.bonds(owner, others)
        judged = self._judged(owner, new, known, {}, batch.origin).carried(bonds)
        entries = [settling.entry_of(one) for one in known]
        entries += [ledger.Entry(c.fact.fact_id, c.told_at, c.said_at, mark=c.mark) for c in _compared_new(new)]
        ties = [ledger.Tie(b.one, b.other, b.bond) for b in (*bonds, *judged.bonds(self._clock.now()))]
        standings = ledger.settled(entries, ties)
        return [outcome_of(made, standings) for made in self._decisions(batch, new, standings, judged)]

    def _vectors(self, batch: Batch) -> list[bytes | None]:
        """Sentence vectors of what may have to be compared; rules' statements are compared by their words alone."""
        if batch.origin is Origin.RULES:
            return [None] * len(batch.sourced)
        encoded = self._encoder.encode([sourced.statement.text for sourced in batch.sourced])
        return [one.dense.astype(np.float16).tobytes() for one in encoded]

    def _known(self, tx: Transaction, owner: Owner, batch: Batch, new: Sequence[NewFact]) -> list[Known]:
        """What is on record that new statements may bear on, and will not make way for them."""
        if not new:
            return []
        subjects = {one.fact.subject for one in new if one.fact.source != Origin.RULES}
        going = set(tx.facts.by_rules(owner, list(batch.drawn))) if batch.origin is Origin.LLM else set()
        known = tx.facts.known(owner, subjects=subjects, plains={one.plain for one in new})
        return [one for one in known if one.fact.fact_id not in going]

    def _judged(
        self,
        owner: Owner,
        new: Sequence[NewFact],
        known: Sequence[Known],
        asked: dict[Pair, Verdict],
        origin: Origin,
        between: Callable[[], None] = lambda: None,
    ) -> Judged:
        """Every new statement against its nearest; `asked` spares asking twice.

        Those of one batch were drawn together, by a model that had all of them in view: the rules alone compare them.
        """
        others = _compared(known)
        held = {other.fact.fact_id for other in others}
        mates = {known_.fact.fact_id: known_.merged_into for known_ in known if known_.merged_into}
        verdicts: dict[Pair, Verdict] = {}
        unclear: list[tuple[Compared, Compared]] = []
        for one in _compared_new(new):
            if one.fact.fact_id in held:
                continue
            for other in _candidates(one, others):
                pair = _in_time(one, other)
                verdict = comparing.judged_by_rules(*pair) or asked.get(_ids(pair))
                if verdict is None and other.fact.fact_id in held:
                    unclear.append(pair)
                elif verdict is not None:
                    verdicts[_ids(pair)] = verdict
            others.append(one)
        for pair, verdict in zip(unclear, self._asked(owner, unclear, origin, between), strict=True):
            verdicts[_ids(pair)] = asked[_ids(pair)] = verdict
        groups = mates_of(verdicts, mates)
        return Judged(spread(verdicts, groups), groups)

    def _asked(
        self,
        owner: Owner,
        unclear: Sequence[tuple[Compared, Compared]],
        origin: Origin,
        between: Callable[[], None],
    ) -> list[Verdict]:
        """What the language model says; without one, or without tokens left, nothing is claimed.

        What a caller tells is taken also while the model is down.
        """
        forgiven = (LlmUnavailable, LlmAnswerInvalid) if origin is Origin.API else ()
        verdicts: list[Verdict] = []
        if not self._meter.has_llm:
            return [INDEPENDENT] * len(unclear)
        for start in range(0, len(unclear), comparing.MOST_PAIRS):
            pairs = unclear[start : start + comparing.MOST_PAIRS]
            between()
            try:
                reply = self._meter.ask(
                    owner.workspace,
                    comparing.messages_of(pairs),
                    name=TASK,
                    schema=comparing.SCHEMA,
                    check=lambda told, pairs=pairs: _require_read(told, pairs),  # type: ignore[misc]
                )
            except (BudgetUsedUp, *forgiven):
                return [*verdicts, *([INDEPENDENT] * (len(unclear) - len(verdicts)))]
            verdicts += comparing.read(reply.content, pairs)
        return verdicts

    def _write(
        self, tx: Transaction, owner: Owner, batch: Batch, new: Sequence[NewFact], judged: Judged
    ) -> list[Decision]:
        now = self._clock.now()
        if batch.origin is Origin.API:
            # What was forgotten is not drawn again; but its owner may tell it again.
            tx.facts.bury(owner, [one.fact.fact_id for one in new])
        is_replacing = batch.origin is Origin.LLM and self._replace_rules(tx, owner, batch, new, now)
        taken = tx.facts.taken(owner, [one.fact.fact_id for one in new])
        fresh = [replace(one, fact=replace(one.fact, recorded_at=now)) for one in new if one.fact.fact_id not in taken]
        tx.facts.insert(owner, fresh)
        written = {one.fact.fact_id for one in fresh}
        alive = written | {
            known.fact.fact_id
            for known in tx.facts.statements(owner, {one for pair in judged.verdicts for one in pair})
        }
        undone = tx.ledger.undone(owner, alive)
        bonds = [
            bound
            for bound in judged.bonds(now)
            if {bound.one, bound.other} <= alive and not judged.is_undone(bound, undone)
        ]
        tx.ledger.bind(owner, bonds)
        settling.settle(tx, owner, written, now=now, fresh=frozenset(written))
        standings = settling.standings(tx, owner, written)
        made = self._decisions(batch, fresh, standings, judged)
        tx.ledger.decide(owner, batch.session_row, made)
        for round_row, turns in batch.drawn.items():
            tx.rounds.mark_drawn(owner, round_row, turns=turns, by=batch.origin)
        if fresh or is_replacing:
            tx.outbox.owe(TaskKind.INDEX, owner, batch.session_row, now=now)
        return made

    def _replace_rules(
        self, tx: Transaction, owner: Owner, batch: Batch, new: Sequence[NewFact], now: datetime
    ) -> bool:
        """What the rules drew from rounds that the model has read now makes way for its own; whether there was any."""
        going = tx.facts.by_rules(owner, list(batch.drawn))
        same = {one.fact.fact_id for one in new} & set(going)
        settling.forget(tx, owner, going, now=now)
        # What the model words as the rules did is the model's from now on.
        tx.facts.bury(owner, same)
        return bool(going)

    def _decisions(
        self,
        batch: Batch,
        new: Sequence[NewFact],
        standings: Mapping[UUID, ledger.Standing],
        judged: Judged,
    ) -> list[Decision]:
        now = self._clock.now()
        made = [_decision(one, standings, judged, now) for one in new]
        return made + [
            Decision(one.text, Action.REJECT, one.reason, Origin.RULES, now, turn_id=one.turn_id)
            for one in batch.rejections
        ]


def outcome_of(decision: Decision, standings: Mapping[UUID, ledger.Standing]) -> Outcome:
    """What became of a statement, by the standing of its fact."""
    standing = standings.get(decision.fact_id) if decision.fact_id is not None else None
    if decision.action is Action.REJECT or standing is None:
        return Outcome(decision, "rejected")
    if standing.merged_into is not None:
        return Outcome(decision, "merged", standing.merged_into)
    return Outcome(decision, "added" if standing.superseded_by is None else "superseded", standing.superseded_by)


def _is_done(tx: Transaction, owner: Owner, batch: Batch) -> bool:
    """Whether the rounds that a batch ends were extracted meanwhile: a model may word the same differently."""
    if batch.origin is Origin.API or not batch.drawn:
        return False
    return tx.rounds.are_drawn(owner, batch.drawn, by=batch.origin)


def _require_read(told: dict[str, object], pairs: Sequence[tuple[Compared, Compared]]) -> None:
    comparing.read(told, pairs)


def _new_facts(batch: Batch, vectors: Sequence[bytes | None], now: datetime) -> list[NewFact]:
    """The statements as facts, each once, with ids that follow from where and what they are."""
    made: dict[UUID, NewFact] = {}
    for sourced, vector in zip(batch.sourced, vectors, strict=True):
        statement, turn = sourced.statement, sourced.turn
        words = plain(statement.text)
        fact_id = fact_id_of(sourced)
        event = statement.event
        fact = Fact(
            fact_id=fact_id,
            round_row=sourced.round_row,
            text=statement.text,
            kind=statement.kind,
            subject=statement.subject,
            speaker=turn.speaker,
            event=event,
            precision=statement.precision,
            valid_at=sourced.valid_at or _told_at(statement, turn),
            invalid_at=None,
            recorded_at=now,
            expired_at=None,
            superseded_by=None,
            confidence=statement.confidence,
            source=batch.origin,
            trust=_TRUST[turn.role],
            when=statement.when,
            reading=statement.reading,
            slot=statement.slot,
            value=statement.value,
        )
        made.setdefault(
            fact_id,
            NewFact(
                fact=fact,
                session_row=sourced.session_row,
                turn_id=statement.turn_id,
                plain=words,
                quote=statement.quote,
                span=(statement.start, statement.end),
                said_at=turn.said_at,
                extractor=batch.extractor,
                vector=vector,
                position=sourced.position,
            ),
        )
    return list(made.values())


def fact_id_of(sourced: Sourced) -> UUID:
    """The id of a statement: it follows from its round, its turn and its words."""
    text = sourced.statement.text
    return uuid5(sourced.round_row, f"fact:{sourced.statement.turn_id}:{plain(text) or text}")


def _told_at(statement: Statement, turn: Turn) -> datetime:
    """When a statement became valid: with its event, if that had begun when it was said; a plan, when it was said."""
    start = statement.event.start if statement.event is not None else None
    if start is None or statement.kind == PLAN or start > turn.said_at:
        return turn.said_at
    return start


def _compared(known: Sequence[Known]) -> list[Compared]:
    return [Compared(one.fact, one.told_at, one.said_at, one.plain, one.vector, one.mark) for one in known]


def _compared_new(new: Sequence[NewFact]) -> list[Compared]:
    return [
        Compared(one.fact, one.fact.valid_at, one.said_at, one.plain, one.vector, (one.position, one.span[0]))
        for one in new
    ]


def _candidates(one: Compared, others: Sequence[Compared]) -> list[Compared]:
    """What says the same word for word, and what is most alike about the same subject."""
    equal = [other for other in others if other.plain == one.plain]
    subject = one.fact.subject.casefold()
    about = [other for other in others if other.fact.subject.casefold() == subject and other not in equal]
    return [*equal, *comparing.nearest(one, about)]


def _in_time(one: Compared, other: Compared) -> tuple[Compared, Compared]:
    return (one, other) if one.place <= other.place else (other, one)


def _ids(pair: tuple[Compared, Compared]) -> Pair:
    return pair[0].fact.fact_id, pair[1].fact.fact_id


def _decision(new: NewFact, standings: Mapping[UUID, ledger.Standing], judged: Judged, now: datetime) -> Decision:
    fact_id = new.fact.fact_id
    standing = standings[fact_id]
    ended = [other for other, theirs in standings.items() if theirs.superseded_by == fact_id]
    action, others = Action.ADD, tuple(ended)
    if standing.merged_into is not None:
        action, others = Action.MERGE, (standing.merged_into,)
    absorbed = [other for other, theirs in standings.items() if theirs.merged_into == fact_id]
    verdict = judged.between(fact_id, others or absorbed)
    if ended and standing.merged_into is None:
        action = Action.INVALIDATE if verdict is not None and verdict.is_end else Action.UPDATE
    if standing.superseded_by is not None and not others:
        verdict = judged.between(fact_id, [standing.superseded_by])
    return Decision(
        text=new.fact.text,
        action=action,
        reason=verdict.reason if verdict is not None else "nothing known bears on it",
        decided_by=verdict.decided_by if verdict is not None else Origin.RULES,
        decided_at=now,
        turn_id=new.turn_id,
        kind=new.fact.kind,
        fact_id=fact_id,
        others=others,
    )
