"""The Extractor: what sessions say becomes statements, drawn by the language model, or by rules where there is none."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from memsvc.clock import Clock
from memsvc.domain import NAMESPACE, Owner, Round, Task, TaskKind, Turn
from memsvc.errors import BudgetUsedUp, LlmAnswerCutOff, LlmAnswerInvalid, LlmPending, MemsvcError, SessionNotFound
from memsvc.facts import Origin, Rejection, Statement
from memsvc.intervals import Locale
from memsvc.memory import extraction
from memsvc.memory.dividing import CountTokens, joins
from memsvc.memory.duties import Duties, Patience
from memsvc.memory.extraction import Chunk, Drawn, Guidance, Undrawn
from memsvc.memory.metering import Meter
from memsvc.memory.reconciling import Batch, Outcome, Reconciler, Sourced
from memsvc.memory.stating import stated
from memsvc.store.database import Store, Transaction

log = logging.getLogger(__name__)

TASK = "extract"
RULES_VERSION = 1
# Where facts that a caller tells are recorded, each as a turn: they too are kept word for word, and can be cited.
TOLD_SESSION = "memsvc:facts"
_ANSWER_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What would come of a chat: how each of its statements would be decided, and who drew them."""

    batch: Batch
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Extracted:
    """How many sessions were extracted, wait for answers, or failed."""

    extracted: int
    waiting: int
    failed: int


