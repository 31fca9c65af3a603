"""Training: what a step compares, what its loss is, and that it learns."""

import json
import math
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memsvc.inference.encoders import PLAIN, open_encoder, projection_of
from memsvc.inference.reading import TokenEncoder
from tests.inference.models import PLAIN_FOLDER
from training import configuration, train
from training.average import average
from training.data import load
from training.model import TorchEncoder, Trainee, batches, save, start
from training.prepare import Prepared, prepare, write
from training.train import Groups, loss_of, losses, split


@pytest.fixture
def prepared(data: Path, reader: TokenEncoder) -> list[Prepared]:
    """The small data, each chat in two versions."""
    return list(prepare(list(load(data)), reader, renamed=1, seed=0))


@pytest.fixture
def settings() -> configuration.TrainConfig:
    """Steps small enough for a small model."""
    return _config().train


@pytest.fixture
def trainee(tiny: Path) -> Trainee:
    """The small model, to be trained."""
    return _started(tiny)


def test_an_epoch_asks_every_question_once(prepared: list[Prepared], settings: configuration.TrainConfig) -> None:
    groups = Groups(prepared, settings)

    asked = [question for group in groups.epoch(random.Random(1)) for question in group.questions]

    # A renamed version asks the same in other words: the questions are told apart by their number alone.
    assert len(asked) == 13
    assert groups.steps == sum(1 for _ in groups.epoch(random.Random(1)))


def test_evidence_is_always_there_and_what_it_was(
    prepared: list[Prepared], settings: configuration.TrainConfig
) -> None:
    groups = Groups(prepared, settings)
    one = prepared[0]

    group = groups.group(one, [0, 2], random.Random(1))

    for (_, wanted), evidence in zip([one.questions[0], one.questions[2]], group.evidence, strict=True):
        keys = [group.keys[group.turns.index(turn)] for turn in evidence]
        assert keys == [one.keys[one.turns.index(turn)] for turn in wanted]


def test_sessions_of_others_of_the_same_version_fill_a_step(
    prepared: list[Prepared], settings: configuration.TrainConfig
) -> None:
    groups = Groups(prepared, settings)

    group = groups.group(prepared[1], [0], random.Random(1))

    allowed = [one.keys for one in prepared if (one.kind, one.version) == ("chat", 1)]
    tokens = sum(len(before) + len(own) + 2 for before, own in group.keys)
    assert tokens >= settings.tokens_a_step
    assert all(any(key in keys for keys in allowed) for key in group.keys)
    assert group.turns == sorted(group.turns)


def test_question_tokens_are_weighted_by_their_rarity(
    prepared: list[Prepared], settings: configuration.TrainConfig
) -> None:
    (weights,) = Groups(prepared, settings).group(prepared[0], [1], random.Random(1)).weights

    held = prepared[0].turns_with()
    known = [held[token] for token in prepared[0].questions[1][0]]
    assert sum(weights) == pytest.approx(1)
    # What most turns hold tells least.
    assert weights[int(np.argmax(known))] == min(weights) < max(weights)


def test_loss_compares_each_evidence_turn_with_what_is_none() -> None:
    scores = torch.tensor([[2.0, 1.0, 0.0]])
    evidence = torch.tensor([[1.0, 1.0, 0.0]])

    loss = loss_of(scores, evidence)

    # The second evidence turn is not held against the first.
    expected = -(math.log(math.exp(2) / (math.exp(2) + 1)) + math.log(math.exp(1) / (math.exp(1) + 1))) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_scores_of_a_step_are_those_of_recall(
    prepared: list[Prepared], tiny: Path, trainee: Trainee, settings: configuration.TrainConfig
) -> None:
    group = Groups(prepared, settings).group(prepared[0], [0, 1, 2], random.Random(1))
    trainee.bert.eight_bits = False

    named = losses(trainee, group, settings, "cpu")

    encoder = TorchEncoder(tiny, eight_bits=False)
    keys = [_decoded(encoder, key) for key in group.keys]
    encoded = encoder.encode([own for _, own in keys], contexts=[before for before, _ in keys])
    dense, late = [], []
    for ids, weights in zip(group.questions, group.weights, strict=True):
        (query,) = encoder.encode([_text(encoder, ids)])
        dense.append([float(query.dense @ found.dense) for found in encoded])
        late.append([float((query.tokens @ found.tokens.T).max(1) @ np.array(weights)) for found in encoded])
    evidence = torch.zeros(3, max(group.turns) + 1)
    for row, held in enumerate(group.evidence):
        evidence[row, held] = 1
    # Each key of these short chats is a turn.
    for name, scores, temperature in (
        ("dense 32", dense, settings.dense_temperature),
        ("late 8", late, settings.late_temperature),
    ):
        assert named[name].item() == pytest.approx(
            loss_of(torch.tensor(scores) / temperature, evidence).item(), rel=1e-3
        )


def test_training_learns_the_data(prepared: list[Prepared], trainee: Trainee) -> None:
    config = _config(epochs=6, learning_rate=3e-3)
    before = train.validated(trainee, prepared, config.train, "cpu")

    curve = train.train(trainee, prepared, [], config, device="cpu")

    after = train.validated(trainee, prepared, config.train, "cpu")
    assert all(after[name] < before[name] for name in before)
    assert [entry["epoch"] for entry in curve if "epoch" in entry] == list(range(1, 7))


def test_the_same_seed_trains_the_same_model(prepared: list[Prepared], tiny: Path) -> None:
    first, second = _started(tiny), _started(tiny)

    for trainee in (first, second):
        train.train(trainee, prepared[:2], [], _config(), device="cpu")

    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_parts_are_left_out_whole() -> None:
    prepared = [_empty(number, version) for number in range(4) for version in range(2)]

    learning, left_out = split(prepared, part=1, parts=2)

    assert {one.number for one in left_out} == {1, 3}
    assert {one.number for one in learning} == {0, 2}
    assert split(prepared, part=-1, parts=2) == (prepared, [])


