"""Draws of times in real turns, with small files of the published shapes and a stand-in that finds single words."""

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evals import sampling
from evals.__main__ import main
from evals.errors import WrongUse
from evals.sampling import Request
from memsvc.intervals import Expression, Precision
from tests.evals.small import written


def test_half_of_the_turns_is_of_each_data_set(tmp_path: Path) -> None:
    found = sampling.sample(request(tmp_path, turns=7), find=find)

    assert found.turns == {"locomo": 3, "longmemeval": 4}
    assert len(found.sightings) == 7


def test_data_set_with_too_few_turns_is_taken_whole_and_the_report_says_so(tmp_path: Path) -> None:
    asked = request(tmp_path, turns=30)

    found = sampling.sample(asked, find=find)

    assert found.turns == {"locomo": 10, "longmemeval": 12}
    told = sampling.markdown(asked, found)
    assert "- locomo has 10 turns, where 15 were asked for\n- longmemeval has 12 turns, where 15" in told


def test_same_seed_draws_the_same_and_another_draws_others(tmp_path: Path) -> None:
    drawn = [
        [each.turn.text for each in sampling.sample(request(tmp_path, seed=seed), find=find).drawn]
        for seed in (7, 7, 8)
    ]

    assert drawn[0] == drawn[1] != drawn[2]


def test_turn_in_words_told_before_is_sampled_once(tmp_path: Path) -> None:
    asked = request(tmp_path, turns=100, histories=3)

    found = sampling.sample(asked, find=find)

    assert found.turns["longmemeval"] == 12
    assert found.left_out == {"turns without words": 1, "turns in words that were told before": 24}


def test_times_are_asked_for_as_of_the_session_and_by_the_tense(tmp_path: Path) -> None:
    asked: set[tuple[datetime, str]] = set()

    def ask(text: str, *, reference: datetime, prefer: str) -> list[Expression]:
        asked.add((reference, prefer))
        return []

    sampling.sample(request(tmp_path, turns=100), find=ask)

    assert asked == {
        (datetime(2023, 5, 8, 13, 56, tzinfo=UTC), "tense"),
        (datetime(2023, 5, 20, 2, 21, tzinfo=UTC), "tense"),
    }


def test_reservoir_keeps_each_item_equally_often_and_in_order() -> None:
    kept = [sampling.reservoir(range(10), 3, seed=seed) for seed in range(2000)]

    assert all(each == sorted(each) and len(each) == 3 for each in kept)
    counts = Counter(item for each in kept for item in each)
    # 600 each on the average; three standard deviations of a binomial count are about 61.
    assert all(520 < counts[item] < 680 for item in range(10))


def test_reservoir_of_fewer_items_holds_them_all() -> None:
    assert sampling.reservoir("ab", 3, seed=0) == ["a", "b"]


def test_draw_shows_the_words_where_they_stand(tmp_path: Path) -> None:
    text = "x" * 300 + " yesterday " + "y" * 300
    asked = request(tmp_path, draw=1, told=[{"speaker": "Ana", "dia_id": "D1:1", "text": text}], histories=0)

    _, paths = sampling.run(asked, tmp_path / "out", find=find)

    assert [json.loads(line) for line in paths[0].read_text("utf-8").splitlines()] == [
        {
            "data_set": "locomo",
            "haystack": "conv-1",
            "place": [0, 0],
            "role": "user",
            "before": "x" * 199 + " ",
            "words": "yesterday",
            "after": " " + "y" * 199,
            "reference": "2023-05-08T13:56:00+00:00",
            "start": "2023-05-07T13:56:00+00:00",
            "end": None,
            "precision": "day",
            "is_relative": True,
        }
    ]


def test_draw_that_may_hold_judgements_is_not_overwritten(tmp_path: Path) -> None:
    asked = request(tmp_path)
    _, paths = sampling.run(asked, tmp_path / "out", find=find)
    paths[0].write_text("judged")

    with pytest.raises(WrongUse, match="perhaps with judgements"):
        sampling.run(asked, tmp_path / "out", find=find)

    assert paths[0].read_text() == "judged"


def test_report_counts_expressions_by_data_set_and_precision(tmp_path: Path) -> None:
    asked = request(tmp_path, turns=100, draw=4)

    told = sampling.markdown(asked, sampling.sample(asked, find=find))

    assert told.startswith(
        "# sample: 22 turns, 22 expressions, 4 of these drawn\n\n"
        "|                    | locomo | longmemeval | all   |\n"
        "|--------------------|--------|-------------|-------|\n"
        "| turns              | 10     | 12          | 22    |\n"
        "| expressions        | 10     | 12          | 22    |\n"
        "| expressions a turn | 1.000  | 1.000       | 1.000 |\n"
        "| to the day         | 10     | 12          | 22    |\n"
        "| drawn              |"
    )


def test_command_draws_and_keeps_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = request(tmp_path).paths
    arguments = ["--turns", "8", "--draw", "2", "--seed", "3", "--out", str(tmp_path / "out")]

    done = main(["sample", *(part for name in paths for part in (f"--{name}", str(paths[name]))), *arguments])

    assert done == 0
    assert "| turns              | 4      | 4           | 8     |" in capsys.readouterr().out
    summary = json.loads(next((tmp_path / "out").glob("sample-seed-3-*.json")).read_text("utf-8"))
    assert (summary["turns"], summary["drawn"]) == ({"locomo": 4, "longmemeval": 4}, 2)
    assert len(next((tmp_path / "out").glob("sample-seed-3-*.jsonl")).read_text("utf-8").splitlines()) == 2


def request(
    folder: Path,
    *,
    turns: int = 16,
    draw: int = 4,
    seed: int = 7,
    histories: int = 1,
    told: list[dict[str, Any]] | None = None,
) -> Request:
    """A chat of ten turns with words, and histories that all tell the same twelve turns."""
    chat = [{"speaker": "Ana", "dia_id": f"D1:{n}", "text": f"I ran {n} miles yesterday."} for n in range(10)]
    photo = {"speaker": "Ben", "dia_id": "D1:10", "text": "", "blip_caption": "a photo of a dog"}
    conversation = {"session_1_date_time": "1:56 pm on 8 May, 2023", "session_1": told or [*chat, photo]}
    session = [{"role": "user", "content": f"I swam {n} lanes yesterday."} for n in range(12)]
    question = {
        "question_type": "single",
        "question": "How many?",
        "answer": 5,
        "question_date": "2023/05/30 (Tue) 23:40",
        "answer_session_ids": ["a"],
        "haystack_dates": ["2023/05/20 (Sat) 02:21"],
        "haystack_session_ids": ["a"],
        "haystack_sessions": [session],
    }
    paths = {
        "locomo": written(folder / "l.json", [{"sample_id": "conv-1", "conversation": conversation, "qa": []}]),
        "longmemeval": written(folder / "s.json.gz", [{**question, "question_id": f"q{n}"} for n in range(histories)]),
    }
    return Request(paths, turns=turns, draw=draw, seed=seed)


def find(text: str, *, reference: datetime, prefer: str) -> list[Expression]:
    """Each "yesterday", which is taken for the day and night before and left open."""
    return [
        Expression(found[0], found.span(), reference - timedelta(days=1), None, Precision.DAY, is_relative=True)
        for found in re.finditer("yesterday", text)
    ]
