"""Times in text, measured with a small stand-in that finds what a test tells it to."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evals import time_report, times
from evals.__main__ import main
from evals.errors import DataUnreadable
from evals.times import Corpus, Finder, Measured, Overruling, Row
from memsvc.intervals import Expression, Interval, Precision
from tests.evals.small import written

REFERENCE = datetime(2021, 5, 20, 9, 30, tzinfo=UTC)


def may(day: int | None) -> datetime | None:
    """Midnight of a day in May; None stays open."""
    return None if day is None else datetime(2021, 5, day, tzinfo=UTC)


HOLIDAY = Interval(may(12), may(14))


def test_rows_are_read_and_their_times_taken_for_utc(tmp_path: Path) -> None:
    timeless = entry(text="we are separated", span=None, start=None, end=None, source="negative")
    path = written(tmp_path / "rows.jsonl", [entry(), timeless])

    corpus = times.load(path)

    assert corpus == Corpus((row(), row("we are separated", span=None, meant=None, source="negative")), {})


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        pytest.param({"text": None}, "rows without a text or a source", id="text"),
        pytest.param({"source": 7}, "rows without a text or a source", id="source"),
        pytest.param({"span": 7}, "rows whose span is no text", id="span"),
        pytest.param({"reference": None}, "rows with a reference, start or end that is no ISO time", id="reference"),
        pytest.param({"start": "May"}, "rows with a reference, start or end that is no ISO time", id="start"),
        pytest.param({"end": None}, "rows with a reference, start or end that is no ISO time", id="one end alone"),
        pytest.param({"end": "2021-05-12T00:00:00"}, "rows that end before they start", id="no length"),
    ],
)
def test_entry_that_is_no_row_is_counted_with_its_reason(
    changed: Mapping[str, Any], reason: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "rows.jsonl", [entry(**changed), entry(), entry(**changed)])

    corpus = times.load(path)

    assert corpus == Corpus((row(),), {reason: 2})


def test_file_without_any_row_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [entry(text=None)])

    with pytest.raises(DataUnreadable, match="no row that could be measured"):
        times.load(path)


@pytest.mark.parametrize(
    ("span", "found", "counted"),
    [
        pytest.param("12 and 13 May", ["on 12", "and 13 May", "2021"], "and 13 May", id="most of the span"),
        pytest.param("12 AND 13 may", ["and 13 May", "2021"], "and 13 May", id="in another case"),
        pytest.param("and", ["12 and", "and 13 May"], "12 and", id="equally much: the first"),
        pytest.param("12 and 13 May", ["2021"], None, id="elsewhere"),
        pytest.param("12 and 13 May", [], None, id="nothing"),
        pytest.param(None, ["13 May", "12"], "12", id="no span: the first in the text"),
        pytest.param("the 12th", ["13 May", "12"], "12", id="not in the text: the first"),
        pytest.param(None, [], None, id="no span, nothing"),
    ],
)
def test_expression_counts_that_has_most_of_the_span(span: str | None, found: list[str], counted: str | None) -> None:
    asked = row("on 12 and 13 May 2021", span=span)

    measured = measure(asked, find=finding(dict.fromkeys(found, HOLIDAY)))

    expression = measured.readings[0].counted
    assert (expression and expression.text) == counted


@pytest.mark.parametrize(
    ("start", "end", "share"),
    [
        pytest.param(12, 14, 1.0, id="the same"),
        pytest.param(12, 13, 0.5, id="half of it"),
        pytest.param(12, 16, 0.5, id="twice as long"),
        pytest.param(13, 15, 1 / 3, id="shifted"),
        pytest.param(14, 15, 0.0, id="touching"),
        pytest.param(18, 19, 0.0, id="apart"),
        pytest.param(None, 14, 0.0, id="open start"),
        pytest.param(12, None, 0.0, id="open end"),
    ],
)
def test_what_two_intervals_share_is_over_what_they_cover(start: int | None, end: int | None, share: float) -> None:
    found = Interval(may(start), may(end))

    assert times.intersection_over_union(found, HOLIDAY) == pytest.approx(share)
    assert times.intersection_over_union(HOLIDAY, found) == pytest.approx(share)


@pytest.mark.parametrize(("later", "is_right"), [({"microseconds": 999_999}, True), ({"seconds": 1}, False)])
def test_time_is_exact_to_the_second(later: Mapping[str, float], is_right: bool) -> None:
    assert HOLIDAY.start is not None
    found = Interval(HOLIDAY.start + timedelta(**later), HOLIDAY.end)

    measured = measure(row(), find=finding({"12 and 13 May": found}))

    assert measured.readings[0].is_right is is_right


def test_times_are_asked_for_as_of_the_reference_and_in_the_past() -> None:
    asked: list[tuple[str, datetime, str]] = []

    def find(text: str, *, reference: datetime, prefer: str) -> list[Expression]:
        asked.append((text, reference, prefer))
        return []

    measure(row(), find=find)

    assert asked == [("Away on 12 and 13 May", REFERENCE, "past")]


def test_figures_are_shares_over_all_rows_and_by_source() -> None:
    rows = [row("exact"), row("half", source="b"), row("open", source="b"), row("none", source="b")]
    found = {"exact": HOLIDAY, "half": Interval(may(12), may(13)), "open": Interval(may(12), None)}

    measured = measure(*rows, find=finding(found))

    figures = times.figures(measured.timed)
    assert list(figures) == ["all", "a", "b"]
    assert {key: figures["all"][key] for key in ("n", "not_found")} == {"n": 4, "not_found": 1}
    assert (figures["all"]["exact"]["mean"], figures["all"]["iou@0.5"]["mean"]) == (0.25, 0.5)
    assert figures["a"] == {
        "n": 1,
        "exact": {"mean": 1.0, "low": 1.0, "high": 1.0},
        "iou@0.5": {"mean": 1.0, "low": 1.0, "high": 1.0},
        "not_found": 0,
    }
    assert figures["b"]["iou@0.5"] == {"mean": 0.333333, "low": 0.0, "high": 1.0}


def test_overruled_row_counts_as_a_miss_all_the_same() -> None:
    overrulings = [Overruling("soon", REFERENCE, "A wish is no time.")]

    measured = measure(row("soon"), row("late"), overrulings=overrulings, find=finding({}))

    assert times.figures(measured.timed)["all"]["exact"]["mean"] == 0.0
    assert [reading.overruled for reading in times.faults(measured.readings)] == ["A wish is no time.", None]
    assert measured.stale == ()


def test_overruling_of_no_use_is_told_with_why() -> None:
    used, again = (Overruling("soon", REFERENCE, reason) for reason in ("A wish.", "A hope."))
    nowhere = Overruling("soon", REFERENCE + timedelta(days=1), "Another day.")
    right = Overruling("exact", REFERENCE, "Wrong once.")

    measured = measure(
        row("soon"),
        row("exact"),
        overrulings=[used, nowhere, right, again],
        find=finding({"exact": HOLIDAY}),
    )

    assert measured.stale == (
        (nowhere, "names no row of the data"),
        (right, "the row is read as the corpus has it"),
        (again, "a line before names the same row"),
    )


def test_report_lists_what_is_ours_and_what_is_overruled() -> None:
    overrulings = [Overruling("soon", REFERENCE, "A wish is no time."), Overruling("gone", REFERENCE, "Deleted.")]
    rows = [row("soon"), row("a | b", span="a"), row("b"), row("rat 6", meant=None)]

    measured = measure(*rows, overrulings=overrulings, find=finding({"b": HOLIDAY, "6": HOLIDAY}))

    told = time_report.markdown(measured)
    assert told.startswith("# time: 3 rows with a time, 1 without\n\n## Rows with a time\n\n| rows | n | exact")
    assert "| all  | 3 | 0.333 [0.000, 1.000] | 0.333 [0.000, 1.000] | 2         |" in told
    assert "in 2 rows, whose text holds no such span, the first." in told
    assert told.partition("## Misses\n\n")[2] == (
        "2 (1 ours, 1 overruled) of 3 rows with a time are not exact.\n\n"
        "### Ours (1)\n\n"
        "| text   | reference           | expected                 | found                                   | IoU  |\n"
        "|--------|---------------------|--------------------------|-----------------------------------------|------|\n"
        '| a \\| b | 2021-05-20 09:30:00 | 2021-05-12 to 2021-05-14 | elsewhere "b": 2021-05-12 to 2021-05-14 | 0.00 |'
        "\n\n### Overruled: A wish is no time. (1)\n\n"
        "| text | reference           | expected                 | found   | IoU  |\n"
        "|------|---------------------|--------------------------|---------|------|\n"
        "| soon | 2021-05-20 09:30:00 | 2021-05-12 to 2021-05-14 | nothing | 0.00 |"
        "\n\n## False positives\n\n"
        "1 (1 ours, 0 overruled) of 1 rows without a time had one found in them.\n\n"
        "### Ours (1)\n\n"
        "| text  | reference           | expected | found                         | IoU  |\n"
        "|-------|---------------------|----------|-------------------------------|------|\n"
        '| rat 6 | 2021-05-20 09:30:00 | no time  | "6": 2021-05-12 to 2021-05-14 | 0.00 |'
        "\n\n## Stale overrulings\n\n"
        '- "gone", 2021-05-20 09:30:00: names no row of the data'
        "\n\n## Left out\n\nNothing.\n"
    )


def test_what_was_skipped_is_told_with_its_reason() -> None:
    corpus = Corpus((row("soon", meant=None),), {"rows that end before they start": 2})

    told = time_report.markdown(times.measure(corpus, [], find=finding({})))

    assert told.endswith("## Left out\n\n- 2 rows that end before they start\n")


@pytest.mark.parametrize(
    "changed", [{"text": None}, {"reason": ""}, {"reference": "May"}], ids=["text", "reason", "reference"]
)
def test_malformed_overruling_is_refused(changed: Mapping[str, Any], tmp_path: Path) -> None:
    line = {"text": "soon", "reference": "2021-05-20T09:30:00", "reason": "A wish.", **changed}
    path = written(tmp_path / "overruled.jsonl", [line])

    with pytest.raises(DataUnreadable, match="overruled"):
        times.load_overrulings(path)


def test_shipped_overrulings_give_reasons_in_sentences() -> None:
    overrulings = times.load_overrulings()

    assert [each for each in overrulings if not each.reason.endswith(".")] == []


def test_command_measures_and_keeps_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dated = entry(text="12 May 2021", span=None, end="2021-05-13T00:00:00")
    path = written(tmp_path / "rows.jsonl", [dated, entry(text="we are separated", span=None, start=None, end=None)])

    assert main(["time", "--data", str(path), "--out", str(tmp_path / "out")]) == 0

    assert "| all  | 1 | 1.000 [1.000, 1.000] | 1.000 [1.000, 1.000] | 0         |" in capsys.readouterr().out
    summary = json.loads(next((tmp_path / "out").glob("time-past-*.json")).read_text("utf-8"))
    assert summary["data"]["file"] == "rows.jsonl"
    assert set(summary["memsvc"]) == {"version", "commit", "is_dirty", "code"}
    assert summary["without_time"] == {"n": 1, "false_positives": 0}
    assert summary["misses"] == []


def test_command_tells_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["time", "--data", str(tmp_path / "none.jsonl")]) == 2

    assert times.SOURCE in capsys.readouterr().err


def entry(**changed: Any) -> dict[str, Any]:
    """A line of the data, about two days of May."""
    return {
        "text": "Away on 12 and 13 May",
        "reference": "2021-05-20T09:30:00",
        "span": "12 and 13 May",
        "start": "2021-05-12T00:00:00",
        "end": "2021-05-14T00:00:00",
        "source": "a",
        **changed,
    }


def row(
    text: str = "Away on 12 and 13 May",
    *,
    span: str | None = "12 and 13 May",
    meant: Interval | None = HOLIDAY,
    source: str = "a",
) -> Row:
    """The same as a row; in another text, the first expression counts."""
    return Row(text, REFERENCE, span, meant, source)


def finding(known: Mapping[str, Interval]) -> Finder:
    """A finder that knows some words, each at its first place in the text; what it finds is in no order."""

    def find(text: str, *, reference: datetime, prefer: str) -> list[Expression]:
        return [
            Expression(words, (place, place + len(words)), time.start, time.end, Precision.DAY, is_relative=False)
            for words, time in known.items()
            if (place := text.find(words)) >= 0
        ]

    return find


def measure(*rows: Row, find: Finder, overrulings: list[Overruling] | None = None) -> Measured:
    """The rows as a corpus, measured."""
    return times.measure(Corpus(rows, {}), overrulings or [], find=find)
