"""Batches: requests are written once, in a file that is always whole, and answers are taken or told why not."""

from pathlib import Path

import pytest

from evals.batches import Taken, read_responses, writing
from evals.errors import DataUnreadable
from evals.kept import RequestLine, request_line
from memsvc.inference.llm_cache import ResponseCache, Stored
from tests.evals.models import lines_of, write_lines
from tests.llm import Body, completion

KEYS = ["a" * 64, "b" * 64, "c" * 64]


def test_requests_are_written_once_and_take_the_place_of_earlier_ones(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "batch" / "requests.jsonl", ["an earlier one"])

    with writing(path) as pending:
        pending.add("one", ["q1", "q2"], [("extract", _line(KEYS[0])), ("extract", _line(KEYS[1]))])
        pending.add("two", ["q1"], [("extract", _line(KEYS[1])), ("read", _line(KEYS[2]))])
        assert path.read_text() == "an earlier one\n"

    assert lines_of(path) == [_line(key) for key in KEYS]
    assert [each.name for each in path.parent.iterdir()] == ["requests.jsonl"]
    assert bool(pending)
    assert pending.in_words() == (
        "3 requests are pending: 2 of extraction, 1 of reading.\n\nNot scored:\n- one: 2 (q1, q2)\n- two: 1 (q1)"
    )


def test_file_is_empty_when_nothing_is_pending(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "requests.jsonl", ["an earlier one"])

    with writing(path) as pending:
        pass

    assert (path.read_text(), bool(pending)) == ("", False)


def test_run_that_ends_early_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "requests.jsonl", ["an earlier one"])

    def interrupted() -> None:
        with writing(path) as pending:
            pending.add("one", ["q1"], [("extract", _line(KEYS[0]))])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("requests.jsonl", "an earlier one\n")]


def test_pending_requests_are_counted_where_no_file_is_wanted() -> None:
    with writing(None) as pending:
        pending.add("one", ["q1"], [("judge", _line(KEYS[0]))])

    assert pending.in_words().startswith("1 requests are pending: 1 of judging.")


def test_answers_are_taken_and_the_rest_is_told_by_reason(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path / "cache")
    requests = write_lines(tmp_path / "requests.jsonl", [_line(KEYS[0]), _line(KEYS[1])])
    good = completion("In Oslo.")
    output = [
        _answer(KEYS[0], good),
        _answer(KEYS[1], {"error": "busy"}, status=500),
        _answer(KEYS[1], good, status=429),
        _answer(KEYS[1], {**good, "choices": []} | {"choices": None}, error="expired"),
        _answer(KEYS[1], {"no": "choices"}),
        _answer(KEYS[2], good),
        _answer("mine", good),
        "[]",
        "{cut off",
        "",
    ]

    taken = read_responses(write_lines(tmp_path / "output.jsonl", output), cache, requests=requests)

    reasons = {
        "errors (status 500)": 1,
        "errors (status 429)": 1,
        "errors (status 200)": 1,
        "lines without a completion": 1,
        "lines of an unknown request": 2,
        "lines without a response": 1,
        "lines that are no JSON": 1,
    }
    assert taken == Taken(1, reasons)
    assert [cache.find(key) for key in KEYS] == [Stored(None, good), None, None]
    assert Taken(1, {"errors (status 500)": 2}).in_words() == (
        "1 answers of the batch were read; 2 errors (status 500)."
    )


def test_without_the_file_of_requests_any_key_is_taken(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path / "cache")
    output = write_lines(
        tmp_path / "output.jsonl", [_answer(KEYS[0], completion("x")), _answer("mine", completion("x"))]
    )

    taken = read_responses(output, cache, requests=None)

    assert taken == Taken(1, {"lines of an unknown request": 1})
    assert read_responses(output, cache, requests=tmp_path / "none.jsonl") == taken


@pytest.mark.parametrize("content", ["{}", "[1]", "no JSON", '{"custom_id": "x", "body": 1}'])
def test_file_that_holds_no_requests_is_told(tmp_path: Path, content: str) -> None:
    requests = write_lines(tmp_path / "requests.jsonl", [content])
    output = write_lines(tmp_path / "output.jsonl", [])

    with pytest.raises(DataUnreadable, match=r"requests\.jsonl is no file of requests"):
        read_responses(output, ResponseCache(tmp_path / "cache"), requests=requests)


def _line(key: str) -> RequestLine:
    return request_line(key, {"model": "m", "messages": []})


def _answer(key: str, body: Body, *, status: int = 200, error: object = None) -> Body:
    return {"custom_id": key, "response": {"status_code": status, "body": body}, "error": error}
