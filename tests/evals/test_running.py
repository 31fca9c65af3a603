"""Whole runs: a service of their own or one that runs already, interrupted, resumed and divided."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from evals.__main__ import main
from evals.results import cases_of
from memsvc.app import build, create_app
from memsvc.settings import Settings
from tests.doubles import HashEncoder, listening, until
from tests.evals.small import Json, Watched, chat, written
from tests.evals.test_judging import NO, READ, YES, Scripted

WORDS = 'about = "Words in common alone."\n[settings]\nlegs = "bm25"\nfusion = "ranks"\n'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two chats with three questions each."""
    return written(tmp_path / "chats.jsonl", [chat("a"), chat("b")])


@pytest.fixture
def watched(settings: Settings) -> Iterator[tuple[Watched, str]]:
    """A running service whose requests are kept, and its URL."""
    app = Watched(create_app(build(settings, encoder=HashEncoder())))
    with listening(app) as url:
        yield app, url


def test_run_finds_what_stands_in_the_data(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(data, tmp_path) == 0

    results = _results(tmp_path)
    assert sorted(results) == ["full", "memsvc", "random"]
    ours = results["memsvc"]
    # A question and its evidence share a word that no other turn has: it is first, and so is its session.
    assert ours["figures"]["all"]["session_ndcg@10"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "n": 6, "skipped": 0}
    assert ours["figures"]["all"]["turn_recall@5"]["mean"] == 1.0
    assert ours["figures"]["single"]["context_whole@1000"]["mean"] == 1.0
    assert results["full"]["figures"]["all"] == {
        "context_whole@all": {"mean": 1.0, "low": 1.0, "high": 1.0, "n": 6, "skipped": 0}
    }
    assert (ours["questions"], ours["haystacks"], ours["asked"]) == (6, 2, {"all": 6, "single": 6})
    assert ours["cost"]["index_bytes_a_turn"] > ours["cost"]["index_bytes_a_turn_marginal"] > 0
    assert set(ours["cost"]["recall_ms"]) == {"turn", "context@2000"}
    assert len(ours["data"]["sha256"]) == 64
    assert ours["config"]["settings"] == {}
    printed = capsys.readouterr().out
    assert "| memsvc | 1.000 [1.000, 1.000] |" in printed
    assert "not run: no LLM configured" in printed


def test_configs_that_index_alike_are_asked_of_one_recorded_history(data: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.toml"
    words.write_text(WORDS)

    together, apart = tmp_path / "together", tmp_path / "apart"
    assert _run(data, together, configs=["memsvc", str(words)]) == 0
    assert _run(data, apart, configs=["memsvc"]) == 0
    assert _run(data, apart, configs=[str(words)]) == 0

    one, two = _results(together), _results(apart)
    assert {name: found["figures"] for name, found in one.items()} == {
        name: found["figures"] for name, found in two.items()
    }
    # Turns that share no word are not found by words: the config that did not record has a recall of its own.
    lengths = {name: {len(line["turns"]) for line in _lines(together, name)} for name in one}
    assert max(lengths["words"]) < min(lengths["memsvc"])


def test_nothing_of_the_data_sets_ids_is_sent(data: Path, tmp_path: Path, watched: tuple[Watched, str]) -> None:
    service, url = watched

    assert _run(data, tmp_path, "--url", url, configs=[]) == 0

    sent = "\n".join(f"{path} {body.decode()}" for _, path, _, body in service.requests)
    ids = {path.split("/")[3] for _, path, _, _ in service.requests}
    assert len(ids) == 2, "each chat has a user of its own"
    assert all(len(name) == 32 for name in ids)
    assert '"a"' not in sent
    assert "evidence" not in sent
    turn_ids = {turn["turn_id"] for body in service.bodies("PUT", "") if body for turn in body["turns"]}
    assert len(turn_ids) == 2 * 9
    assert all(len(name) == 32 for name in turn_ids)


def test_sessions_are_sent_in_order_of_time_with_all_they_have(
    data: Path, tmp_path: Path, watched: tuple[Watched, str]
) -> None:
    service, url = watched

    assert _run(data, tmp_path, "--url", url, "--limit", "1") == 0

    recorded = [json.loads(body) for how, path, _, body in service.requests if how == "PUT" and "wait" not in path]
    assert [body["started_at"] for body in recorded] == [f"2024-0{month}-05T10:00:00+00:00" for month in (1, 2, 3)]
    assert {name: value for name, value in recorded[0]["turns"][1].items() if name != "turn_id"} == {
        "role": "user",
        "speaker": "Ben",
        "text": "My zebra lives at the harbour now.",
        "images": [{"caption": "a zebra at the sea"}],
    }
    asked = service.bodies("POST", "/recall")[1:]
    assert [(body["unit"], body["limit"], body["token_budget"]) for body in asked] == [
        ("turn", 50, 0),
        ("session", 10, 0),
        *(("round", 100, budget) for budget in (1000, 2000, 4000, 8000)),
    ]
    assert {body["asked_at"] for body in asked} == {"2024-03-06T10:00:00+00:00"}
    assert {body["query"] for body in asked} == {"Where does the zebra live?"}


def test_running_service_is_left_as_it_was(data: Path, tmp_path: Path, watched: tuple[Watched, str]) -> None:
    service, url = watched

    assert _run(data, tmp_path, "--url", url) == 0

    deleted = [path for how, path, _, _ in service.requests if how == "DELETE"]
    assert len(deleted) == 2
    found = _results(tmp_path)["memsvc"]
    assert found["figures"]["all"]["turn_recall@5"]["mean"] == 1.0
    assert found["memsvc"]["code"] == url
    assert found["cost"]["index_bytes_a_turn"] is None


def test_abstentions_are_apart_and_what_cannot_be_scored_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The answer's session stands twice in the history; of the second question only the session is known.
    told = [{"role": "user", "content": "The zebra lives in Oslo.", "has_answer": True}]
    other = [{"role": "user", "content": "Good morning."}, {"role": "assistant", "content": "Good morning!"}]
    question = {
        "question_id": "q1",
        "question_type": "multi-session",
        "question": "Where is the zebra?",
        "answer": "Oslo",
        "question_date": "2023/05/20 (Sat) 01:00",
        "answer_session_ids": ["answer_a"],
        "haystack_dates": ["2023/05/20 (Sat) 02:21", "2023/04/10 (Mon) 17:50", "2023/04/11 (Tue) 17:50"],
        "haystack_session_ids": ["answer_a", "b", "answer_a"],
        "haystack_sessions": [told, other, told],
    }
    # No other session is as near as its two, so that no tie is left to chance.
    known = [[{**told[0], "has_answer": False}], other, [{"role": "user", "content": "Where the zebra is? In Oslo."}]]
    bare = {**question, "question_id": "q2", "haystack_sessions": known}
    abstention = {
        **question,
        "question_id": "q3_abs",
        "answer_session_ids": [],
        "haystack_sessions": bare["haystack_sessions"],
    }
    data = written(tmp_path / "s.json.gz", [question, bare, abstention])
    arguments = ["longmemeval", "--data", str(data), "--config", "memsvc", "--out", str(tmp_path / "out")]

    assert main(arguments, encoder=HashEncoder()) == 0

    found = _results(tmp_path)["memsvc"]
    assert found["asked"] == {"without abstention": 2, "multi-session": 2, "abstention": 1}
    whole = {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert found["figures"]["without abstention"]["turn_recall_all@10"] == {**whole, "n": 1, "skipped": 1}
    assert found["figures"]["without abstention"]["session_ndcg_official@10"] == {**whole, "n": 2, "skipped": 0}
    assert found["figures"]["without abstention"]["context_whole@1000"] == {**whole, "n": 1, "skipped": 1}
    assert found["figures"]["abstention"] == {}
    first, _, _ = _raw(next((tmp_path / "out").glob("*.jsonl")))
    # Both copies are found, and count once, as the first in time.
    assert (first["evidence"], first["evidence_sessions"]) == ([[1, 0]], [1])
    assert [place for place in first["turns"] if place[0] in {1, 2}] == [[1, 0]]
    printed = capsys.readouterr().out
    assert "### without abstention: 2 asked" in printed
    assert "turn all@10 (n 1)" in printed
    assert "session all@5 (n 2)" in printed
    assert "memsvc: 1 questions without evidence turns (their sessions are scored)" in printed
    assert "memsvc: 1 questions without any evidence" in printed


def test_adversarial_questions_are_told_apart_and_in_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turns = [
        {"speaker": "Ana", "dia_id": "D1:1", "text": "My zebra lives in Oslo."},
        {"speaker": "Ben", "dia_id": "D1:2", "text": "Look.", "blip_caption": "a yak in a meadow"},
    ]
    told = {
        "conversation": {"session_1_date_time": "1:56 pm on 8 May, 2023", "session_1": turns},
        "qa": [
            {"question": "Where is the zebra?", "answer": "Oslo", "evidence": ["D1:1"], "category": 4},
            {"question": "Whose yak?", "adversarial_answer": "Ana's", "evidence": ["D1:2"], "category": 5},
            {"question": "Where is the wombat?", "answer": "?", "evidence": ["D:1:1"], "category": 1},
        ],
    }
    data = written(tmp_path / "locomo.json", [told])
    arguments = ["locomo", "--data", str(data), "--config", "memsvc", "random", "--out", str(tmp_path / "out")]

    assert main(arguments, encoder=HashEncoder()) == 0

    found = _results(tmp_path)["memsvc"]
    assert found["asked"] == {"1–4": 1, "all": 2, "single-hop": 1, "adversarial": 1}  # noqa: RUF001
    assert found["figures"]["adversarial"]["turn_recall@5"]["n"] == 1
    assert found["figures"]["all"]["turn_recall@5"]["n"] == 2
    assert found["left_out"] == {"questions without evidence in the conversation": 1}
    assert [line["turns"][0] for line in _lines(tmp_path, "memsvc", "locomo")] == [[0, 0], [0, 1]]
    assert "- 1 questions without evidence in the conversation" in capsys.readouterr().out


def test_same_run_again_asks_nothing(data: Path, tmp_path: Path, watched: tuple[Watched, str]) -> None:
    service, url = watched
    _run(data, tmp_path, "--url", url)
    first = _results(tmp_path)
    service.requests.clear()

    assert _run(data, tmp_path, "--url", url) == 0

    assert service.requests == []
    assert _results(tmp_path) == first


def test_rest_of_a_run_is_asked_when_it_goes_on(
    data: Path, tmp_path: Path, watched: tuple[Watched, str], capsys: pytest.CaptureFixture[str]
) -> None:
    service, url = watched
    _run(data, tmp_path, "--url", url, "--limit", "2")
    service.requests.clear()

    assert _run(data, tmp_path, "--url", url) == 0

    asked = {body["query"] for body in service.bodies("POST", "/recall") if body["unit"] == "session"}
    users = {path.split("/")[3] for how, path, _, _ in service.requests if how == "PUT"}
    assert "Where does the xerus live?" in asked
    assert len(users) == 2, "both chats are recorded again: one for its last question"
    assert sum(body["unit"] == "session" for body in service.bodies("POST", "/recall")) == 4
    assert "6 answers of an earlier run were kept" in capsys.readouterr().err
    assert _results(tmp_path)["memsvc"]["questions"] == 6


def test_changed_data_start_anew_and_say_so(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(data, tmp_path, configs=["random"])
    written(data, [chat("a", sessions=2)])

    assert _run(data, tmp_path, configs=["random"]) == 0

    assert "random starts anew: the data changed since chats-random-" in capsys.readouterr().err
    assert sorted(len(_raw(path)) for path in (tmp_path / "out").glob("*.jsonl")) == [2, 6]


def test_processes_find_what_one_finds(data: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    _run(data, one)

    assert _run(data, two, "--processes", "2") == 0

    figures = [{name: found["figures"] for name, found in _results(folder).items()} for folder in (one, two)]
    assert figures[0] == figures[1]
    assert [found["cases"] for found in _results(two).values()] == [[f"{c}:{n}" for c in "ab" for n in range(3)]] * 3


@pytest.mark.parametrize(("end", "processes"), [(signal.SIGKILL, "2"), (signal.SIGINT, "1"), (signal.SIGINT, "2")])
def test_interrupted_run_leaves_what_it_had_and_goes_on(tmp_path: Path, end: signal.Signals, processes: str) -> None:
    data = written(tmp_path / "chats.jsonl", [chat(f"c{number}", sessions=5) for number in range(4)])
    whole, cut, temporary = tmp_path / "whole", tmp_path / "cut", tmp_path / "temporary"
    temporary.mkdir()
    (gate := tmp_path / "gate").touch()
    _run(data, whole, configs=["memsvc"])
    started = _started(gate, temporary, _arguments(data, cut, "--processes", processes, configs=["memsvc"]))
    # Each process stands before the last question of a chat, and goes on when the signal is there.
    asked = 4 * int(processes)
    try:
        until(lambda: any(len(_raw(path)) >= asked for path in (cut / "out").glob("*.jsonl")), within_s=180)
        family = psutil.Process(started.pid).children(recursive=True)
        started.send_signal(end)
    finally:
        gate.unlink()
    _, told = started.communicate(timeout=120)
    before = len(_lines(cut, "memsvc"))

    assert asked <= before < 20
    psutil.wait_procs(family, timeout=20)
    assert not any(member.is_running() for member in family), "what the run started ends with it"
    if end is signal.SIGINT:
        assert started.returncode == 130
        assert "the same command goes on from there" in told
        assert list(temporary.iterdir()) == []
    assert _run(data, cut, configs=["memsvc"]) == 0
    assert _results(cut)["memsvc"]["figures"] == _results(whole)["memsvc"]["figures"]


def _started(gate: Path, temporary: Path, arguments: Sequence[str]) -> "subprocess.Popen[str]":
    """A run in a process of its own, which asks for no vole as long as the gate is there."""
    script = gate.with_name("run.py")
    script.write_text(
        "import signal, sys; from pathlib import Path\n"
        "from evals.__main__ import main; from tests.doubles import HeldEncoder\n"
        # Whoever is started in the background may have been told to ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"if __name__ == '__main__': sys.exit(main(sys.argv[1:], encoder=HeldEncoder('the vole', Path({str(gate)!r}))))"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": os.environ["PATH"], "TMPDIR": str(temporary)}
    return subprocess.Popen(
        [sys.executable, str(script), *arguments], env=environment, stderr=subprocess.PIPE, text=True
    )


def test_answers_are_read_and_judged_where_a_model_is_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEMSVC_LLM_API_KEY", "secret")
    llm = Scripted()
    llm.script = [READ, YES, READ, NO, READ, "Perhaps."]
    with listening(llm.app) as url:
        model = ["--llm-url", f"{url}/v1", "--llm-model", "m"]
        assert _run(data, tmp_path, "--limit", "3", *model, configs=["memsvc"]) == 0
        answers = _results(tmp_path)["memsvc"]["answers"]
        assert answers["figures"]["all"]["answer_accuracy"]["mean"] == 0.5
        assert (answers["figures"]["all"]["answer_accuracy"]["n"], answers["llm_calls_a_question"]) == (2, 2.0)
        assert "memsvc: 1 answers: judge: neither yes nor no" in capsys.readouterr().out
        assert "zebra lives at the harbour" in str(llm.asked[0]["messages"])

        # The call that failed is worth another try, the others are not.
        llm.script = [READ, YES]
        assert _run(data, tmp_path, "--limit", "3", *model, configs=["memsvc"]) == 0

    assert _results(tmp_path)["memsvc"]["answers"]["figures"]["all"]["answer_accuracy"]["n"] == 3
    assert set(llm.keys) == {"Bearer secret"}
    assert "secret" not in "".join(path.read_text() for path in (tmp_path / "out").iterdir())


def _arguments(data: Path, folder: Path, *more: str, configs: Sequence[str]) -> list[str]:
    chosen = ["--config", *configs] if configs else []
    return ["chats", "--data", str(data), "--out", str(folder / "out"), *chosen, *more]


def _run(data: Path, folder: Path, *more: str, configs: Sequence[str] = ("random", "full", "memsvc")) -> int:
    return main(_arguments(data, folder, *more, configs=configs), encoder=HashEncoder())


def _results(folder: Path) -> dict[str, Any]:
    """The summaries by config; of several, the one over most questions."""
    found = [json.loads(path.read_text()) for path in (folder / "out").glob("*.json")]
    return {each["config"]["name"]: each for each in sorted(found, key=lambda each: int(each["questions"]))}


def _lines(folder: Path, name: str, data_set: str = "chats") -> list[Json]:
    (path,) = (folder / "out").glob(f"{data_set}-{name}-*.jsonl")
    return _raw(path)


def _raw(path: Path) -> list[Json]:
    return list(cases_of(path).values())
