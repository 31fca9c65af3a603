"""Haystacks divided over processes: each has its own services and data; lines come back to the one that writes."""

import multiprocessing
import queue
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from evals.asking import Asker, Emit
from evals.cases import Case, Haystack
from evals.configs import Config
from evals.errors import EvaluationFailed

_LOOK_S = 1.0

# Makes what asks haystacks' questions; each process makes its own.
MakeAsker = Callable[[], Asker]


@dataclass(frozen=True, slots=True)
class Todo:
    """A haystack with the cases that each config has still to be asked."""

    haystack: Haystack
    cases: dict[str, Sequence[Case]]
    configs: tuple[Config, ...]


def spread(
    make: MakeAsker, processes: int, todo: Iterator[Todo], *, emit: Emit, advance: Callable[[int], None]
) -> None:
    """Do all that is to do, in this process or in several; `emit` and `advance` are called in this one.

    Raises EvaluationFailed, also when a process ends before its time.
    """
    if processes == 1:
        asker = make()
        for each in todo:
            asker.ask(each.haystack, each.cases, each.configs, emit=emit, advance=advance)
        return
    # Processes that are ended leave their temporary data behind: these go with the folder around them.
    with tempfile.TemporaryDirectory(prefix="memsvc-evals-") as folder:
        crew = _Crew(multiprocessing.get_context("spawn"), make, processes, folder)
        try:
            crew.work(todo, emit=emit, advance=advance)
            crew.dismiss()
        finally:
            crew.end()


class _Crew:
    """The processes, and the two queues between them and this one."""

    def __init__(self, context: SpawnContext, make: MakeAsker, processes: int, folder: str) -> None:
        self._tasks: Any = context.Queue()
        self._news: Any = context.Queue()
        self._members: list[SpawnProcess] = [
            context.Process(target=_member, args=(make, folder, self._tasks, self._news), daemon=True)
            for _ in range(processes)
        ]
        for member in self._members:
            member.start()

    def work(self, todo: Iterator[Todo], *, emit: Emit, advance: Callable[[int], None]) -> None:
        # One haystack waits for each process: reading ahead further would fill the memory.
        in_hand = sum(self._hand_out(todo) for _ in range(2 * len(self._members)))
        while in_hand:
            kind, told = self._next()
            if kind == "line":
                emit(*told)
            elif kind == "advance":
                advance(told)
            elif kind == "failed":
                raise EvaluationFailed(told)
            else:
                in_hand += self._hand_out(todo) - 1

    def dismiss(self) -> None:
        """Nothing is left to do: let them end by themselves."""
        for _ in self._members:
            self._tasks.put(None)
        for member in self._members:
            member.join(timeout=30)

    def end(self) -> None:
        """End those that are still there; what they had not told is asked again by the next run."""
        for member in self._members:
            member.terminate()
        for member in self._members:
            member.join(timeout=10)
        for each in (self._tasks, self._news):
            each.cancel_join_thread()
            each.close()

    def _hand_out(self, todo: Iterator[Todo]) -> int:
        each = next(todo, None)
        if each is None:
            return 0
        self._tasks.put(each)
        return 1

    def _next(self) -> tuple[str, Any]:
        while True:
            try:
                news: tuple[str, Any] = self._news.get(timeout=_LOOK_S)
            except queue.Empty:
                gone = [member.exitcode for member in self._members if member.exitcode is not None]
                if gone:
                    raise EvaluationFailed(
                        f"A process of the run ended before its time (exit code {gone[0]}). Run again to go on."
                    ) from None
            else:
                return news


def _member(make: MakeAsker, folder: str, tasks: Any, news: Any) -> None:
    """Ask haystacks until the process is ended, or the one that writes is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = folder
    parent = multiprocessing.parent_process()
    asker = make()

    def tell(kind: str, told: Any) -> None:
        if parent is not None and not parent.is_alive():
            raise SystemExit(1)
        news.put((kind, told))

    while parent is None or parent.is_alive():
        try:
            each: Todo | None = tasks.get(timeout=_LOOK_S)
        except queue.Empty:
            continue
        if each is None:
            return
        try:
            asker.ask(
                each.haystack,
                each.cases,
                each.configs,
                emit=lambda name, line: tell("line", (name, line)),
                advance=lambda turns: tell("advance", turns),
            )
        except EvaluationFailed as exc:
            tell("failed", str(exc))
        else:
            tell("done", None)
