"""One haystack under every config: recorded once for each way of indexing, then each question asked."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from evals import baselines
from evals.cases import Case, Haystack, HaystackTurn, Place
from evals.configs import Config
from evals.contexts import approximate_tokens, holds
from evals.errors import EvaluationFailed
from evals.histories import Historian, Recorded
from evals.kept import AnswerPending
from evals.wire import Memory, Recalled

TURNS, SESSIONS, ROUNDS = 50, 10, 100
BUDGETS = (1000, 2000, 4000, 8000)
# The context that a reader is given, and whose length is reported.
READING_BUDGET = 2000
WHOLE = "all"

# A line of raw results: of a case, or of a haystack. One with `pending` is no result: it tells which cases wait for
# which requests, and in `recalled` what one was recalled that now waits for a reader: its line, with `reading`, the
# context that it is to be read from.
Line = dict[str, Any]
Emit = Callable[[str, Line], None]


class Answering(Protocol):
    """Reads an answer out of a context and has it judged; its result is part of a case's line."""

    def answer(self, case: Case, context: str) -> Line:
        """What was answered and how it was judged, or why neither could be had; raises AnswerPending."""
        ...


class Asker:
    """Asks haystacks' questions; `emit` gets a line for each case and haystack, `advance` the turns indexed."""

    def __init__(
        self,
        historian: Historian,
        groups_of: Callable[[Case], tuple[str, ...]],
        *,
        answering: Answering | None = None,
    ) -> None:
        self._historian = historian
        self._groups_of = groups_of
        self._answering = answering

    def ask(
        self,
        haystack: Haystack,
        todo: Mapping[str, Sequence[Case]],
        configs: Sequence[Config],
        *,
        emit: Emit,
        advance: Callable[[int], None],
    ) -> None:
        """Ask the cases in `todo`, by config's name."""
        for config in configs:
            if config.baseline is not None:
                begun = time.perf_counter()
                for case in todo[config.name]:
                    line = self._line(haystack, case, _drawn_up(config, haystack, case))
                    # It would be drawn up the same again, and may be a whole history long.
                    emit(config.name, {key: value for key, value in line.items() if key != "recalled"})
                emit(config.name, _haystack_line(haystack, asked_s=time.perf_counter() - begun))
        for group in _by_index([config for config in configs if config.baseline is None]):
            with self._historian.recorded(group[0], haystack, advance) as recorded:
                if pending := recorded.pending():
                    for config in group:
                        emit(config.name, _pending(todo[config.name], pending))
                    continue
                for config in group:
                    begun = time.perf_counter()
                    with recorded.memory(config) as memory:
                        for case in todo[config.name]:
                            emit(config.name, self._asked_line(memory, haystack, case, recorded))
                    emit(config.name, _haystack_line(haystack, time.perf_counter() - begun, **recorded.figures))

    def _asked_line(self, memory: Memory, haystack: Haystack, case: Case, recorded: Recorded) -> Line:
        line = self._line(haystack, case, _asked(memory, haystack, case, recorded.places))
        # A service may ask its model about a question, too.
        pending = recorded.pending()
        return _pending([case], pending) if pending else line

    def _line(self, haystack: Haystack, case: Case, found: "_Found") -> Line:
        wanted = [haystack.sessions[number].turns[index] for number, index in sorted(case.evidence_turns)]
        line: Line = {
            "case": case.case_id,
            "haystack": haystack.haystack_id,
            "category": case.category,
            "groups": list(self._groups_of(case)),
            "evidence": sorted(case.evidence_turns),
            "evidence_sessions": sorted(case.evidence_sessions),
            "turns": found.turns,
            "sessions": found.sessions,
            "contexts": {name: _context(text, tokens, wanted) for name, (text, tokens) in found.contexts.items()},
            "ms": found.ms,
        }
        if self._answering is not None:
            text = found.contexts.get(str(READING_BUDGET), found.contexts.get(WHOLE, ("", 0)))[0]
            try:
                line["answered"] = self._answering.answer(case, text)
            except AnswerPending as exc:
                return {**_pending([case], [(exc.task, exc.request)]), "recalled": {**line, "reading": text}}
        return line


@dataclass(frozen=True, slots=True)
class _Found:
    """What one config gave for one case; rankings are None where nothing is ranked."""

    turns: list[Place] | None
    sessions: list[int] | None
    contexts: dict[str, tuple[str, int]]
    ms: dict[str, list[float]]


def _asked(memory: Memory, haystack: Haystack, case: Case, places: Mapping[tuple[str, str], Place]) -> _Found:
    """The turns come first: then the service has not met the question before, and their time is a user's."""

    def recalled(unit: str, limit: int, budget: int) -> Recalled:
        return memory.recall(case.question, asked_at=case.asked_at, unit=unit, limit=limit, token_budget=budget)

    turns = recalled("turn", TURNS, 0)
    sessions = recalled("session", SESSIONS, 0)
    contexts = {str(budget): recalled("round", ROUNDS, budget) for budget in BUDGETS}
    timed = {"turn": turns, f"context@{READING_BUDGET}": contexts[str(READING_BUDGET)]}
    numbers = {session: place[0] for (session, _), place in places.items()}
    try:
        found = [places[item["session_id"], turn["turn_id"]] for item in turns.evidence for turn in item["turns"]]
        ranked = [(numbers[item["session_id"]], 0) for item in sessions.evidence]
    except KeyError as exc:
        raise EvaluationFailed(f"The service returned {exc}, which was never recorded for this user.") from exc
    return _Found(
        turns=list(dict.fromkeys(haystack.first_copy(place) for place in found)),
        sessions=list(dict.fromkeys(haystack.first_copy(place)[0] for place in ranked)),
        contexts={budget: (answer.context, answer.context_tokens) for budget, answer in contexts.items()},
        ms={name: [round(answer.client_ms, 3), answer.service_ms] for name, answer in timed.items()},
    )


def _drawn_up(config: Config, haystack: Haystack, case: Case) -> _Found:
    if config.baseline == "full":
        text = baselines.full_context(haystack)
        return _Found(None, None, {WHOLE: (text, approximate_tokens(text))}, {})
    drawn = baselines.drawn(haystack, case)
    contexts = {str(budget): baselines.drawn_context(haystack, drawn, budget=budget) for budget in BUDGETS}
    places = list(dict.fromkeys(map(haystack.first_copy, drawn)))
    return _Found(
        turns=places[:TURNS],
        sessions=list(dict.fromkeys(number for number, _ in places))[:SESSIONS],
        contexts={budget: (text, approximate_tokens(text)) for budget, text in contexts.items()},
        ms={},
    )


def _context(text: str, tokens: int, wanted: Sequence[HaystackTurn]) -> Line:
    return {"tokens": tokens, "whole": holds(text, wanted) if wanted else None}


def _by_index(configs: Sequence[Config]) -> list[list[Config]]:
    groups: dict[str, list[Config]] = {}
    for config in configs:
        groups.setdefault(config.index_key(), []).append(config)
    return list(groups.values())


def _pending(cases: Sequence[Case], requests: Sequence[tuple[str, Line]]) -> Line:
    return {"pending": [case.case_id for case in cases], "requests": list(requests)}


def _haystack_line(haystack: Haystack, asked_s: float, **figures: Any) -> Line:
    return {
        "of_haystack": haystack.haystack_id,
        "turns": haystack.turn_count,
        "sessions": len(haystack.sessions),
        "ask_s": round(asked_s, 3),
        **figures,
    }