class Extractor:
    """Draws statements from sessions. A session is never lost over it: what fails is tried again, and named."""

    def __init__(
        self,
        store: Store,
        reconciler: Reconciler,
        meter: Meter,
        clock: Clock,
        patience: Patience,
        *,
        count_tokens: CountTokens,
        chunk_tokens: int = 4000,
        owed: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._reconciler = reconciler
        self._meter = meter
        self._clock = clock
        self._duties = Duties(store, clock, patience, TaskKind.EXTRACT)
        self._count_tokens = count_tokens
        self._chunk_tokens = chunk_tokens
        self._owed = owed

    @property
    def origin(self) -> Origin:
        """Who draws, as long as there is a budget."""
        return Origin.LLM if self._meter.has_llm else Origin.RULES

    def drain(self, *, stopping: Callable[[], bool] = lambda: False) -> int:
        """Do one task that is due; how many were claimed."""
        claimed = 0
        for retried in (True, False):
            for task in self._duties.claim(limit=1, retried=retried):
                claimed += 1
                self._do(task, stopping)
        return claimed

    def owe(self, workspace: str | None = None) -> int:
        """Owe the extraction of every session of which something was not extracted, or by rules only; how many."""
        owed = owe(self._store, self._clock, workspace, by=self.origin)
        self._owed()
        return owed

    def extract_all(
        self, workspace: str | None = None, *, progress: Callable[[int, int], None] = lambda _done, _total: None
    ) -> Extracted:
        """Extract here and now what `owe` would owe, oldest sessions first; what is not answered yet waits.

        Every question that can be asked is asked, so that a batch is as large as it can be.
        """
        with self._store.read() as tx:
            sessions = tx.rounds.sessions_to_draw(workspace, by=self.origin)
        counts = Counter[str]()
        for number, (owner, session_row) in enumerate(sessions, 1):
            try:
                self._ask_ahead(owner, session_row)
                self.extract(owner, session_row)
            except LlmPending:
                counts["waiting"] += 1
            except MemsvcError as exc:
                log.warning("a session cannot be extracted", extra={"session": str(session_row), "error": str(exc)})
                counts["failed"] += 1
            else:
                counts["extracted"] += 1
            progress(number, len(sessions))
        return Extracted(counts["extracted"], counts["waiting"], counts["failed"])

    def owe_session(self, owner: Owner, session_id: str) -> None:
        """Owe the extraction of one session; raises SessionNotFound."""
        with self._store.begin() as tx:
            session = tx.sessions.find(owner, session_id)
            if session is None:
                raise SessionNotFound(owner.user_id, session_id)
            tx.outbox.owe(TaskKind.EXTRACT, owner, session.row_id, now=self._clock.now())
        self._owed()

    def extract(self, owner: Owner, session_row: UUID, *, between: Callable[[], None] = lambda: None) -> None:
        """Draw what a session says and was not drawn before; `between` is called before each question.

        Raises LlmUnavailable and LlmAnswerInvalid; what was drawn until then stays.
        """
        try:
            if self._meter.has_llm:
                self._extract(owner, session_row, between)
                return
        except BudgetUsedUp:
            log.warning("budget used up; facts are drawn by rules", extra={"workspace": owner.workspace})
        with self._store.read() as tx:
            undrawn = _undrawn(tx, owner, session_row, by=Origin.RULES)
        if undrawn:
            self._write(owner, _by_rules(session_row, undrawn))

    def foresee(self, owner: Owner, turns: Sequence[Turn]) -> Foreseen:
        """What would come of a chat that is not recorded; nothing is written, though the model may be asked."""
        with self._store.read() as tx:
            locale = tx.times.locale(owner)
            guidance = _guidance(tx, owner)
        undrawn = [Undrawn(round_) for round_ in _rounds(turns, locale)]
        session_row = undrawn[0].round.session_row
        batch = _by_rules(session_row, undrawn)
        if self._meter.has_llm:
            try:
                drawn = [piece for chunk in self._chunks(undrawn) for piece in self._drawn(owner, chunk, guidance)]
                batch = _batch(session_row, undrawn, drawn, {})
            except BudgetUsedUp:
                log.warning("budget used up; facts are drawn by rules", extra={"workspace": owner.workspace})
        return Foreseen(batch, tuple(self._reconciler.foreseen(owner, batch)))

    def _do(self, task: Task, stopping: Callable[[], bool]) -> None:
        if self._duties.is_hopeless(task):
            self._duties.give_up(task)
            return
        if stopping():
            self._duties.give_back([task])
            return
        try:
            self.extract(task.owner, task.subject, between=lambda: self._duties.renew([task]))
        except Exception as exc:  # noqa: BLE001 (a task may fail in any way; its row keeps what happened)
            self._duties.not_done(task, exc)
        else:
            self._duties.complete([task])

    def _extract(self, owner: Owner, session_row: UUID, between: Callable[[], None]) -> None:
        with self._store.read() as tx:
            undrawn = _undrawn(tx, owner, session_row, by=Origin.LLM)
            guidance = _guidance(tx, owner)
        chunks = self._chunks(undrawn)
        # A round counts as extracted with the last chunk that holds a part of it; an empty one, with the first.
        last = {part.round_row: number for number, chunk in enumerate(chunks) for part in chunk.parts}
        revisions = {one.round.row_id: one.round.revision for one in undrawn}
        failure: LlmAnswerInvalid | None = None
        for number, chunk in enumerate(chunks):
            try:
                drawn = list(self._drawn(owner, chunk, guidance, between))
            except LlmAnswerInvalid as exc:
                # One chunk that the model cannot read keeps none of the others from being extracted.
                failure = exc
                for part in chunk.parts:
                    revisions.pop(part.round_row, None)
                continue
            whole = {row: turns for row, turns in revisions.items() if last.get(row, 0) == number}
            self._write(owner, _batch(session_row, undrawn, drawn, whole), between)
        if undrawn and not chunks:
            self._write(owner, _batch(session_row, undrawn, [], revisions), between)
        if failure is not None:
            raise failure

    def _ask_ahead(self, owner: Owner, session_row: UUID) -> None:
        """Ask about every chunk of a session before any is written; raises LlmPending when one has no answer yet."""
        with self._store.read() as tx:
            undrawn = _undrawn(tx, owner, session_row, by=self.origin)
            guidance = _guidance(tx, owner)
        pending: LlmPending | None = None
        for chunk in self._chunks(undrawn) if self._meter.has_llm else ():
            try:
                list(self._drawn(owner, chunk, guidance))
            except LlmPending as exc:
                pending = exc
        if pending is not None:
            raise pending

    def _chunks(self, undrawn: Sequence[Undrawn]) -> list[Chunk]:
        return extraction.chunks_of(undrawn, count_tokens=self._count_tokens, max_tokens=self._chunk_tokens)

    def _drawn(
        self, owner: Owner, chunk: Chunk, guidance: Guidance, between: Callable[[], None] = lambda: None
    ) -> Iterator[Drawn]:
        """What the model draws from a chunk; one whose answer is cut off is asked about in halves."""
        between()
        try:
            reply = self._meter.ask(
                owner.workspace,
                extraction.messages_of(chunk, guidance),
                name=TASK,
                schema=extraction.schema_of(guidance),
                max_tokens=_ANSWER_TOKENS,
            )
        except LlmAnswerCutOff:
            halves = chunk.halves()
            if halves is None:
                raise
            for half in halves:
                yield from self._drawn(owner, half, guidance, between)
            return
        yield extraction.read(reply.content, chunk)

    def _write(self, owner: Owner, batch: Batch, between: Callable[[], None] = lambda: None) -> None:
        self._reconciler.reconcile(owner, batch, between=between)
        self._owed()


def owe(store: Store, clock: Clock, workspace: str | None, *, by: Origin) -> int:
    """Owe the extraction, by the model or by the rules, of what was not extracted so; how many sessions."""
    with store.begin() as tx:
        sessions = tx.rounds.sessions_to_draw(workspace, by=by)
        tx.outbox.owe_all(TaskKind.EXTRACT, sessions, now=clock.now())
    return len(sessions)


def _undrawn(tx: Transaction, owner: Owner, session_row: UUID, *, by: str) -> list[Undrawn]:
    rounds = tx.rounds.undrawn(owner, session_row, by=by)
    # What the caller told as facts is there as such already.
    return [Undrawn(round_, done) for round_, done in rounds if round_.session_id != TOLD_SESSION]


def _guidance(tx: Transaction, owner: Owner) -> Guidance:
    wanted = tx.workspaces.extraction(owner.workspace)
    return Guidance(wanted.guidelines, wanted.kinds)


def _by_rules(session_row: UUID, undrawn: Sequence[Undrawn]) -> Batch:
    sourced = [
        _sourced(statement, turn, one.round.first_position + place, one.round)
        for one in undrawn
        for place, turn in enumerate(one.round.turns)
        if place >= one.done
        for statement in stated(turn, one.round.locale)
    ]
    drawn = {one.round.row_id: one.round.revision for one in undrawn}
    return Batch(session_row, tuple(sourced), (), Origin.RULES, f"rules-{RULES_VERSION}", drawn)


def _batch(session_row: UUID, undrawn: Sequence[Undrawn], drawn: Sequence[Drawn], whole: dict[UUID, int]) -> Batch:
    rounds = {one.round.row_id: one.round for one in undrawn}
    turns = {
        (row, turn.turn_id): (turn, round_.first_position + place)
        for row, round_ in rounds.items()
        for place, turn in enumerate(round_.turns)
    }
    sourced = [
        _sourced(statement, *turns[row, statement.turn_id], rounds[row])
        for one in drawn
        for row, statement in one.statements
    ]
    rejections: list[Rejection] = [rejection for one in drawn for rejection in one.rejections]
    return Batch(session_row, tuple(sourced), tuple(rejections), Origin.LLM, f"llm-{extraction.VERSION}", whole)


def _sourced(statement: Statement, turn: Turn, position: int, round_: Round) -> Sourced:
    return Sourced(statement, turn, round_.row_id, round_.session_row, round_.session_id, position=position)


def _rounds(turns: Sequence[Turn], locale: Locale) -> list[Round]:
    """The rounds of a chat that is not recorded."""
    session_row = uuid5(NAMESPACE, "a chat that is not recorded")
    divided: list[list[Turn]] = []
    for turn in turns:
        if divided and joins(divided[-1], turn):
            divided[-1].append(turn)
        else:
            divided.append([turn])
    rounds, position = [], 0
    for group in divided:
        row_id = uuid5(session_row, f"round:{position}")
        rounds.append(Round(row_id, session_row, "", turns[0].said_at, position, tuple(group), locale=locale))
        position += len(group)
    return rounds
