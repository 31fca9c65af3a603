"""Reader and judge, against a small OpenAI-compatible server on a real socket that says what the test has it say."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from evals import judging
from evals.cases import Case
from evals.judging import Assessor, ModelJudge, ModelReader, rule_of, verdict_of
from evals.llm import ChatModel, LLMAccess
from tests.doubles import listening

READ, YES, NO = "In Oslo.", "Yes.", "no"


class Scripted:
    """Gives its answers one after the other; a number is a status, a text a completion of twelve tokens."""

    def __init__(self) -> None:
        self.script: list[Any] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.app = FastAPI()

        @self.app.post("/v1/chat/completions")
        async def complete(request: Request) -> Response:
            self.asked.append(await request.json())
            self.keys.append(request.headers.get("authorization"))
            said = self.script.pop(0)
            if isinstance(said, int):
                return Response(status_code=said, headers={"Retry-After": "0"})
            if isinstance(said, dict):
                return JSONResponse(said)
            return JSONResponse({"choices": [{"message": {"content": said}}], "usage": {"total_tokens": 12}})


@pytest.fixture
def llm() -> Iterator[Scripted]:
    """A scripted model; what it was not asked for at the end is a failure of the test."""
    scripted = Scripted()
    yield scripted
    assert scripted.script == []


@pytest.fixture
def url(llm: Scripted) -> Iterator[str]:
    with listening(llm.app) as address:
        yield f"{address}/v1"


def test_answer_is_read_from_the_context_and_judged(llm: Scripted, url: str) -> None:
    llm.script = [READ, YES]

    found = _assessor(url).answer(_case(), "[2024-01-05] Ben: My zebra lives in Oslo.")

    counts = {"llm_calls": 2, "llm_kept": 0, "llm_tokens": 24}
    expected = {"hypothesis": READ, "is_right": True, "skipped": None, **counts}
    assert found == expected
    reading, judged = ("\n".join(message["content"] for message in asked["messages"]) for asked in llm.asked)
    assert "My zebra lives in Oslo." in reading
    assert "Today is Sunday, 2024-01-07 10:00." in reading
    assert "Correct answer" not in reading
    assert "Correct answer: Oslo\nResponse: In Oslo." in judged
    assert [(asked["model"], asked["temperature"]) for asked in llm.asked] == [("m", 0)] * 2
    assert llm.keys == ["Bearer secret"] * 2


def test_wrong_answer_is_wrong(llm: Scripted, url: str) -> None:
    llm.script = ["In Rome.", NO]

    assert _assessor(url).answer(_case(), "")["is_right"] is False


@pytest.mark.parametrize(
    ("script", "skipped", "hypothesis", "calls"),
    [
        pytest.param([500] * 4, "reader: HTTP 500", None, 1, id="reader down"),
        pytest.param([400], "reader: HTTP 400", None, 1, id="reader refuses"),
        pytest.param([READ, 429, 429, 429, 429], "judge: HTTP 429", READ, 2, id="judge overloaded"),
        pytest.param([READ, "Maybe."], "judge: neither yes nor no", READ, 2, id="unreadable verdict"),
        pytest.param([""], "reader: answered with no text", None, 1, id="empty answer"),
        pytest.param(
            [{"choices": []}], "reader: answered with something else than a completion", None, 1, id="no completion"
        ),
    ],
)
def test_failed_call_is_skipped_and_never_wrong(
    llm: Scripted, url: str, script: list[Any], skipped: str, hypothesis: str | None, calls: int
) -> None:
    llm.script = list(script)

    found = _assessor(url).answer(_case(), "")

    assert (found["is_right"], found["skipped"], found["hypothesis"]) == (None, skipped, hypothesis)
    assert found["llm_calls"] == calls


@pytest.mark.parametrize("trouble", [[429], [503, 500], [502, 429, 504]])
def test_overloaded_model_is_asked_again(llm: Scripted, url: str, trouble: list[int]) -> None:
    llm.script = [*trouble, READ, *trouble, YES]

    assert _assessor(url).answer(_case(), "")["is_right"] is True


def test_model_that_is_not_there_is_skipped() -> None:
    with listening(FastAPI()) as address:
        gone = f"{address}/v1"

    assert _assessor(gone).answer(_case(), "")["skipped"] == "reader: cannot be reached"


def test_slow_model_is_skipped() -> None:
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def never(request: Request) -> Response:
        import asyncio

        await asyncio.sleep(1)
        return Response()

    with listening(app) as address:
        model = ChatModel(LLMAccess(f"{address}/v1", "m"), timeout_s=0.05, first_pause_s=0)
        found = Assessor("chats", ModelReader(model), ModelJudge(model)).answer(_case(), "")

    assert found["skipped"] == "reader: timed out"


@pytest.mark.parametrize(
    ("data_set", "case", "rule"),
    [
        ("longmemeval", {"category": "temporal-reasoning"}, judging.LONGMEMEVAL["temporal-reasoning"]),
        ("longmemeval", {"category": "knowledge-update"}, judging.LONGMEMEVAL["knowledge-update"]),
        ("longmemeval", {"category": "single-session-preference"}, judging.LONGMEMEVAL["single-session-preference"]),
        ("longmemeval", {"category": "multi-session"}, judging.PLAIN),
        ("longmemeval", {"category": "temporal-reasoning", "is_abstention": True}, judging.ABSTAINING),
        ("locomo", {"category": "temporal"}, judging.LOCOMO),
        ("locomo", {"category": "adversarial"}, judging.ABSTAINING),
        ("chats", {"category": "time"}, judging.LOCOMO),
    ],
)
def test_each_kind_of_question_has_its_rule(data_set: str, case: dict[str, Any], rule: str) -> None:
    assert rule_of(data_set, _case(**case)) == rule


def test_rules_say_what_they_forgive() -> None:
    assert "off by one is no mistake" in judging.LONGMEMEVAL["temporal-reasoning"]
    assert "older values too is correct" in judging.LONGMEMEVAL["knowledge-update"]
    assert len({*judging.LONGMEMEVAL.values(), judging.PLAIN, judging.ABSTAINING, judging.LOCOMO}) == 6


def test_judge_of_an_abstention_is_not_told_the_wrong_answer(llm: Scripted, url: str) -> None:
    llm.script = ["That is not known.", YES]

    found = Assessor("locomo", *_models(url)).answer(_case(category="adversarial"), "")

    assert found["is_right"] is True
    assert "Oslo" not in str(llm.asked[1]["messages"])


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("yes", True),
        ("Yes.", True),
        ("**No**", False),
        ("NO, it is another city.", False),
        ("yes and no", None),
        ("Nothing known", None),
        ("", None),
    ],
)
def test_verdict_is_the_one_word(text: str, verdict: bool | None) -> None:
    assert verdict_of(text) is verdict


def test_key_is_not_shown() -> None:
    assert "secret" not in repr(LLMAccess("http://x", "m", "secret"))


def _models(url: str) -> tuple[ModelReader, ModelJudge]:
    model = ChatModel(LLMAccess(url, "m", "secret"), timeout_s=10, first_pause_s=0)
    return ModelReader(model), ModelJudge(model)


def _assessor(url: str) -> Assessor:
    return Assessor("chats", *_models(url))


def _case(*, category: str = "single", is_abstention: bool = False) -> Case:
    evidence = frozenset({(0, 0)}), frozenset({0})
    asked_at = datetime(2024, 1, 7, 10, tzinfo=UTC)
    return Case("q1", category, "Where is the zebra?", "Oslo", asked_at, *evidence, is_abstention=is_abstention)
