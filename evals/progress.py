"""How far a run is: a bar with the time left on a terminal, else a line now and then."""

import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

EVERY_S = 60.0


class Shown:
    """Shows work that is counted in steps."""

    def __init__(self, what: str, total: int, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._total = total
        self._console = console
        self._done = 0
        self._clock = clock
        self._begun = self._said = clock()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        """Begin to show it."""
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TextColumn("left:"),
                TimeRemainingColumn(),
            )
            # Indexing and asking go at different speeds: the time left is told from the last minutes.
            self._bar = Progress(*columns, console=self._console, speed_estimate_period=300)
            self._bar.add_task(self._what, total=self._total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()

    def advance(self, steps: int) -> None:
        """Some steps are done."""
        self._done += steps
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0], steps)
            return
        now = self._clock()
        if now - self._said >= EVERY_S:
            self._said = now
            self._console.print(self._line(now), highlight=False)

    def _line(self, now: float) -> str:
        left = (now - self._begun) / max(1, self._done) * (self._total - self._done)
        share = self._done / max(1, self._total)
        return f"{self._what}: {share:.0%}, about {math.ceil(left / 60)} min left"
