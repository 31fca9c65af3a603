"""A haystack recorded as a client does it, and opened as each config recalls it."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from evals.cases import Haystack, Place
from evals.configs import Config
from evals.kept import RequestLine
from evals.services import Workshop
from evals.wire import Memory, Names, Unreachable

_WARM_UP = "What did we talk about last time?"

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Target:
    """Where memories are asked: services of the run's own, or the one at `url`."""

    url: str | None = None
    api_key: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A haystack that can be recalled: `memory` opens it as a config does.

    `figures` are those of the recording; `pending` tells, each with its task, the requests whose answers were missing
    since it was last asked.
    """

    memory: Callable[[Config], AbstractContextManager[Memory]]
    places: Mapping[tuple[str, str], Place]
    figures: Mapping[str, Any]
    pending: Callable[[], Sequence[tuple[str, RequestLine]]] = lambda: ()


class Historian:
    """Records haystacks.

    One by one, each session is recorded when all of the one before can be found: then every run of the same makes the
    same, to the bit, and an answer that is kept is found again.
    """

    def __init__(self, target: Target, workshop: Workshop, *, one_by_one: bool = False) -> None:
        self._target = target
        self._workshop = workshop
        self._one_by_one = one_by_one

    @contextmanager
    def recorded(self, config: Config, haystack: Haystack, advance: Advance) -> Iterator[Recorded]:
        """The haystack, recorded as the config indexes it; at the end it is forgotten."""
        url = self._target.url
        opened = self._there(url, haystack, advance) if url is not None else self._here(config, haystack, advance)
        with opened as recorded:
            yield recorded

    @contextmanager
    def _here(self, config: Config, haystack: Haystack, advance: Advance) -> Iterator[Recorded]:
        names = Names("in-process")
        with self._workshop.opened(config) as bench:
            empty, begun = bench.index_bytes(), time.perf_counter()
            with bench.listening() as url, Memory(url, names) as memory:
                figures = self._record(memory, haystack, advance)
                figures["extraction"] = memory.spent()
            if bench.is_replayed:
                spent = figures["extraction"]
                figures["extraction"] = {**spent, "calls": 0, "cached_calls": spent["calls"] + spent["cached_calls"]}
            figures["record_s"] = round(time.perf_counter() - begun, 3)
            figures |= {"index_bytes": bench.index_bytes(), "index_bytes_empty": empty}

            @contextmanager
            def asked(config: Config) -> Iterator[Memory]:
                with bench.listening(config) as url, Memory(url, names) as memory:
                    _warm(memory, haystack)
                    yield memory

            yield Recorded(asked, names.places(haystack), figures, bench.pending)

    @contextmanager
    def _there(self, url: str, haystack: Haystack, advance: Advance) -> Iterator[Recorded]:
        names = Names(uuid4().hex)
        with Memory(url, names, api_key=self._target.api_key) as memory:

            @contextmanager
            def asked(_config: Config) -> Iterator[Memory]:
                _warm(memory, haystack)
                yield memory

            begun = time.perf_counter()
            try:
                # What a service elsewhere takes of its model is not told: others may use the workspace meanwhile.
                figures = self._record(memory, haystack, advance)
                figures["record_s"] = round(time.perf_counter() - begun, 3)
                yield Recorded(asked, names.places(haystack), figures)
            except Unreachable:
                raise
            except BaseException:
                # Whatever ended the run, nothing of it stays in somebody's service.
                memory.forget(haystack)
                raise
            memory.forget(haystack)

    def _record(self, memory: Memory, haystack: Haystack, advance: Advance) -> dict[str, Any]:
        undrawn = memory.record(haystack.sessions, advance=advance, one_by_one=self._one_by_one)
        return {"facts": memory.facts(), "undrawn": undrawn}


def _warm(memory: Memory, haystack: Haystack) -> None:
    """One recall that is not counted: a service's first one pays for what all share."""
    memory.recall(_WARM_UP, asked_at=haystack.sessions[-1].started_at, unit="turn", limit=1, token_budget=0)
