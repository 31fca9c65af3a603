"""What a benchmark found: a figure beside its floor from the same run, and the aim for their ratio."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.padding import Padding
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Aim:
    """A bound on the ratio of a figure to its floor: a lower one for rates, an upper one for times."""

    at_least: float | None = None
    at_most: float | None = None

    def is_met(self, ratio: float) -> bool:
        """Whether the ratio keeps within the bounds."""
        return (self.at_least is None or ratio >= self.at_least) and (self.at_most is None or ratio <= self.at_most)

    def __str__(self) -> str:
        """As the table shows it."""
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value and its floor, in the same unit; `aim` is None for what is only reported.

    `paired` is the median ratio of pairs measured one after the other: other work on the machine touches both alike.
    """

    what: str
    value: float
    floor: float
    unit: str
    aim: Aim | None = None
    paired: float | None = None

    @property
    def ratio(self) -> float:
        """The value as a share of its floor."""
        return self.paired if self.paired is not None else self.value / self.floor

    @property
    def verdict(self) -> str:
        """Whether the aim was met."""
        if self.aim is None:
            return "reported"
        return "met" if self.aim.is_met(self.ratio) else "MISSED"


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one benchmark, what their floor is, and notes in words."""

    name: str
    floor: str
    figures: Sequence[Figure]
    notes: Sequence[str] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """The report for machines, ratios and verdicts filled in."""
        figures = [
            {**asdict(figure), "aim": figure.aim and str(figure.aim), "ratio": figure.ratio, "verdict": figure.verdict}
            for figure in self.figures
        ]
        return {"name": self.name, "floor": self.floor, "figures": figures, "notes": list(self.notes)}


def show(report: Report, console: Console) -> None:
    """Print a report as a small table."""
    table = Table(title=f"{report.name}, against {report.floor}", title_justify="left", title_style="bold", box=SIMPLE)
    table.add_column("")
    for heading in ("measured", "floor", "", "ratio", "aim", ""):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for figure in report.figures:
        table.add_row(
            figure.what,
            _number(figure.value),
            _number(figure.floor),
            figure.unit,
            f"{figure.ratio:.2f}",
            str(figure.aim or "none"),
            figure.verdict,
        )
    console.print(table)
    for note in report.notes:
        console.print(Padding(note, (0, 0, 0, 2)), highlight=False)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def of_pairs(what: str, values: Sequence[float], floors: Sequence[float], unit: str, aim: Aim | None = None) -> Figure:
    """The figure of values that were measured by turns with their floors."""
    ratios = [value / floor for value, floor in zip(values, floors, strict=True)]
    return Figure(what, p50(values), p50(floors), unit, aim, paired=p50(ratios))


def p50(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)


def p95(values: Iterable[float]) -> float:
    """The value that 95 % do not exceed."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1]
