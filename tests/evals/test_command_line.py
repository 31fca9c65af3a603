"""The command line: what it refuses says why in a sentence, and comparisons are printed."""

from pathlib import Path

import pytest
from fastapi import FastAPI

from evals import locomo, longmemeval
from evals.__main__ import main
from memsvc.app import build, create_app
from memsvc.inference.encoders import Encoder
from memsvc.settings import Settings
from tests.doubles import HashEncoder, listening
from tests.evals.small import chat, written


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["locomo", "--data", "none.json"], locomo.SOURCE, id="locomo"),
        pytest.param(["longmemeval", "--data", "none.json.gz"], longmemeval.SOURCE, id="longmemeval"),
        pytest.param(["locomo"], f"Say with --data where the file is. {locomo.SOURCE}", id="no path"),
        pytest.param(["chats", "--config", "nothing"], "There is no config nothing.", id="config"),
        pytest.param(["chats", "--url", "http://x", "--config", "bm25"], "bm25 cannot be asked of it", id="remote"),
        pytest.param(["chats", "--llm-url", "http://x"], "--llm-url and --llm-model together", id="half a model"),
        pytest.param(["chats", "--llm-model", "m"], "--llm-url and --llm-model together", id="no endpoint"),
        pytest.param(["chats", "--llm-cache", "c"], "--llm-url and --llm-model together", id="answers of no model"),
        pytest.param(
            ["chats", "--llm-model", "m", "--llm-requests", "r"],
            "Say with --llm-cache where",
            id="no cache to write for",
        ),
        pytest.param(
            ["chats", "--llm-model", "m", "--llm-responses", "r"], "Say with --llm-cache where", id="no cache to fill"
        ),
        pytest.param(
            ["chats", "--llm-model", "m", "--llm-cache", "c", "--llm-responses", "none.jsonl"],
            "There is no readable output of a batch at none.jsonl",
            id="no output",
        ),
        pytest.param(["chats", "--config", "facts-llm"], "give --llm-url and --llm-model", id="config without a model"),
        pytest.param(["cost"], f"Say with --data where the file is. {longmemeval.SOURCE}", id="cost of what"),
        pytest.param(["cost", "--data", "none.json"], longmemeval.SOURCE, id="cost of nothing"),
        pytest.param(["chats", "--questions", "s9:9"], "No question of the data has the id s9:9.", id="question"),
        pytest.param(["chats", "--url", "http://x:y", "--config", "memsvc"], "no URL", id="no URL"),
        pytest.param(["compare", "a.json", "b.json"], "a.json is no result of an evaluation", id="no result"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(arguments, encoder=HashEncoder()) == 2

    told = capsys.readouterr().err
    assert sentence in told
    assert "Traceback" not in told


@pytest.mark.parametrize("content", [b'{"id": "c1", "sess', b"\xff\xfe", b"[]", b'{"id": "c1"}'])
def test_malformed_data_are_told_in_a_sentence(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_bytes(content)

    assert main(["chats", "--data", str(path), "--out", str(tmp_path)], encoder=HashEncoder()) == 2

    assert str(path) in capsys.readouterr().err


def test_data_without_any_question_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "chats.jsonl", [{**chat(), "questions": []}])

    assert main(["chats", "--data", str(path), "--out", str(tmp_path)], encoder=HashEncoder()) == 2

    assert "no question" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "x"])
def test_numbers_are_positive(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["chats", "--limit", number])

    assert "--limit" in capsys.readouterr().err


def test_service_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(FastAPI()) as url:
        pass

    assert main(["chats", "--url", url, "--config", "memsvc", "--limit", "1", "--out", str(tmp_path)]) == 2

    assert "does not answer" in capsys.readouterr().err


def test_service_that_refuses_the_key_is_told_in_its_own_words(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    service = build(settings, encoder=HashEncoder())
    service.use_cases.gatekeeper.create_key("default", ["admin"])  # type: ignore[list-item]
    arguments = ["chats", "--config", "memsvc", "--limit", "1", "--out", str(tmp_path)]
    with listening(create_app(service)) as url:
        assert main([*arguments, "--url", url, "--api-key", "wrong"]) == 2

    assert "The service refuses (401)" in capsys.readouterr().err


def test_two_results_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = written(tmp_path / "chats.jsonl", [chat("a")])
    main(["chats", "--data", str(data), "--config", "random", "full", "--out", str(tmp_path)])
    capsys.readouterr()
    random, full = (str(next(tmp_path.glob(f"chats-{name}-*.json"))) for name in ("random", "full"))

    assert main(["compare", random, random]) == 0

    assert "Measured by: paired bootstrap" in capsys.readouterr().out
    assert main(["compare", random, full]) == 0


def test_run_with_the_shipped_encoder_finds_a_paraphrase(
    tmp_path: Path, real_encoder: Encoder, capsys: pytest.CaptureFixture[str]
) -> None:
    told = chat("a")
    told["questions"] = [{**told["questions"][0], "q": "What striped African horse is somebody's pet?"}]
    data = written(tmp_path / "chats.jsonl", [told])
    arguments = ["chats", "--data", str(data), "--config", "memsvc", "--out", str(tmp_path)]

    assert main(arguments, encoder=real_encoder) == 0

    assert "| memsvc | 1.000 [1.000, 1.000] |" in capsys.readouterr().out
