"""What the legs find without an engine is what they find with one; and what is made of it."""

import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest

from evals.cases import Haystack
from memsvc.domain import Draft, Query, Role
from memsvc.index.base import LEGS, Legs
from memsvc.index.edge import EdgeIndex
from memsvc.index.lexical import Lexicon
from memsvc.inference.encoders import PLAIN, open_encoder
from memsvc.memory.features import NAMES, candidates, features
from memsvc.memory.indexing import shape_of
from memsvc.memory.ranking import LearnedFusion
from memsvc.memory.rarity import Rarity
from memsvc.memory.recall import Recaller, Recipe
from tests.doubles import HashEncoder
from tests.factories import OWNER
from tests.inference.models import PLAIN_FOLDER
from tests.memory import Memory, opened
from training import evaluate, fusion, gather
from training.data import load
from training.export import export
from training.gather import Example, examples_of
from training.model import TorchEncoder
from training.signals import Signals, keys_in


@pytest.fixture
def haystack(data: Path) -> Haystack:
    """The first chat."""
    return next(iter(load(data)))


def test_legs_find_what_the_engine_finds(haystack: Haystack, tmp_path: Path) -> None:
    encoder = HashEncoder(max_tokens=512)
    signals = Signals(keys_in(haystack, encoder), encoder)
    with closing(opened(tmp_path)) as store, closing(EdgeIndex(tmp_path / "index", shape_of(encoder))) as index:
        memory = Memory(store, index, encoder)
        _record(memory, haystack)
        recaller = Recaller(store, index, encoder, Lexicon(), Rarity(store), Recipe())
        for case in haystack.cases:
            with_engine = recaller.search(OWNER, Query(case.question, case.asked_at))

            without = signals.search(case.question)

            query = case.question
            for leg in LEGS:
                found, expected = (
                    [(hit.found.length, hit.found.asks) for hit in legs[leg]] for legs in (without, with_engine)
                )
                assert sorted(found) == sorted(expected)
            ours, theirs = (_by_place(legs, query) for legs in (without, with_engine))
            # The engine keeps vectors in 16 and 4 bits.
            for place, numbers in theirs.items():
                assert ours[place] == pytest.approx(numbers, abs=0.35)


def test_depth_bounds_what_the_searching_legs_find(haystack: Haystack) -> None:
    encoder = HashEncoder(max_tokens=512)

    legs = Signals(keys_in(haystack, encoder), encoder).search("boat cost nine thousand", depth=2)

    assert (len(legs["dense"]), len(legs["bm25"])) == (2, 2)
    assert {hit.found.turn_id for hit in legs["late"]} == {
        hit.found.turn_id for leg in ("dense", "bm25") for hit in legs[leg]
    }


def test_examples_hold_the_evidence_and_who_is_named(haystack: Haystack) -> None:
    encoder = HashEncoder(max_tokens=512)

    examples = list(
        examples_of(haystack, 7, Signals(keys_in(haystack, encoder), encoder), lambda case: (case.category,))
    )

    first = examples[0]
    assert [example.groups for example in examples] == [("single",), ("single",), ("multi",), ("single",)]
    assert (first.haystack, first.missed, first.numbers.shape[1]) == (7, 0, len(NAMES))
    assert first.places[first.evidence].tolist() == [[0, 0]]
    # "What did Tove buy?" names Tove, whose turns are those at even places but for the last session's.
    assert set(first.named.tolist()) == {1, -1}
    assert first.named[first.evidence].tolist() == [1]
    assert set(examples[3].named.tolist()) == {0}


def test_what_is_gathered_is_read_again(haystack: Haystack, tmp_path: Path) -> None:
    encoder = HashEncoder(max_tokens=512)
    examples = list(examples_of(haystack, 7, Signals(keys_in(haystack, encoder), encoder), lambda _: ("all", "x")))

    gather.write(examples, tmp_path / "one.npz")
    again = gather.read([tmp_path / "one.npz", tmp_path / "one.npz"])

    assert len(again) == 2 * len(examples)
    for one, other in zip(examples, again, strict=False):
        assert (one.haystack, one.groups, one.missed) == (other.haystack, other.groups, other.missed)
        assert other.numbers == pytest.approx(one.numbers, abs=1e-4)
        for name in ("places", "named", "wanted", "wanted_sessions"):
            assert getattr(one, name).tolist() == getattr(other, name).tolist()


