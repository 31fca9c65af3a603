"""Facts in evaluations: drawn by rules or by a model, live, from the cache, or through batches of requests."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evals.__main__ import main
from evals.results import cases_of
from memsvc.app import build, create_app
from memsvc.settings import Settings
from tests.doubles import HashEncoder, listening
from tests.evals.models import answered, batch_answer, lines_of, write_lines
from tests.evals.small import Json, Watched, chat, written
from tests.llm import Body, ScriptedLlm, scripted_llm, status
from tests.llm import said as completed

MODEL = ("--llm-model", "m")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two chats with three questions each."""
    return written(tmp_path / "chats.jsonl", [chat("a"), chat("b")])


@pytest.fixture
def llm() -> Iterator[ScriptedLlm]:
    """A model that draws, compares, reads and judges."""
    with scripted_llm() as scripted:
        scripted.answers = lambda body: completed(answered(body)["choices"][0]["message"]["content"])
        yield scripted


def test_facts_by_rules_are_there_when_it_is_asked(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(data, tmp_path, configs=["facts", "no-facts", "random"]) == 0

    found = _results(tmp_path)
    spent = dict.fromkeys(("calls", "cached_calls", "prompt_tokens", "completion_tokens", "estimated_calls"), 0)
    # Of each session one sentence is about somebody's own: "My zebra lives at the harbour now."
    facts = {"histories": 2, "sessions": 6, "a_history": {"llm": 0, "rules": 3}, "undrawn_sessions": 0}
    assert found["facts"]["facts"] == found["no-facts"]["facts"] == {**facts, "extraction": spent}
    assert found["random"]["facts"] is None
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[2:5] for line in lines if line.startswith("| facts ") and "0 (0)" in line] == [
        [" 0.0                     ", " 3.0      ", " 0 (0)                       "]
    ]


def test_facts_by_a_model_are_its_own_and_what_it_took_is_told(data: Path, tmp_path: Path, llm: ScriptedLlm) -> None:
    assert _run(data, tmp_path, *MODEL, "--llm-url", llm.url, configs=["facts-llm", "facts"]) == 0

    found = _results(tmp_path)
    by_llm, by_rules = (found[name]["facts"] for name in ("facts-llm", "facts"))
    assert by_llm["a_history"] == {"llm": 3, "rules": 0}
    assert by_rules["a_history"] == {"llm": 0, "rules": 3}
    # Of each chat three sessions are read, and what the second and the third tell is compared.
    assert (by_llm["extraction"]["calls"], by_llm["extraction"]["prompt_tokens"]) == (2 * 5, 2 * 500)
    assert by_rules["extraction"]["calls"] == 0
    assert found["facts-llm"]["answers"]["figures"]["all"]["answer_accuracy"]["mean"] == 1.0
    assert found["facts-llm"]["answers"]["kept"] == {}
    tasks = [body["response_format"]["json_schema"]["name"] for body in llm.requests if "response_format" in body]
    assert sorted(tasks) == ["extract"] * 6 + ["reconcile"] * 4


