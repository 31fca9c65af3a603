"""Waiting for a state without holding a request thread: the event loop sleeps, and two threads at most look."""

from collections.abc import Callable
from time import monotonic

import anyio
from anyio import CapacityLimiter, to_thread

from memsvc.domain import Status

_FIRST_LOOK_S = 0.02
_LONGEST_SLEEP_S = 0.5


class Waiting:
    """Looks again and again, at growing intervals, until a status is reached or the time is over."""

    def __init__(self, threads: int = 2) -> None:
        self._threads = threads
        self._limiter: CapacityLimiter | None = None

    async def until(self, reached: Callable[[Status], bool], look: Callable[[], Status], *, seconds: float) -> Status:
        """The last status seen."""
        deadline, pause = monotonic() + seconds, _FIRST_LOOK_S
        while True:
            status = await to_thread.run_sync(look, limiter=self._bound())
            left = deadline - monotonic()
            if reached(status) or left <= 0:
                return status
            await anyio.sleep(min(pause, left))
            pause = min(_LONGEST_SLEEP_S, pause * 1.5)

    def _bound(self) -> CapacityLimiter:
        # A limiter belongs to the event loop it is first used in.
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._threads)
        return self._limiter
