"""Dating: the times of a turn, read by `memsvc.temporal`, against `dateparser` on the same turns."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter, process_time

from benchmarks.report import Aim, Figure, Report
from benchmarks.texts import chats
from memsvc.temporal import find

_CHARACTERS = 200
_LONG = 100_000
_SAID = datetime(2024, 3, 1, 10, tzinfo=UTC)


def measure(*, turns: int) -> Report:
    """Read turns of 200 characters one by one, and one of 100,000."""
    from dateparser.search import search_dates

    texts = _texts(turns)
    wall = _SAID.replace(tzinfo=None)
    settings = {"RELATIVE_BASE": wall, "PREFER_DATES_FROM": "past"}
    ours = _milliseconds(lambda text: find(text, reference=_SAID, prefer="tense"), texts)
    theirs = _milliseconds(lambda text: search_dates(text, languages=["en"], settings=settings), texts[:100])
    short, long = (_least_of_one("".join(texts)[:characters]) for characters in (_LONG // 2, _LONG))
    return Report(
        "dating",
        "dateparser's search on the same turns; for the long turn, twice its first half",
        [
            Figure("find, a turn of 200 characters, p50", ours, theirs, "ms", Aim(at_most=1.0)),
            Figure("find, a turn of 100,000 characters", long, 2 * short, "ms", Aim(at_most=1.5)),
        ],
        [f"{len(texts)} turns put together from the benchmark's sentences; medians"],
    )


def _texts(turns: int) -> list[str]:
    said = [draft.text for chat in chats(200, users=20, rounds=4) for draft in chat.drafts]
    draw = random.Random(7)
    texts = []
    for _ in range(max(turns, 2 * _LONG // _CHARACTERS)):
        text = ""
        while len(text) < _CHARACTERS:
            text += draw.choice(said) + " "
        texts.append(text[:_CHARACTERS])
    return texts


def _milliseconds(read: Callable[[str], object], texts: list[str]) -> float:
    """The median of one reading a text, after a first one that is not counted."""
    read(texts[0])
    spent = []
    for text in texts:
        begun = perf_counter()
        read(text)
        spent.append((perf_counter() - begun) * 1000)
    return sorted(spent)[len(spent) // 2]


def _least_of_one(text: str) -> float:
    """Milliseconds of the processor for one long text, the least of three."""
    spent = []
    for _ in range(3):
        begun = process_time()
        find(text, reference=_SAID, prefer="tense")
        spent.append((process_time() - begun) * 1000)
    return min(spent)
