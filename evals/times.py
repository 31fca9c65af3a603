"""How exactly times are read out of text: what is found, against what a corpus says the words mean."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any, Literal, Protocol

from evals import metrics
from evals.cases import read_lines
from evals.errors import DataUnreadable
from memsvc.intervals import Expression, Interval

SOURCE = "The rows come from the test corpora of Microsoft Recognizers-Text (MIT) and Duckling (BSD-3-Clause)."
OVERRULED = Path(__file__).parent / "data" / "time_overruled.jsonl"
PREFER: Literal["past"] = "past"
ALL = "all"
HALF = 0.5

Figures = dict[str, Any]


class Finder(Protocol):
    """What finds the times that a text names, in the order of the text or in any other."""

    def __call__(self, text: str, *, reference: datetime, prefer: Literal["past", "tense"]) -> Sequence[Expression]:
        """Every expression in the text, with its time as of the reference."""


@dataclass(frozen=True, slots=True)
class Row:
    """A text of the corpus and the time that it means, if any. `span` are the words of that time, if the corpus says.

    Times are aware: the corpus has them without a zone, and they are taken for UTC.
    """

    text: str
    reference: datetime
    span: str | None
    meant: Interval | None
    source: str

    @property
    def offsets(self) -> tuple[int, int] | None:
        """Where the span stands first in the text, in whatever case; None when there is none, or it is not there."""
        found = re.search(re.escape(self.span), self.text, re.IGNORECASE) if self.span else None
        return found and found.span()


@dataclass(frozen=True, slots=True)
class Corpus:
    """The rows of a data file, and how many of its entries are none, by reason."""

    rows: tuple[Row, ...]
    skipped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Overruling:
    """Names a row whose reading in the corpus is not what a memory means, and says why."""

    text: str
    reference: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A row, all that was found in its text, and of that the expression that counts."""

    row: Row
    found: tuple[Expression, ...]
    counted: Expression | None
    overruled: str | None = None

    @property
    def is_right(self) -> bool:
        """Whether start and end are those of the corpus to the second; nothing is right where it has no time."""
        if self.row.meant is None:
            return self.counted is None
        return self.counted is not None and _seconds(self.counted.interval) == _seconds(self.row.meant)

    @property
    def iou(self) -> float:
        """How much of the time that is meant and of the one that is found is common to both."""
        if self.row.meant is None or self.counted is None:
            return 0.0
        return intersection_over_union(self.counted.interval, self.row.meant)


@dataclass(frozen=True, slots=True)
class Measured:
    """Every reading of a corpus, what of it was skipped, and the overrulings that are of no use, each with why."""

    readings: tuple[Reading, ...]
    skipped: Mapping[str, int]
    stale: tuple[tuple[Overruling, str], ...]

    @property
    def timed(self) -> list[Reading]:
        """The readings of rows with a time."""
        return [reading for reading in self.readings if reading.row.meant is not None]

    @property
    def timeless(self) -> list[Reading]:
        """The readings of rows without one."""
        return [reading for reading in self.readings if reading.row.meant is None]


class _Malformed(Exception):
    """An entry is no row; the text says what is wrong with such rows."""


def load(path: Path) -> Corpus:
    """The rows of a file of JSON Lines; raises DataUnreadable when that is no such file, or none is a row."""
    rows: list[Row] = []
    skipped: Counter[str] = Counter()
    for entry in read_lines(path):
        try:
            rows.append(_row(entry))
        except _Malformed as exc:
            skipped[str(exc)] += 1
    if not rows:
        raise DataUnreadable(f"{path} holds no row that could be measured. {SOURCE}")
    return Corpus(tuple(rows), dict(skipped))


def load_overrulings(path: Path = OVERRULED) -> list[Overruling]:
    """The overrulings of a file of JSON Lines; raises DataUnreadable."""
    found = []
    for entry in read_lines(path):
        text, reason = entry.get("text"), entry.get("reason")
        if not isinstance(text, str) or not isinstance(reason, str) or not reason:
            raise DataUnreadable(f"{path} holds {entry} where text, reference and reason are expected.")
        try:
            found.append(Overruling(text, _moment(entry.get("reference")), reason))
        except _Malformed as exc:
            raise DataUnreadable(f"{path} holds {entry}, whose reference is no ISO time.") from exc
    return found


