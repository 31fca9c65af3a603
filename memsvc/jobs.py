"""The clock's door: worker threads drain the outbox, and APScheduler calls the housekeeping."""

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from time import monotonic
from typing import Protocol

from apscheduler.schedulers.background import BackgroundScheduler

from memsvc.clock import Clock
from memsvc.errors import IndexReplaced, MemsvcError
from memsvc.store.database import Store

log = logging.getLogger(__name__)

KEEP_ANSWERS = timedelta(hours=24)


class Drain(Protocol):
    """Does what is due of one kind."""

    def drain(self, *, stopping: Callable[[], bool]) -> int:
        """Do what is due; how many tasks were claimed."""
        ...


class Workers:
    """Threads that drain the outbox until they are told to stop, so many for each who drains.

    `wake` spares the idle ones their wait.
    """

    def __init__(self, threads: Mapping[Drain, int], *, poll_s: float) -> None:
        self._poll_s = poll_s
        self._stopping = threading.Event()
        self._due = [threading.Event() for _ in threads]
        self._threads = [
            threading.Thread(target=self._run, args=(drain, due), name=f"{type(drain).__name__}-{number}", daemon=True)
            for (drain, count), due in zip(threads.items(), self._due, strict=True)
            for number in range(count)
        ]
        self.failure: IndexReplaced | None = None

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Something is owed."""
        for due in self._due:
            due.set()

    def stop(self, *, grace_s: float) -> bool:
        """Let each thread end the batch it has in hand; whether all did within `grace_s` seconds.

        What is cut off keeps its task, and is done again when its lease has run out.
        """
        self._stopping.set()
        self.wake()
        deadline = monotonic() + grace_s
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - monotonic()))
        is_done = not any(thread.is_alive() for thread in self._threads)
        if not is_done:
            log.warning("the grace period is over; tasks in hand will be done again")
        return is_done

    def wait(self, *, seconds: float) -> bool:
        """Wait for the threads to end by themselves, which they do when their index was replaced."""
        return self._stopping.wait(seconds)

    def _run(self, drain: Drain, due: threading.Event) -> None:
        while not self._stopping.is_set():
            due.clear()
            if self._drained(drain):
                due.wait(self._poll_s)

    def _drained(self, drain: Drain) -> bool:
        """One drain; whether to wait before the next."""
        try:
            return drain.drain(stopping=self._stopping.is_set) == 0
        except IndexReplaced as exc:
            log.error("worker stops", extra={"reason": str(exc)})
            self.failure = exc
            self._stopping.set()
        except MemsvcError as exc:
            log.warning("worker waits", extra={"reason": exc.name})
        except Exception:
            log.exception("worker failed, and goes on")
        return True


class Housekeeping:
    """What is done by the clock: answers kept for Idempotency-Keys go after a day."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._scheduler = BackgroundScheduler(timezone="UTC")
        self._scheduler.add_job(_logged(self.sweep), "interval", hours=1, id="sweep")

    def start(self) -> None:
        """Start the clock."""
        self._scheduler.start()

    def stop(self) -> None:
        """Stop the clock; a job that runs is not waited for."""
        self._scheduler.shutdown(wait=False)

    def sweep(self) -> int:
        """Forget old answers; how many."""
        with self._store.begin() as tx:
            return tx.sessions.forget_answers(before=self._clock.now() - KEEP_ANSWERS)


def _logged(job: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        try:
            job()
        except MemsvcError as exc:
            log.warning("housekeeping put off", extra={"job": job.__name__, "reason": exc.name})

    return run
