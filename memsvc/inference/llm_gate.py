"""The gate before a language model: so many requests at a time, and none for a while after outages in a row."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from memsvc.errors import LlmUnavailable

log = logging.getLogger(__name__)


class Passing(Exception):
    """A request failed that may succeed when it is sent again, after `pause_s` where the endpoint told one."""

    def __init__(self, reason: str, *, status: int | None = None, pause_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.pause_s = pause_s


class Outage(Passing):
    """Nothing came, or something that says the endpoint is down."""


class Gate:
    """A circuit breaker with `concurrency` places.

    After `failures` outages in a row nothing passes for `pause_s` seconds; then one request at a time does, until one
    of them is answered.
    """

    def __init__(self, *, concurrency: int, failures: int, pause_s: float, monotonic: Callable[[], float]) -> None:
        self._places = threading.BoundedSemaphore(concurrency)
        self._failures = failures
        self._pause_s = pause_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failed = 0
        self._shut_until: float | None = None
        self._is_probed = False

    @contextmanager
    def passed(self, *, until: float) -> Iterator[None]:
        """One request passes, and tells how it went by raising Outage or not; raises LlmUnavailable."""
        if not self._places.acquire(timeout=max(0.0, until - self._monotonic())):
            raise LlmUnavailable("The language model is busy with other requests, and the time for this one is over.")
        try:
            with self._counted():
                yield
        finally:
            self._places.release()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        is_probe = self._enter()
        try:
            yield
        except Outage:
            self._count_outage()
            raise
        else:
            self._count_answer()
        finally:
            if is_probe:
                self._is_probed = False

    def _enter(self) -> bool:
        """Whether the request probes an endpoint that was down; raises LlmUnavailable where none may pass."""
        with self._lock:
            if self._shut_until is None:
                return False
            if self._is_probed or self._monotonic() < self._shut_until:
                raise LlmUnavailable(
                    f"The language model did not answer {self._failed} times in a row; it is not asked for a while."
                )
            self._is_probed = True
            return True

    def _count_outage(self) -> None:
        with self._lock:
            self._failed += 1
            if self._failed < self._failures:
                return
            self._shut_until = self._monotonic() + self._pause_s
        log.warning(
            "the language model is not asked for a while", extra={"outages": self._failed, "pause_s": self._pause_s}
        )

    def _count_answer(self) -> None:
        with self._lock:
            self._failed = 0
            self._shut_until = None