def test_gathered_under_other_features_is_refused(haystack: Haystack, tmp_path: Path) -> None:
    encoder = HashEncoder(max_tokens=512)
    gather.write(
        list(examples_of(haystack, 0, Signals(keys_in(haystack, encoder), encoder), lambda _: ("all",))),
        tmp_path / "one.npz",
    )
    with np.load(tmp_path / "one.npz") as file:
        held = {name: file[name] for name in file.files}
    np.savez(tmp_path / "other.npz", **(held | {"features": np.array(["late", "other"])}))

    with pytest.raises(ValueError, match="other features"):
        gather.read([tmp_path / "other.npz"])


def test_figures_are_those_of_the_ranking() -> None:
    numbers = np.zeros((3, len(NAMES)))
    numbers[:, NAMES.index("dense")] = [1.0, 3.0, 2.0]
    example = _example(numbers, places=[[0, 0], [1, 0], [1, 1]], wanted=[[0, 0], [2, 5]], sessions=[0, 2])

    (found,) = evaluate.figures([example], evaluate.scorers()["dense"]).values()

    # One of two evidence turns is found, at the third place; of the sessions, the second of two in the ranking.
    assert {name: round(value, 6) for name, (value,) in found.items()} == {
        "turn@5": 0.5,
        "turn@10": 0.5,
        "turn all@10": 0.0,
        "session all@5": 0.0,
        "ndcg_official@10": 0.5,
    }


