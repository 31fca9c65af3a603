"""Two results side by side: each figure's change, and whether chance explains it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals import figures, metrics, results
from evals.errors import DataUnreadable, WrongUse

Summary = dict[str, Any]
_Values = Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True, slots=True)
class Change:
    """A figure in both results; `low` and `high` bound the difference, and `n` counts the questions of each."""

    group: str
    name: str
    before: float
    after: float
    low: float
    high: float
    n: tuple[int, int]

    @property
    def is_outside(self) -> bool:
        """Whether no change at all lies outside the interval of the difference."""
        # Means of floats miss nought by a hair.
        return not round(self.low, 9) <= 0 <= round(self.high, 9)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All changes, and in words how they were measured."""

    method: str
    changes: Sequence[Change]


def compare(before: Path, after: Path) -> Comparison:
    """What changed from one result to the other.

    Raises WrongUse where the two cannot be compared, DataUnreadable for what is no result.
    """
    one, two = _summary(before), _summary(after)
    if one["data_set"] != two["data_set"]:
        raise WrongUse(f"{before} is of {one['data_set']} and {after} of {two['data_set']}: they cannot be compared.")
    if one["metrics"] != two["metrics"]:
        raise WrongUse(
            f"{before} has the metrics of version {one['metrics']} and {after} those of version {two['metrics']}: "
            "run one of them again."
        )
    old, new = _values(one, before), _values(two, after)
    if old is None or new is None:
        missing = " and ".join(str(path) for path, held in ((before, old), (after, new)) if held is None)
        return Comparison(
            f"unpaired, from the two intervals: the raw lines of {missing} are gone", _from_intervals(one, two)
        )
    if one["data"]["sha256"] != two["data"]["sha256"]:
        return Comparison("unpaired bootstrap: the data files differ", _bootstrapped(old, new, is_paired=False))
    if not set(one["cases"]) & set(two["cases"]):
        raise WrongUse(f"{before} and {after} have no question in common: they cannot be compared.")
    return Comparison(
        "paired bootstrap over the questions that both were asked", _bootstrapped(old, new, is_paired=True)
    )


def markdown(found: Comparison) -> str:
    """The comparison as a table."""
    lines = [f"Measured by: {found.method}.", ""]
    lines.append("| group | figure | n | before | after | difference | 95 % interval | outside |")
    lines.append("|---|---|---|---|---|---|---|---|")
    for change in found.changes:
        count = str(change.n[0]) if change.n[0] == change.n[1] else f"{change.n[0]}, {change.n[1]}"
        lines.append(
            f"| {change.group} | {change.name} | {count} | {change.before:.3f} | {change.after:.3f} "
            f"| {change.after - change.before:+.3f} | [{change.low:+.3f}, {change.high:+.3f}] "
            f"| {'yes' if change.is_outside else 'no'} |"
        )
    return "\n".join(lines) + "\n"


def _summary(path: Path) -> Summary:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise DataUnreadable(f"{path} is no result of an evaluation: {exc}") from exc
    if not isinstance(found, dict) or not {"data_set", "metrics", "figures", "data", "raw", "cases"} <= set(found):
        raise DataUnreadable(f"{path} is no result of an evaluation.")
    return found


def _values(summary: Summary, path: Path) -> _Values | None:
    """The values of the result's own questions; None unless the raw lines of all of them are there."""
    lines = results.cases_of(path.parent / summary["raw"])
    if not set(summary["cases"]) <= set(lines):
        return None
    return figures.by_group(lines[case_id] for case_id in summary["cases"])


def _bootstrapped(old: _Values, new: _Values, *, is_paired: bool) -> list[Change]:
    changes = []
    for group, name in _both(old, new):
        before, after = old[group][name], new[group][name]
        if is_paired:
            ids = [case_id for case_id in before if case_id in after]
            before, after = {each: before[each] for each in ids}, {each: after[each] for each in ids}
        if before and after:
            one, two = list(before.values()), list(after.values())
            low, high = metrics.difference(one, two, is_paired=is_paired)
            changes.append(
                Change(group, name, sum(one) / len(one), sum(two) / len(two), low, high, (len(one), len(two)))
            )
    return changes


def _from_intervals(one: Summary, two: Summary) -> list[Change]:
    """The errors of two independent means add up as squares."""
    old, new = _figures(one), _figures(two)
    changes = []
    for group, name in _both(old, new):
        before, after = old[group][name], new[group][name]
        rise = after["mean"] - before["mean"]
        low = ((after["mean"] - after["low"]) ** 2 + (before["high"] - before["mean"]) ** 2) ** 0.5
        high = ((after["high"] - after["mean"]) ** 2 + (before["mean"] - before["low"]) ** 2) ** 0.5
        counts = (before["n"], after["n"])
        changes.append(Change(group, name, before["mean"], after["mean"], rise - low, rise + high, counts))
    return changes


def _figures(summary: Summary) -> dict[str, dict[str, Any]]:
    """Figures of evidence access and of answers by group, as one."""
    answered = (summary.get("answers") or {}).get("figures", {})
    return {group: {**held, **answered.get(group, {})} for group, held in summary["figures"].items()}


def _both(old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Groups and figures that both have, in the order of the tables."""
    names = (*figures.ACCESS, *figures.ANSWERS)
    return [
        (group, name) for group in old if group in new for name in names if name in old[group] and name in new[group]
    ]
