"""Raw results: appended, found again, and never mixed with those of something else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evals.configs import Config
from evals.errors import EvaluationFailed
from evals.results import Identity, ResultFile, cases_of, code_checksum, tuned_as
from tests.evals.small import line

IDENTITY = Identity("chats", "00ff", {"name": "ours", "settings": {}}, "c0de")


def test_lines_are_found_again(tmp_path: Path) -> None:
    first = ResultFile(tmp_path, IDENTITY)
    first.add(line("q1"))
    first.add({"of_haystack": "h1", "turns": 3})
    first.close()

    again = ResultFile(tmp_path, IDENTITY)

    assert again.cases == {"q1": json.loads(json.dumps(line("q1")))}
    assert again.haystacks == {"h1": {"of_haystack": "h1", "turns": 3}}
    assert (again.has("q1"), again.has("q2"), again.replaced) == (True, False, None)
    again.close()


def test_line_that_was_cut_off_is_dropped_and_its_place_used_again(tmp_path: Path) -> None:
    first = ResultFile(tmp_path, IDENTITY)
    first.add(line("q1"))
    first.add(line("q2"))
    first.close()
    first.path.write_bytes(first.path.read_bytes()[:-30])
    assert set(cases_of(first.path)) == {"q1"}

    again = ResultFile(tmp_path, IDENTITY)
    again.add(line("q3"))
    again.close()

    assert set(cases_of(again.path)) == {"q1", "q3"}


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (replace(IDENTITY, sha256="1111"), "the data changed since"),
        (replace(IDENTITY, code="0ther"), "memsvc's code changed since"),
        (replace(IDENTITY, config={"name": "ours", "settings": {"depth": 5}}), "the config changed since"),
        (replace(IDENTITY, sha256="1111", llm="m"), "the data and the LLM changed since"),
    ],
)
def test_changed_identity_starts_anew_and_says_what_changed(tmp_path: Path, other: Identity, reason: str) -> None:
    first = ResultFile(tmp_path, IDENTITY)
    first.add(line("q1"))
    first.close()

    anew = ResultFile(tmp_path, other)

    assert anew.cases == {}
    assert anew.replaced == f"{reason} {first.path.name}"
    assert set(cases_of(first.path)) == {"q1"}
    anew.close()


def test_two_runs_do_not_write_at_once(tmp_path: Path) -> None:
    first = ResultFile(tmp_path, IDENTITY)

    with pytest.raises(EvaluationFailed, match="Another run"):
        ResultFile(tmp_path, IDENTITY)

    first.close()
    ResultFile(tmp_path, IDENTITY).close()


def test_answer_whose_call_failed_is_asked_again(tmp_path: Path) -> None:
    file = ResultFile(tmp_path, IDENTITY)

    file.add(line("q1", answered={"is_right": None, "skipped": "reader: timed out"}))
    file.add(line("q2", answered={"is_right": False, "skipped": None}))

    assert (file.has("q1"), file.has("q2")) == (False, True)
    file.close()


def test_case_that_was_recalled_waits_until_it_is_read(tmp_path: Path) -> None:
    file = ResultFile(tmp_path, IDENTITY)

    file.add(line("q1", reading="[2024-01-05] Ben: My zebra lives in Oslo."))
    before = file.has("q1"), file.waits("q1")
    file.add(line("q1", answered={"is_right": True, "skipped": None}))

    assert before == (False, True)
    assert (file.has("q1"), file.waits("q1"), file.waits("q2")) == (True, False, False)
    file.close()


def test_model_trained_anew_under_the_same_path_is_another_config(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    weights = tmp_path / "model" / "weights.bin"
    weights.write_bytes(b"one")
    config = Config("mine", "A.", None, {"encoder": str(tmp_path / "model"), "depth": 5})
    before = tuned_as(config)

    weights.write_bytes(b"two")

    assert tuned_as(config) != before
    assert {**tuned_as(config), "files": None} == {**before, "files": None}
    assert tuned_as(replace(config, about="In other words.")) == tuned_as(config)


def test_checksum_of_the_code_is_the_same_each_time() -> None:
    assert code_checksum() == code_checksum()
    assert len(code_checksum()) == 12