def test_fusion_learns_what_tells_evidence_apart(tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    examples = []
    for number in range(60):
        numbers = draw.normal(size=(12, len(NAMES)))
        evidence = numbers[:, NAMES.index("dense")] + numbers[:, NAMES.index("late")] > 1.5
        evidence[0] = True
        numbers[0, [NAMES.index("dense"), NAMES.index("late")]] = 2.0
        examples.append(_example(numbers, evidence=evidence, number=number))
    gather.write(examples, tmp_path / "gathered.npz")

    learned = fusion.fit(gather.read([tmp_path / "gathered.npz"]), name="late")

    (tmp_path / "fusion.json").write_text(json.dumps({"late": learned}))
    odds_of = LearnedFusion(tmp_path / "fusion.json").odds_of
    ranks = [np.argsort(-odds_of(example.numbers))[: example.evidence.sum()] for example in examples]
    found = [example.evidence[places].mean() for example, places in zip(examples, ranks, strict=True)]
    assert np.mean(found) > 0.9
    # Calibrated: odds of one are evidence about half the time.
    sure = np.concatenate([example.evidence[odds_of(example.numbers) > 1] for example in examples])
    assert sure.mean() > 0.5


def test_without_the_late_leg_its_numbers_are_what_they_would_be(haystack: Haystack) -> None:
    encoder, blind = HashEncoder(max_tokens=512), HashEncoder(max_tokens=512, token_dimension=0)
    examples, expected = (
        list(examples_of(haystack, 0, Signals(keys_in(haystack, one), one), lambda _: ("all",)))
        for one in (encoder, blind)
    )

    for example, other in zip(examples, expected, strict=True):
        found = fusion.without_late(example)
        assert found.places.tolist() == other.places.tolist()
        assert found.numbers == pytest.approx(other.numbers, abs=1e-6)


def test_commands_lead_from_data_to_a_shipped_folder(data: Path, tiny: Path, tmp_path: Path) -> None:
    model, gathered = tmp_path / "model", tmp_path / "gathered.npz"
    shutil.copytree(tiny, model)
    base = ["--set", "training", "--data", str(data), "--encoder", str(model)]

    for command in (
        ["gather", *base, "--company", "12", "--out", str(gathered)],
        ["fusion", "--gathered", str(gathered), "--out", str(tmp_path / "fusion.json")],
        [
            "evaluate",
            "--gathered",
            str(gathered),
            "--fusion",
            str(tmp_path / "fusion.json"),
            "--json",
            str(tmp_path / "t"),
        ],
        [
            "export",
            "--model",
            str(model),
            "--fusion",
            str(tmp_path / "fusion.json"),
            "--out",
            str(tmp_path / "shipped"),
        ],
    ):
        module, *arguments = command
        subprocess.run([sys.executable, "-m", f"training.{module}", *arguments], check=True, capture_output=True)

    means = json.loads((tmp_path / "t").read_text())
    assert set(means["all"]) == {"dense", "bm25", "late", "sum", "fused"}
    assert open_encoder(str(tmp_path / "shipped"), folder=tmp_path / "none").token_dimension == 8
    assert not (tmp_path / "none").exists()


def test_shipped_form_gives_the_vectors_of_the_converted_model_in_little_more_than_half_the_size(
    tmp_path: Path, encoder_dir: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(PLAIN_FOLDER, model)
    plain = open_encoder(PLAIN, folder=encoder_dir)
    np.savez(model / "token_projection.npz", mean=plain._projection.mean, axes=plain._projection.axes)  # type: ignore[attr-defined]
    texts = ["I adopted a grey kitten named Biscuit.", "昨日は東京で寿司を食べました。", ""]

    export(model, tmp_path / "shipped")

    shipped = open_encoder(str(tmp_path / "shipped"), folder=tmp_path / "none")
    for one, other in zip(plain.encode(texts), shipped.encode(texts), strict=True):
        assert one.dense @ other.dense > 0.99
        assert (one.tokens * other.tokens).sum(1).min(initial=1.0) > 0.97
    converted = next(path for path in encoder_dir.glob("all-MiniLM*-int8.onnx"))
    assert (tmp_path / "shipped" / "model.onnx").stat().st_size < 0.6 * converted.stat().st_size
    large = [
        held
        for held in onnx.load(tmp_path / "shipped" / "model.onnx").graph.initializer
        if held.data_type == onnx.TensorProto.FLOAT and np.prod(held.dims) >= 4096
    ]
    assert large == []


def test_encoder_on_torch_gives_what_the_graph_gives(tmp_path: Path, tiny: Path) -> None:
    texts, contexts = ["Yes, since May.", "a boat"], ["Do you still have the kitten?", ""]
    graph = open_encoder(str(tiny), folder=tmp_path, precision="float32")

    found = TorchEncoder(tiny, eight_bits=False).encode(texts, contexts=contexts)

    for one, other in zip(found, graph.encode(texts, contexts=contexts), strict=True):
        assert np.abs(one.dense - other.dense).max() < 1e-4
        assert np.abs(one.tokens - other.tokens).max() < 1e-4


def _by_place(legs: Legs, query: str) -> dict[tuple[str, int], list[float]]:
    found = candidates(legs)
    rows = {row: number for number, row in enumerate(dict.fromkeys(one.found.session_row for one in found))}
    assert len(rows) <= 3
    return {
        (one.found.speaker, one.found.length): numbers
        for one, numbers in zip(found, features(found, query=query).tolist(), strict=True)
    }


def _example(
    numbers: np.ndarray,
    *,
    places: list[list[int]] | None = None,
    wanted: list[list[int]] | None = None,
    sessions: list[int] | None = None,
    evidence: np.ndarray | None = None,
    number: int = 0,
) -> Example:
    count = len(numbers)
    held = np.zeros(count, dtype=bool) if evidence is None else evidence
    found = np.array(places or [[0, place] for place in range(count)])
    return Example(
        haystack=number,
        groups=("all",),
        numbers=numbers,
        places=found,
        evidence=held,
        named=np.zeros(count),
        wanted=np.array(wanted) if wanted else found[held],
        wanted_sessions=np.array(sessions or [0]),
    )


def _record(memory: Memory, haystack: Haystack) -> None:
    for number, session in enumerate(haystack.sessions):
        drafts = [Draft(Role(turn.role), turn.text, speaker=turn.speaker) for turn in session.turns]
        memory.recorder.record(OWNER, str(number), drafts, started_at=session.started_at)
    memory.drain()
