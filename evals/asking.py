"""One haystack under every config: recorded once for each way of indexing, then each question asked."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from evals import baselines
from evals.cases import Case, Haystack, HaystackTurn, Place
from evals.configs import Config
from evals.contexts import approximate_tokens, holds
from evals.errors import EvaluationFailed
from evals.services import Workshop
from evals.wire import Memory, Names, Recalled, Unreachable

TURNS, SESSIONS, ROUNDS = 50, 10, 100
BUDGETS = (1000, 2000, 4000, 8000)
# The context that a reader is given, and whose length is reported.
READING_BUDGET = 2000
WHOLE = "all"
_WARM_UP = "What did we talk about last time?"

# A line of raw results: of a case, or of a haystack.
Line = dict[str, Any]
Emit = Callable[[str, Line], None]


class Answering(Protocol):
    """Reads an answer out of a context and has it judged; its result is part of a case's line."""

    def answer(self, case: Case, context: str) -> Line:
        """What was answered and how it was judged, or why neither could be had."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """Where memories are asked: services of the run's own, or the one at `url`."""

    url: str | None = None
    api_key: str | None = None


class Asker:
    """Asks haystacks' questions; `emit` gets a line for each case and haystack, `advance` the turns indexed."""

    def __init__(
        self,
        target: Target,
        workshop: Workshop,
        groups_of: Callable[[Case], tuple[str, ...]],
        *,
        answering: Answering | None = None,
    ) -> None:
        self._target = target
        self._workshop = workshop
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
                    emit(config.name, self._line(haystack, case, _drawn_up(config, haystack, case)))
                emit(config.name, _haystack_line(haystack, asked_s=time.perf_counter() - begun))
        for group in _by_index([config for config in configs if config.baseline is None]):
            with self._recorded(group[0], haystack, advance) as recorded:
                for config in group:
                    begun = time.perf_counter()
                    with recorded.memory(config) as memory:
                        for case in todo[config.name]:
                            emit(
                                config.name, self._line(haystack, case, _asked(memory, haystack, case, recorded.places))
                            )
                    emit(config.name, _haystack_line(haystack, time.perf_counter() - begun, **recorded.figures))

    @contextmanager
    def _recorded(self, config: Config, haystack: Haystack, advance: Callable[[int], None]) -> Iterator["_Recorded"]:
        if self._target.url is not None:
            yield from self._recorded_there(self._target.url, haystack, advance)
            return
        names = Names("in-process")
        with self._workshop.opened(config) as bench:
            empty, begun = bench.index_bytes(), time.perf_counter()
            with bench.listening() as url, Memory(url, names) as memory:
                memory.record(haystack.sessions, advance=advance)
            figures = {
                "record_s": round(time.perf_counter() - begun, 3),
                "index_bytes": bench.index_bytes(),
                "index_bytes_empty": empty,
            }

            @contextmanager
            def asked(config: Config) -> Iterator[Memory]:
                with bench.listening(config) as url, Memory(url, names) as memory:
                    _warm(memory, haystack)
                    yield memory

            yield _Recorded(asked, names.places(haystack), figures)

    def _recorded_there(self, url: str, haystack: Haystack, advance: Callable[[int], None]) -> Iterator["_Recorded"]:
        names = Names(uuid4().hex)
        with Memory(url, names, api_key=self._target.api_key) as memory:

            @contextmanager
            def asked(_config: Config) -> Iterator[Memory]:
                _warm(memory, haystack)
                yield memory

            begun = time.perf_counter()
            try:
                memory.record(haystack.sessions, advance=advance)
                figures = {"record_s": round(time.perf_counter() - begun, 3)}
                yield _Recorded(asked, names.places(haystack), figures)
            except Unreachable:
                raise
            except BaseException:
                # Whatever ended the run, nothing of it stays in somebody's service.
                memory.forget(haystack)
                raise
            memory.forget(haystack)

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
            line["answered"] = self._answering.answer(case, text)
        return line


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A haystack that is indexed: `memory` opens it as a config recalls it."""

    memory: Any
    places: Mapping[tuple[str, str], Place]
    figures: Line


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


def _warm(memory: Memory, haystack: Haystack) -> None:
    """One recall that is not counted: a service's first one pays for what all share."""
    memory.recall(_WARM_UP, asked_at=haystack.sessions[-1].started_at, unit="turn", limit=1, token_budget=0)


def _by_index(configs: Sequence[Config]) -> list[list[Config]]:
    groups: dict[str, list[Config]] = {}
    for config in configs:
        groups.setdefault(config.index_key(), []).append(config)
    return list(groups.values())


def _haystack_line(haystack: Haystack, asked_s: float, **figures: float) -> Line:
    return {
        "of_haystack": haystack.haystack_id,
        "turns": haystack.turn_count,
        "sessions": len(haystack.sessions),
        "ask_s": round(asked_s, 3),
        **figures,
    }
