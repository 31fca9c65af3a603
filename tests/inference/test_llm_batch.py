"""Questions that are written for a batch, and the answers that a batch brings."""

import json
from pathlib import Path
from typing import Any

import pytest

from memsvc.errors import LlmAnswerCutOff, LlmAnswerInvalid, LlmPending, LlmUnavailable
from memsvc.inference.llm import LlmAccess, Message, Reply, Spent
from memsvc.inference.llm_batch import BatchLlm, read_responses
from memsvc.inference.llm_cache import ResponseCache
from memsvc.inference.llm_requests import request_key
from tests.doubles import together
from tests.llm import Body, completion

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
GOOD: Body = {"ok": True}
BONN: list[Message] = [{"role": "user", "content": "I live in Bonn."}]
ROME: list[Message] = [{"role": "user", "content": "I live in Rome."}]


class Batch:
    """A batch in a folder: its cache, its requests, and the output that a test writes."""

    def __init__(self, folder: Path) -> None:
        self.cache = ResponseCache(folder / "answers")
        self.requests = folder / "batch" / "requests.jsonl"
        self.output = folder / "output.jsonl"

    def llm(self) -> BatchLlm:
        return BatchLlm(LlmAccess("", "a-model", models={"answer": "another"}), self.cache, self.requests)

    def ask(self, messages: list[Message] = BONN, **options: Any) -> Reply:
        return self.llm().ask(messages, name="extract", schema=SCHEMA, **options)

    def pend(self, *asked: list[Message]) -> None:
        for messages in asked:
            with pytest.raises(LlmPending):
                self.ask(messages)

    def lines(self) -> list[Body]:
        return [json.loads(line) for line in self.requests.read_text().splitlines()]

    def answer(self, *lines: Body | str) -> tuple[int, list[str]]:
        self.output.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
        return read_responses(self.output, self.cache, self.requests)


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path)


def key_of(messages: list[Message] = BONN) -> str:
    return request_key("a-model", messages, name="extract", schema=SCHEMA, max_tokens=4096)


def response(body: object, *, key: str | None = None, status: int = 200, error: object = None) -> Body:
    answered = {"status_code": status, "request_id": "r-1", "body": body}
    return {"id": "b-1", "custom_id": key or key_of(), "response": answered, "error": error}


def test_question_is_written_as_a_line_of_a_batch(batch: Batch) -> None:
    batch.pend(BONN)

    form = {"type": "json_schema", "json_schema": {"name": "extract", "schema": SCHEMA, "strict": True}}
    assert batch.lines() == [
        {
            "custom_id": key_of(),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": "a-model",
                "messages": BONN,
                "temperature": 0,
                "max_tokens": 4096,
                "response_format": form,
            },
        }
    ]


def test_pending_question_is_an_outage_for_those_who_wait() -> None:
    assert issubclass(LlmPending, LlmUnavailable)


def test_task_is_written_for_the_model_that_is_named_for_it(batch: Batch) -> None:
    with pytest.raises(LlmPending):
        batch.llm().ask(BONN, name="answer", schema=SCHEMA)

    assert batch.lines()[0]["body"]["model"] == "another"


def test_question_is_written_once_over_several_runs(batch: Batch) -> None:
    batch.pend(BONN, BONN, ROME, BONN)

    assert [line["custom_id"] for line in batch.lines()] == [key_of(BONN), key_of(ROME)]


def test_question_is_written_once_by_many_threads(batch: Batch) -> None:
    llm = batch.llm()

    raised = together(*[lambda: llm.ask(BONN, name="extract", schema=SCHEMA)] * 8)

    assert [type(error) for error in raised] == [LlmPending] * 8
    assert len(batch.lines()) == 1


def test_line_that_a_crash_cut_is_written_again(batch: Batch) -> None:
    batch.pend(BONN, ROME)
    whole = batch.requests.read_text()
    batch.requests.write_text(whole[:-20])

    batch.pend(BONN, ROME)

    assert batch.requests.read_text() == whole


def test_answer_of_a_batch_is_given(batch: Batch) -> None:
    batch.pend(BONN, ROME)

    taken = batch.answer(response(completion(f"```json\n{json.dumps(GOOD)}\n```")))

    assert taken == (1, [])
    assert batch.ask() == Reply(GOOD, Spent("a-model", 0, 0, 0, is_estimated=False, is_cached=True))
    batch.pend(ROME)
    assert len(batch.lines()) == 2


@pytest.mark.parametrize(
    ("body", "reason"),
    [(completion("prose"), "no JSON object"), (completion({"ok": 1}), "it.ok is not"), ({}, "no choice")],
    ids=["prose", "another schema", "no completion"],
)
def test_bad_answer_of_a_batch_is_invalid_and_not_asked_for_again(batch: Batch, body: Body, reason: str) -> None:
    batch.pend(BONN)
    batch.answer(response(body))

    with pytest.raises(LlmAnswerInvalid, match=reason):
        batch.ask()

    assert len(batch.lines()) == 1


def test_answer_of_a_batch_that_is_cut_off_is_cut_off(batch: Batch) -> None:
    batch.pend(BONN)
    batch.answer(response(completion('{"ok": true}', finish_reason="length")))

    with pytest.raises(LlmAnswerCutOff):
        batch.ask()


def test_answer_of_a_batch_that_the_caller_does_not_accept_is_invalid(batch: Batch) -> None:
    batch.pend(BONN)
    batch.answer(response(completion(GOOD)))

    def check(_content: Body) -> None:
        raise ValueError("a quote is not in the text")

    with pytest.raises(LlmAnswerInvalid, match="a quote is not in the text"):
        batch.ask(check=check)


def test_kept_answer_that_is_not_accepted_any_more_is_written_for_the_batch(batch: Batch) -> None:
    batch.cache.keep(key_of(), name="extract", model="a-model", content={"ok": False}, usage={})

    def check(content: Body) -> None:
        if content != GOOD:
            raise ValueError("no")

    with pytest.raises(LlmPending):
        batch.ask(check=check)
    batch.answer(response(completion(GOOD)))

    assert batch.ask(check=check).content == GOOD


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"custom_id": ', "it is no JSON"),
        ("", "it is no JSON"),
        ("[]", "it has no response"),
        ({"custom_id": key_of(), "response": None, "error": {"message": "expired"}}, "it has no response"),
        (response(completion(GOOD), error={"code": "x"}), "the endpoint answered 200 with an error"),
        (response({"error": {"message": "too long"}}, status=400), "the endpoint answered 400"),
        (response(None), "its response has no completion"),
        (response(completion(GOOD), key="0" * 64), "no request has its custom_id"),
        (response(completion(GOOD), key="../../escape"), "no request has its custom_id"),
    ],
    ids=["cut", "blank", "a list", "expired", "an error", "refused", "no body", "unknown", "a path"],
)
def test_line_that_brings_no_answer_is_skipped_with_a_reason(batch: Batch, line: Body | str, reason: str) -> None:
    batch.pend(BONN, ROME)

    taken = batch.answer(line, response(completion(GOOD), key=key_of(ROME)))

    assert taken == (1, [f"line 1: {reason}"])
    assert batch.ask(ROME).content == GOOD
    batch.pend(BONN)


def test_answers_without_requests_are_nobodys(batch: Batch) -> None:
    assert batch.answer(response(completion(GOOD))) == (0, ["line 1: no request has its custom_id"])