def test_second_run_with_the_cache_asks_nobody(
    data: Path, tmp_path: Path, llm: ScriptedLlm, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    cache = ("--llm-cache", str(tmp_path / "cache"))
    assert _run(data, first, *MODEL, *cache, "--llm-url", llm.url, configs=["facts-llm", "memsvc"]) == 0
    sent = len(llm.requests)
    capsys.readouterr()

    assert _run(data, second, *MODEL, *cache, "--llm-url", llm.url, configs=["facts-llm", "memsvc"]) == 0

    told = capsys.readouterr().out
    assert _run(data, third, *MODEL, *cache, configs=["facts-llm", "memsvc"]) == 0
    # The chats are told alike, and what was asked of the one is known of the other.
    assert len(llm.requests) == sent
    assert _measured(first) == _measured(second) == _measured(third)
    for folder in (second, third):
        ours = _results(folder)["facts-llm"]
        assert ours["answers"]["kept"] == {"all": 6, "single": 6}
        assert (ours["facts"]["extraction"]["calls"], ours["facts"]["extraction"]["cached_calls"]) == (0, 10)
    assert "| facts-llm | all               | 1.000 (6)    | 6              |" in told


def test_long_session_is_asked_about_alike_each_time(tmp_path: Path, llm: ScriptedLlm) -> None:
    animals = ["zebra", "yak", "xerus", "wombat", "vole", "urchin", "tapir", "skunk", "rhino", "quail"]
    told = chat("a", sessions=1)
    filler = {"s": "Ana", "t": "That is a long story, and I shall tell it. " * 8}
    said = [{"s": "Ben", "t": f"My {animal} lives at the harbour now."} for animal in animals]
    told["sessions"][0]["turns"] += [turn for each in said for turn in (filler, each)]
    data = written(tmp_path / "chats.jsonl", [told])
    path = tmp_path / "chunks.toml"
    path.write_text('about = "Small chunks."\nllm = true\n[settings]\nextract_tokens = 200\n')
    cache = ("--llm-cache", str(tmp_path / "cache"), "--llm-url", llm.url)
    assert _run(data, tmp_path / "first", *MODEL, *cache, configs=[str(path)]) == 0
    compared = [_told_pairs(body) for body in llm.requests if _task({"body": body}) == "reconcile"]
    sent = len(llm.requests)

    assert _run(data, tmp_path / "second", *MODEL, *cache, configs=[str(path)]) == 0

    # All turns of a session have its time: which came first is told by their order in it.
    order = [(animals.index(one), animals.index(other)) for pairs in compared for one, other in pairs]
    assert len(order) >= 9
    assert order == [(one, other) for one, other in order if one < other]
    assert len(llm.requests) == sent, "nothing was asked anew"


def test_batches_bring_what_an_endpoint_would(
    data: Path, tmp_path: Path, llm: ScriptedLlm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEMSVC_LLM_API_KEY", "secret")
    live, batched = tmp_path / "live", tmp_path / "batched"
    configs = ["facts-llm"]
    assert _run(data, live, *MODEL, "--llm-url", llm.url, configs=configs) == 0
    requests, responses = tmp_path / "requests.jsonl", write_lines(tmp_path / "responses.jsonl", [])
    batch = ("--llm-cache", str(tmp_path / "cache"), "--llm-requests", str(requests))
    sent, waves = len(llm.requests), []

    assert _run(data, batched, *MODEL, *batch, "--llm-url", llm.url, configs=configs) == 0
    while lines_of(requests):
        assert list((batched / "out").glob("*.json")) == [], "a part is no result"
        assert "secret" not in requests.read_text()
        waves.append([_task(line) for line in lines_of(requests)])
        write_lines(responses, [batch_answer(line) for line in lines_of(requests)])
        assert len(waves) < 6
        assert _run(data, batched, *MODEL, *batch, "--llm-responses", str(responses), configs=configs) == 0

    # All that can be asked is asked at once: three sessions of either chat, which are told alike, then what they told.
    assert waves == [["extract"] * 3, ["reconcile"] * 2, ["text"] * 3, ["text"] * 3]
    assert len(llm.requests) == sent, "nothing was sent"
    assert _measured(batched) == _measured(live)
    assert "secret" not in "".join(path.read_text() for path in (batched / "out").iterdir())
    told = capsys.readouterr()
    assert "3 requests are pending: 3 of extraction." in told.out
    assert "2 requests are pending: 2 of comparison." in told.out
    assert "3 requests are pending: 3 of judging." in told.out
    assert "- facts-llm: 6 (a:0, a:1, a:2, b:0, b:1, b:2)" in told.out
    assert "answers of the batch were read." in told.err


def test_what_a_model_never_answered_is_told(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = ("--llm-cache", str(tmp_path / "cache"))

    assert _run(data, tmp_path, *MODEL, *cache, configs=["facts-llm"]) == 2

    told = capsys.readouterr()
    assert "3 requests are pending: 3 of extraction." in told.out
    assert "nobody is there to be asked" in told.err
    assert list((tmp_path / "out").glob("*.json")) == []


def test_session_that_the_model_does_not_answer_is_counted_and_recalled(tmp_path: Path, llm: ScriptedLlm) -> None:
    data = written(tmp_path / "chats.jsonl", [chat("a", sessions=2)])
    requests, responses = tmp_path / "requests.jsonl", tmp_path / "responses.jsonl"
    batch = ("--llm-cache", str(tmp_path / "cache"), "--llm-requests", str(requests))
    _run(data, tmp_path, *MODEL, *batch, configs=["facts-llm"])

    # Whatever is asked about the yak, also when it is repaired, the answer is prose.
    while lines_of(requests):
        write_lines(responses, [_prose_about_yaks(line) for line in lines_of(requests)])
        assert _run(data, tmp_path, *MODEL, *batch, "--llm-responses", str(responses), configs=["facts-llm"]) == 0

    found = _results(tmp_path)["facts-llm"]
    assert found["facts"]["undrawn_sessions"] == 1
    assert found["facts"]["a_history"] == {"llm": 1, "rules": 0}
    assert found["left_out"] == {"sessions of which no facts could be drawn": 1}
    assert found["figures"]["all"]["turn_recall@5"]["mean"] == 1.0


def test_run_on_processes_writes_each_request_once(data: Path, tmp_path: Path) -> None:
    requests = tmp_path / "requests.jsonl"
    batch = ("--llm-cache", str(tmp_path / "cache"), "--llm-requests", str(requests))

    assert _run(data, tmp_path, *MODEL, *batch, "--processes", "2", configs=["facts-llm", "full"]) == 0

    lines = lines_of(requests)
    assert len(lines) == len({line["custom_id"] for line in lines})
    assert sorted(map(_task, lines)) == ["extract"] * 3 + ["text"] * 3


def test_answer_that_came_is_not_asked_for_again_when_another_is_pending(data: Path, tmp_path: Path) -> None:
    requests, responses = tmp_path / "requests.jsonl", tmp_path / "responses.jsonl"
    batch = ("--llm-cache", str(tmp_path / "cache"), "--llm-requests", str(requests))
    _run(data, tmp_path, *MODEL, *batch, configs=["full"])
    first, *others = lines_of(requests)
    error = {"custom_id": others[0]["custom_id"], "response": {"status_code": 500, "body": {}}, "error": None}
    write_lines(responses, [batch_answer(first), error])

    assert _run(data, tmp_path, *MODEL, *batch, "--llm-responses", str(responses), configs=["full"]) == 0

    again = lines_of(requests)
    assert others == [line for line in again if line in others]
    assert len(again) == 3, "a verdict on the first, and the others as before"


def test_what_was_recalled_is_read_without_being_recalled_again(data: Path, tmp_path: Path, settings: Settings) -> None:
    requests, responses = tmp_path / "requests.jsonl", tmp_path / "responses.jsonl"
    batch = ("--llm-cache", str(tmp_path / "cache"), "--llm-requests", str(requests))
    service = Watched(create_app(build(settings, encoder=HashEncoder())))
    with listening(service) as url:
        assert _run(data, tmp_path, *MODEL, *batch, "--url", url, configs=["memsvc"]) == 0
        service.requests.clear()
        for _wave in ("read", "judged"):
            write_lines(responses, [batch_answer(line) for line in lines_of(requests)])
            more = (*batch, "--llm-responses", str(responses), "--url", url)
            assert _run(data, tmp_path, *MODEL, *more, configs=["memsvc"]) == 0

    assert service.requests == []
    assert lines_of(requests) == []
    found = _results(tmp_path)["memsvc"]
    assert found["answers"]["figures"]["all"]["answer_accuracy"]["n"] == 6
    assert found["figures"]["all"]["turn_recall@5"]["mean"] == 1.0
    assert not any("reading" in line for line in cases_of(tmp_path / "out" / found["raw"]).values())


def test_model_that_fails_leaves_no_pending_request(data: Path, tmp_path: Path) -> None:
    with scripted_llm() as down:
        down.answers = lambda _body: status(400, "no")
        assert _run(data, tmp_path, *MODEL, "--llm-url", down.url, configs=["memsvc"]) == 0

    found = _results(tmp_path)["memsvc"]
    assert found["left_out"] == {"answers: reader: HTTP 400": 6}


def _prose_about_yaks(request: Body) -> Body:
    answer = batch_answer(request)
    if "yak" in str(request["body"]["messages"]) and _task(request) == "extract":
        answer["response"]["body"]["choices"][0]["message"]["content"] = "A yak, how nice."
    return answer


def _told_pairs(body: Body) -> list[tuple[str, str]]:
    """The animals of the statements that a request compares, in the order that it tells each pair in."""
    asked = body["messages"][-1]["content"]
    animals = dict(re.findall(r"^(S\d+) \[[^\]]*\] The (\w+) of Ben", asked, re.MULTILINE))
    return [(animals[one], animals[other]) for one, other in re.findall(r"^\d+: (S\d+) → (S\d+)$", asked, re.MULTILINE)]


def _task(request: Body) -> str:
    form: Json | None = request["body"].get("response_format")
    return str(form["json_schema"]["name"]) if form else "text"


def _run(data: Path, folder: Path, *more: str, configs: list[str]) -> int:
    arguments = ["chats", "--data", str(data), "--out", str(folder / "out"), "--config", *configs, *more]
    return main(arguments, encoder=HashEncoder())


def _results(folder: Path) -> dict[str, Any]:
    found = [json.loads(path.read_text()) for path in (folder / "out").glob("*.json")]
    return {each["config"]["name"]: each for each in found}


def _measured(folder: Path) -> dict[str, Any]:
    """By config, all that a run found, and of each question what came and was said; not what that took."""
    took = {"ms", "llm_calls", "llm_kept", "llm_tokens"}
    measured = {}
    for name, found in _results(folder).items():
        lines = [_without(took, line) for line in cases_of(folder / "out" / found["raw"]).values()]
        facts = _without({"extraction"}, found["facts"] or {})
        measured[name] = [found["figures"], found["answers"]["figures"], found["left_out"], facts, lines]
    return measured


def _without(names: set[str], told: Any) -> Any:
    if not isinstance(told, dict):
        return told
    return {name: _without(names, value) for name, value in told.items() if name not in names}
