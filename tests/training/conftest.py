"""Fixtures: a small folder of training data, and a small model with random weights to train on it."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.models import DIMENSION, write_bert
from training.model import TorchEncoder

SESSION = [
    {"role": "user", "content": "By the way, I bought a blue lamp for my desk."},
    {"role": "assistant", "content": "A blue lamp looks lovely. Shall I suggest a bulb?"},
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three chats, one of them written later, and a batch of two sessions with an assistant."""
    folder = tmp_path / "data"
    folder.mkdir()
    _lines(folder / "chats_train.jsonl", [_chat("a", "Tove", "Halvard", "boat"), _chat("b", "Mina", "Jonas", "bakery")])
    _lines(folder / "chats_more.jsonl", [_chat("c", "Asif", "Rosa", "garden") | {"by": "written by a language model"}])
    for name in ("chats_effusive.jsonl", "chats_texted.jsonl"):
        _lines(folder / name, [])
    _lines(
        folder / "more_questions.jsonl",
        [
            {"id": "a", "questions": [{"q": "Who likes it?", "a": "Halvard", "evidence": ["2:2"], "type": "single"}]},
            {"id": "l", "questions": [{"q": "Which lamp did I buy?", "evidence": [["s1", 1]], "type": "user"}]},
        ],
    )
    _lines(
        folder / "longmemeval_questions.jsonl",
        [
            {
                "id": "l",
                "refs": ["s2", "s1"],
                "questions": [
                    {"q": "What do I light my desk with?", "evidence": [["s1", 1]], "type": "user"},
                    {"q": "What did you praise?", "evidence": [["s2", 2], ["s1", 2]], "type": "assistant"},
                ],
            }
        ],
    )
    with gzip.open(folder / "longmemeval_sessions.json.gz", "wt") as file:
        json.dump({"s1": ["2023/05/01 (Mon) 10:00", SESSION], "s2": ["2023/05/03 (Wed) 09:00", SESSION]}, file)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with a projection to eight dimensions."""
    folder = write_bert(tmp_path_factory.mktemp("training") / "tiny")
    axes = np.linalg.qr(np.random.default_rng(3).normal(size=(DIMENSION, 8)))[0].astype(np.float32)
    np.savez(folder / "token_projection.npz", mean=np.zeros(DIMENSION, np.float32), axes=axes)
    return folder


@pytest.fixture(scope="session")
def reader(tiny: Path) -> TorchEncoder:
    """The small model as an encoder."""
    return TorchEncoder(tiny)


def _chat(name: str, one: str, other: str, thing: str) -> dict[str, Any]:
    told = [
        [f"{other}, I bought a {thing} last week!", f"Congratulations, {one}. What does it cost?"],
        [f"My {thing} cost nine thousand.", f"Worth it, I like the {thing} of yours.", "Thank you so much!"],
        ["How is your knee?", f"Better. The doctor wants me to swim, {one}."],
    ]
    speakers = (one, other)
    return {
        "id": name,
        "speakers": list(speakers),
        "sessions": [
            {
                "date": f"2023-0{number}-10T18:00",
                "turns": [{"s": speakers[place % 2], "t": text} for place, text in enumerate(texts)],
            }
            for number, texts in enumerate(told, 1)
        ],
        "questions": [
            {"q": f"What did {one} buy?", "a": thing, "evidence": ["1:1"], "type": "single"},
            {"q": f"What did {one}'s {thing} cost?", "a": "9,000", "evidence": ["2:1"], "type": "single"},
            {"q": f"What does {other} say of both?", "a": "…", "evidence": ["2:2", "3:2"], "type": "multi"},
        ],
    }


def _lines(path: Path, entries: list[Any]) -> None:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