def test_two_steps_on_the_command_line_make_a_model_that_memsvc_reads(
    prepared: list[Prepared], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(prepared[:2], tmp_path / "prepared.json.gz", data={"chats.jsonl": "abc"})
    path = tmp_path / "encoder.toml"
    path.write_text(_toml(tiny))
    told = ["--config", str(path), "--prepared", str(tmp_path / "prepared.json.gz"), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["train", *told, "--set", "epochs=2", "--out", str(tmp_path / "model")])

    train.main()

    record = json.loads((tmp_path / "model" / "run.json").read_text())
    assert [entry["of"] for entry in record["curve"] if "of" in entry] == [2]
    assert (record["haystacks"], record["questions"], record["data"]) == (1, 4, {"chats.jsonl": "abc"})
    encoder = open_encoder(str(tmp_path / "model"), folder=tmp_path / "converted", precision="float32")
    trained = TorchEncoder(tmp_path / "model", eight_bits=False)
    start_ = TorchEncoder(tiny, eight_bits=False)
    (read,), (learned,), (before,) = (one.encode(["I bought a boat."]) for one in (encoder, trained, start_))
    assert np.abs(read.tokens - learned.tokens).max() < 1e-4
    assert np.abs(before.tokens - learned.tokens).max() > 1e-4


@pytest.mark.parametrize(("shares", "with_start"), [((0.5, 0.25), True), ((0.5, 0.5), False)])
def test_average_is_the_mean_of_weights_and_projections(
    tiny: Path, tmp_path: Path, shares: tuple[float, float], with_start: bool
) -> None:
    models = []
    for name, shift in (("one", 1.0), ("other", 2.0)):
        trainee = _started(tiny)
        with torch.no_grad():
            for held in trainee.parameters():
                held.add_(shift)
        save(trainee, tiny, tmp_path / name)
        models.append(tmp_path / name)

    average(models, shares, tmp_path / "mean", start=tiny if with_start else None)

    before, after = _started(tiny), _started(tmp_path / "mean")
    for one, mean in zip(before.parameters(), after.parameters(), strict=True):
        expected = one.detach().numpy() + shares[0] * 1.0 + shares[1] * 2.0
        assert mean.detach().numpy() == pytest.approx(expected, abs=1e-5)
    record = json.loads((tmp_path / "mean" / "run.json").read_text())
    assert [part["share"] for part in record] == [*shares, *([0.25] if with_start else [])]


@pytest.mark.parametrize(("count", "shares"), [(2, [1.0]), (1, [0.5]), (2, [0.8, 0.4])])
def test_shares_that_are_not_whole_are_refused(tiny: Path, tmp_path: Path, count: int, shares: list[float]) -> None:
    with pytest.raises(ValueError, match="cannot have the shares"):
        average([tiny] * count, shares, tmp_path / "mean")

    assert list(tmp_path.iterdir()) == []


def test_eight_bits_in_training_lose_what_eight_bits_lose_in_the_graph(
    encoder_dir: Path,
) -> None:
    texts = ["I adopted a grey kitten named Biscuit.", "Yes, since May.", "What did Caroline say last Thursday?"]
    graph = open_encoder(PLAIN, folder=encoder_dir)

    exact, rounded = (TorchEncoder(PLAIN_FOLDER, name=PLAIN, eight_bits=bits).encode(texts) for bits in (False, True))

    for one, other, read in zip(exact, rounded, graph.encode(texts), strict=True):
        assert read.dense @ other.dense > read.dense @ one.dense
        assert read.dense @ other.dense > 0.99


def test_batches_hold_texts_of_like_length() -> None:
    found = batches([5, 100, 6, 7, 90], tokens=200)

    assert sorted(place for batch in found for place in batch) == [0, 1, 2, 3, 4]
    assert found == [[0, 2, 3], [4, 1]]
    assert batches([300], tokens=200) == [[0]]


def test_rate_rises_in_a_line_and_falls_to_nothing() -> None:
    rates = [train._rate(step, 20, 0.1) for step in range(20)]

    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] < 0.02


def _config(**changed: Any) -> configuration.Config:
    told: dict[str, Any] = {
        "tokens_a_step": 200,
        "questions_a_step": 4,
        "epochs": 1,
        "dense_lengths": [32, 16],
        "token_lengths": [8, 4],
    }
    return configuration.load(**(told | changed))


def _toml(model: Path) -> str:
    config = configuration.DEFAULT.read_text().replace("token_dimension = 128", "token_dimension = 8")
    for name, value in (("tokens_a_step", "200"), ("dense_lengths", "[32]"), ("token_lengths", "[8]")):
        lines = [f"{name} = {value}" if line.startswith(f"{name} =") else line for line in config.splitlines()]
        config = "\n".join(lines)
    return config.replace('"all-MiniLM-L6-v2"', f'"{model}"')


def _started(tiny: Path) -> Trainee:
    projection = projection_of(str(tiny))
    assert projection is not None
    return start(tiny, projection)


def _empty(number: int, version: int) -> Prepared:
    return Prepared(number, "chat", version, [], [], [], [])


def _text(encoder: TorchEncoder, ids: list[int]) -> str:
    text: str = encoder._tokenizer.decode(ids)
    return text


def _decoded(encoder: TorchEncoder, key: tuple[list[int], list[int]]) -> tuple[str, str]:
    before, own = key
    return _text(encoder, before), _text(encoder, own)
