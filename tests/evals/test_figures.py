"""Figures from raw lines, by hand."""

import math

import pytest

from evals import figures
from tests.evals.small import line


def test_values_of_a_question_by_hand() -> None:
    # Evidence turns at ranks 1 and 6; evidence sessions at ranks 2 and 4.
    textbook = (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3))
    official = (1 + 1 / math.log2(4)) / (1 + 1)

    assert figures.values_of(line()) == {
        "turn_recall@5": 0.5,
        "turn_recall@10": 1.0,
        "turn_recall@20": 1.0,
        "turn_recall@50": 1.0,
        "turn_recall_all@10": 1.0,
        "session_recall_any@5": 1.0,
        "session_recall_all@5": 1.0,
        "session_recall_all@10": 1.0,
        "session_ndcg@10": pytest.approx(textbook),
        "session_ndcg_official@10": pytest.approx(official),
        "context_whole@1000": 0.0,
        "context_whole@2000": 1.0,
        "context_whole@4000": 1.0,
        "context_whole@8000": 1.0,
    }


def test_line_from_disk_has_the_same_values() -> None:
    read = line(evidence=[[0, 0], [1, 2]], turns=[[0, 0], [2, 0], [2, 1], [3, 0], [3, 1], [1, 2]])

    assert figures.values_of(read) == figures.values_of(line())


def test_question_without_evidence_turns_is_scored_by_its_sessions() -> None:
    contexts = {"2000": {"tokens": 1, "whole": None}}
    bare = line(evidence=[], contexts=contexts)

    assert set(figures.values_of(bare)) == {name for name in figures.ACCESS if name.startswith("session")}
    assert figures.skipped([bare, line(evidence=[], evidence_sessions=[], contexts=contexts)]) == {
        "questions without evidence turns (their sessions are scored)": 1,
        "questions without any evidence": 1,
    }


def test_whole_history_has_a_context_and_no_ranking() -> None:
    full = line(turns=None, sessions=None, contexts={"all": {"tokens": 5000, "whole": True}}, ms={})

    assert figures.values_of(full) == {"context_whole@all": 1.0}
    assert figures.cost([full], [])["context_tokens"] == {"p50": 5000, "p95": 5000}


def test_figures_are_means_by_group_with_the_number_scored_and_skipped() -> None:
    found = figures.figures(
        [
            line("q1", turns=[(0, 0), (1, 2)]),
            line("q2", turns=[(5, 5)], groups=["all", "multi"]),
            line("q3", evidence=[], groups=["all", "multi"]),
        ]
    )

    assert set(found) == {"all", "single", "multi"}
    assert found["all"]["turn_recall@5"] == {"mean": 0.5, "low": 0.0, "high": 1.0, "n": 2, "skipped": 1}
    assert found["single"]["turn_recall@5"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "n": 1, "skipped": 0}
    assert found["multi"]["turn_recall@5"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "n": 1, "skipped": 1}
    assert found["all"]["session_recall_all@10"]["n"] == 3


def test_cost_is_told_over_all_questions_and_histories() -> None:
    lines = [line(ms={"turn": [float(number), number / 2]}) for number in range(1, 21)]
    haystacks = [
        {"turns": 10, "index_bytes": 9000, "index_bytes_empty": 1000, "record_s": 2.0},
        {"turns": 30, "index_bytes": 31000, "index_bytes_empty": 1000, "record_s": 2.0},
    ]

    assert figures.cost(lines, haystacks) == {
        "recall_ms": {"turn": {"client": {"p50": 10.0, "p95": 19.0}, "service": {"p50": 5.0, "p95": 9.5}}},
        "context_tokens": {"p50": 1990, "p95": 1990},
        "index_bytes_a_turn": 1000.0,
        "index_bytes_a_turn_marginal": 950.0,
        "turns_recorded_a_second": 10.0,
    }


def test_size_of_a_service_elsewhere_is_unknown() -> None:
    cost = figures.cost([line()], [{"turns": 10, "record_s": 2.0}])

    assert cost["index_bytes_a_turn"] is None
    assert cost["index_bytes_a_turn_marginal"] is None


def test_answers_are_meant_over_questions_and_over_types() -> None:
    def answered(case: str, category: str, right: bool | None) -> dict[str, object]:
        skipped = "judge: HTTP 500" if right is None else None
        told = {"hypothesis": "x", "is_right": right, "skipped": skipped, "llm_calls": 2, "llm_tokens": 100}
        return line(case, category=category, groups=["all", category], answered=told)

    lines = [
        answered("q1", "single", True),
        answered("q2", "single", True),
        answered("q3", "time", False),
        answered("q4", "time", None),
    ]
    found = figures.answers(lines)

    assert found is not None
    assert found["figures"]["all"]["answer_accuracy"]["mean"] == pytest.approx(2 / 3, abs=1e-6)
    assert (found["figures"]["all"]["answer_accuracy"]["n"], found["mean_over_types"]) == (3, 0.5)
    assert (found["llm_calls_a_question"], found["llm_tokens_a_question"]) == (2.0, 100.0)
    assert found["kept"] == {}
    assert figures.skipped(lines) == {"answers: judge: HTTP 500": 1}


def test_answers_that_were_not_asked_for_are_none() -> None:
    assert figures.answers([line()]) is None


def test_answer_is_from_the_cache_when_all_of_it_is() -> None:
    def answered(case: str, calls: int, kept: int) -> dict[str, object]:
        told = {"is_right": True, "skipped": None, "llm_calls": calls, "llm_kept": kept, "llm_tokens": 0}
        return line(case, answered=told)

    found = figures.answers([answered("q1", 2, 2), answered("q2", 2, 1), answered("q3", 2, 0)])

    assert found is not None
    assert found["kept"] == {"all": 1, "single": 1}


def test_facts_are_meant_over_histories_and_what_they_took_is_summed() -> None:
    spent = {"calls": 3, "cached_calls": 1, "prompt_tokens": 900, "completion_tokens": 90, "estimated_calls": 0}
    haystacks = [
        {"sessions": 4, "facts": {"llm": 6, "rules": 0}, "undrawn": 1, "extraction": spent},
        {"sessions": 2, "facts": {"llm": 3, "rules": 2}, "undrawn": 0, "extraction": spent},
    ]

    assert figures.facts(haystacks) == {
        "histories": 2,
        "sessions": 6,
        "a_history": {"llm": 4.5, "rules": 1},
        "undrawn_sessions": 1,
        "extraction": {name: 2 * count for name, count in spent.items()},
    }
    assert figures.undrawn(haystacks) == {"sessions of which no facts could be drawn": 1}


def test_what_a_service_elsewhere_took_is_not_known() -> None:
    told = figures.facts([{"sessions": 4, "facts": {"llm": 6, "rules": 0}, "undrawn": 0}])

    assert told is not None
    assert told["extraction"] is None
    assert figures.facts([{"sessions": 4}]) is None
