"""The StopWatch: where the time of a recall goes."""

from time import perf_counter

from memsvc.domain import Timing


class StopWatch:
    """Counts the stages of one recall. A plan may encode and search more than once."""

    def __init__(self) -> None:
        self._begun = self._last = perf_counter()
        self._spent = {"encode": 0.0, "search": 0.0, "load": 0.0}

    def encoded(self) -> None:
        """Up to here the query was understood and encoded."""
        self._until("encode")

    def searched(self) -> None:
        """Up to here the index was searched."""
        self._until("search")

    def loaded(self) -> None:
        """Up to here evidence was ranked and loaded."""
        self._until("load")

    def timing(self) -> Timing:
        """All of it, in milliseconds."""
        spent = {stage: round(seconds * 1000, 3) for stage, seconds in self._spent.items()}
        return Timing(**spent, total=round((perf_counter() - self._begun) * 1000, 3))

    def _until(self, stage: str) -> None:
        now = perf_counter()
        self._spent[stage] += now - self._last
        self._last = now