def measure(corpus: Corpus, overrulings: Sequence[Overruling], *, find: Finder) -> Measured:
    """Find the times of every row, as of its reference and in the past where the words leave that open."""
    reasons = {(each.text, each.reference): each.reason for each in overrulings}
    readings = []
    for row in corpus.rows:
        found = sorted(find(row.text, reference=row.reference, prefer=PREFER), key=lambda each: each.span)
        counted = counting(row, found)
        readings.append(Reading(row, tuple(found), counted, reasons.get((row.text, row.reference))))
    return Measured(tuple(readings), corpus.skipped, tuple(_stale(overrulings, readings)))


def counting(row: Row, found: Sequence[Expression]) -> Expression | None:
    """The expression that has most of the row's span, if any has; the first one when the span is not in the text."""
    offsets = row.offsets
    if offsets is None:
        return found[0] if found else None
    best = max(found, key=lambda each: _common(each.span, offsets), default=None)
    return best if best is not None and _common(best.span, offsets) > 0 else None


def intersection_over_union(one: Interval, two: Interval) -> float:
    """What two intervals have in common as a share of what they cover; nothing when an end of them is open."""
    if one.start is None or one.end is None or two.start is None or two.end is None:
        return 0.0
    common = min(one.end, two.end) - max(one.start, two.start)
    # Two that have something in common cover all between the first start and the last end.
    return max(0.0, common / (max(one.end, two.end) - min(one.start, two.start)))


def figures(readings: Sequence[Reading]) -> dict[str, Figures]:
    """The figures over all rows with a time, and by source: shares with 95 % intervals, and what was not found."""
    groups: dict[str, list[Reading]] = {ALL: list(readings)} if readings else {}
    for reading in readings:
        groups.setdefault(reading.row.source, []).append(reading)
    return {
        name: {
            "n": len(held),
            "exact": _share([float(reading.is_right) for reading in held]),
            f"iou@{HALF}": _share([float(reading.iou >= HALF) for reading in held]),
            "not_found": sum(reading.counted is None for reading in held),
        }
        for name, held in groups.items()
    }


def faults(readings: Sequence[Reading]) -> list[Reading]:
    """The readings that are not as the corpus has it, overruled or not."""
    return [reading for reading in readings if not reading.is_right]


def _row(entry: Mapping[str, object]) -> Row:
    text, span, source = entry.get("text"), entry.get("span"), entry.get("source")
    if not isinstance(text, str) or not isinstance(source, str):
        raise _Malformed("rows without a text or a source")
    if not isinstance(span, str | None):
        raise _Malformed("rows whose span is no text")
    reference = _moment(entry.get("reference"))
    if entry.get("start") is None and entry.get("end") is None:
        return Row(text, reference, span, None, source)
    start, end = _moment(entry.get("start")), _moment(entry.get("end"))
    if end <= start:
        raise _Malformed("rows that end before they start")
    return Row(text, reference, span, Interval(start, end), source)


def _moment(value: object) -> datetime:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None:
        raise _Malformed("rows with a reference, start or end that is no ISO time")
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _stale(overrulings: Sequence[Overruling], readings: Sequence[Reading]) -> list[tuple[Overruling, str]]:
    found, told = [], set()
    for each in overrulings:
        key = (each.text, each.reference)
        named = [reading for reading in readings if (reading.row.text, reading.row.reference) == key]
        if key in told:
            found.append((each, "a line before names the same row"))
        elif not named:
            found.append((each, "names no row of the data"))
        elif all(reading.is_right for reading in named):
            found.append((each, "the row is read as the corpus has it"))
        told.add(key)
    return found


def _common(one: tuple[int, int], two: tuple[int, int]) -> int:
    return max(0, min(one[1], two[1]) - max(one[0], two[0]))


def _seconds(interval: Interval) -> tuple[datetime | None, ...]:
    return tuple(end and end.replace(microsecond=0) for end in (interval.start, interval.end))


def _share(values: Sequence[float]) -> Figures:
    low, high = metrics.interval(values)
    return {"mean": round(mean(values), 6), "low": round(low, 6), "high": round(high, 6)}
