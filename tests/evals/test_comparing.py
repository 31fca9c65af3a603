"""Comparisons of two results, by hand where the bootstrap leaves no choice."""

import json
from pathlib import Path
from typing import Any

import pytest

from evals import comparing
from evals.errors import DataUnreadable, WrongUse
from evals.figures import figures
from tests.evals.small import Json, line

FOUND, LOST = [(0, 0), (1, 2)], [(5, 5), (5, 6)]


def test_questions_are_paired_by_their_ids(tmp_path: Path) -> None:
    # Each rises or stays; unpaired, half against three quarters of eight would be within chance.
    rankings = [FOUND] * 4 + [LOST] * 4
    before = _result(tmp_path / "a.json", [line(f"q{n}", turns=rankings[n]) for n in range(8)])
    after = _result(tmp_path / "b.json", [line(f"q{n}", turns=FOUND) for n in reversed(range(8))])

    found = comparing.compare(before, after)

    assert found.method == "paired bootstrap over the questions that both were asked"
    change = _of(found, "turn_recall@5")
    assert (change.before, change.after, change.n) == (0.5, 1.0, (8, 8))
    assert 0 < change.low < 0.5 < change.high
    assert change.is_outside


def test_paired_difference_that_is_the_same_everywhere_has_no_width(tmp_path: Path) -> None:
    before = _result(tmp_path / "a.json", [line(f"q{n}", turns=LOST) for n in range(5)])
    after = _result(tmp_path / "b.json", [line(f"q{n}", turns=FOUND) for n in range(5)])

    change = _of(comparing.compare(before, after), "turn_recall@5")

    assert (change.low, change.high, change.is_outside) == (1.0, 1.0, True)


def test_equal_results_have_no_difference(tmp_path: Path) -> None:
    one = _result(tmp_path / "a.json", [line("q1"), line("q2", turns=LOST)])

    found = comparing.compare(one, one)

    assert {(change.low, change.high, change.is_outside) for change in found.changes} == {(0.0, 0.0, False)}


def test_only_questions_that_both_were_asked_are_paired(tmp_path: Path) -> None:
    before = _result(tmp_path / "a.json", [line("q1", turns=FOUND), line("q2", turns=LOST)])
    after = _result(tmp_path / "b.json", [line("q2", turns=LOST), line("q3", turns=FOUND)])

    change = _of(comparing.compare(before, after), "turn_recall@5")

    assert (change.before, change.after, change.n) == (0.0, 0.0, (1, 1))


def test_other_data_are_compared_without_pairs(tmp_path: Path) -> None:
    before = _result(tmp_path / "a.json", [line("q1", turns=FOUND), line("q2", turns=LOST)])
    after = _result(tmp_path / "b.json", [line("q1", turns=FOUND)] * 1, data={"sha256": "other"})

    found = comparing.compare(before, after)

    assert found.method == "unpaired bootstrap: the data files differ"
    change = _of(found, "turn_recall@5")
    # One side is a coin, the other a one: the difference lies between nothing and one.
    assert (change.before, change.after, change.low, change.high, change.n) == (0.5, 1.0, 0.0, 1.0, (2, 1))


def test_without_raw_lines_the_intervals_are_compared(tmp_path: Path) -> None:
    before = _result(tmp_path / "a.json", [line("q1")])
    after = _result(tmp_path / "b.json", [line("q1")])
    _change(before, lambda found: found["figures"]["all"].update({"turn_recall@5": _figure(0.5, 0.4, 0.6)}))
    _change(after, lambda found: found["figures"]["all"].update({"turn_recall@5": _figure(0.8, 0.7, 0.9)}))
    (tmp_path / "a.jsonl").unlink()

    found = comparing.compare(before, after)

    assert found.method.startswith("unpaired, from the two intervals: the raw lines of ")
    change = _of(found, "turn_recall@5")
    # √(0.1² + 0.1²) to either side of 0.3.
    assert [change.low, change.high] == pytest.approx([0.3 - 0.141421, 0.3 + 0.141421], abs=1e-5)
    assert change.is_outside


@pytest.mark.parametrize(
    ("changed", "reason"),
    [({"data_set": "locomo"}, "of chats and .* of locomo"), ({"metrics": 99}, "metrics of version")],
)
def test_results_of_different_kinds_are_not_compared(tmp_path: Path, changed: Json, reason: str) -> None:
    before = _result(tmp_path / "a.json", [line("q1")])
    after = _result(tmp_path / "b.json", [line("q1")], **changed)

    with pytest.raises(WrongUse, match=reason):
        comparing.compare(before, after)


def test_results_without_a_question_in_common_are_not_compared(tmp_path: Path) -> None:
    before = _result(tmp_path / "a.json", [line("q1")])
    after = _result(tmp_path / "b.json", [line("q2")])

    with pytest.raises(WrongUse, match="no question in common"):
        comparing.compare(before, after)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"data_set": "chats"'])
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)

    with pytest.raises(DataUnreadable, match="no result"):
        comparing.compare(path, path)


def test_table_says_what_lies_outside(tmp_path: Path) -> None:
    before = _result(tmp_path / "a.json", [line(f"q{n}", turns=LOST) for n in range(5)])
    after = _result(tmp_path / "b.json", [line(f"q{n}", turns=FOUND) for n in range(5)])

    table = comparing.markdown(comparing.compare(before, after))

    assert "| all | turn_recall@5 | 5 | 0.000 | 1.000 | +1.000 | [+1.000, +1.000] | yes |" in table
    assert "| all | session_ndcg@10 | 5 | 0.651 | 0.651 | +0.000 | [+0.000, +0.000] | no |" in table


def _result(path: Path, lines: list[Json], **changed: Any) -> Path:
    raw = path.with_suffix(".jsonl")
    raw.write_text("".join(json.dumps(each) + "\n" for each in lines))
    summary = {
        "data_set": "chats",
        "data": {"sha256": "00ff"},
        "metrics": 1,
        "figures": figures(lines),
        "answers": None,
        "raw": raw.name,
        "cases": [each["case"] for each in lines],
        **changed,
    }
    path.write_text(json.dumps(summary))
    return path


def _change(path: Path, change: Any) -> None:
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def _figure(mean: float, low: float, high: float) -> Json:
    return {"mean": mean, "low": low, "high": high, "n": 100, "skipped": 0}


def _of(found: comparing.Comparison, name: str) -> comparing.Change:
    return next(change for change in found.changes if (change.group, change.name) == ("all", name))
