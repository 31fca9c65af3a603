"""The default encoder: its numbers beside torch's, what a context does, and the form it is converted to."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from memsvc.errors import EncoderNotFound
from memsvc.inference.encoders import (
    PLAIN,
    PROJECTION,
    SHIPPED,
    Encoded,
    Encoder,
    Matrix,
    Projection,
    beside,
    open_encoder,
    unit,
)
from memsvc.inference.onnx import OnnxEncoder
from memsvc.inference.sentences import SentenceEncoder
from tests.inference.models import DIMENSION, MEAN, PLAIN_FOLDER, torch_states, write_bert, write_json

TEXTS = [
    "I adopted a grey kitten named Biscuit.",
    "昨日は東京で寿司を食べました。",
    "What did Caroline say about the adoption agency last Thursday?",
    "Yes, since May.",
    "🍕🍕",
]

# Opens an encoder where torch cannot be imported, and nothing can be asked for over the network.
_ALONE = """
import json, socket, sys
from pathlib import Path

asked = []
def refuse(*arguments, **_named):
    asked.append(repr(arguments))
    raise OSError("the network is closed")
socket.getaddrinfo = refuse
socket.socket.connect = socket.socket.connect_ex = refuse

from memsvc.inference.encoders import open_encoder

encoder = open_encoder(*sys.argv[2:], folder=Path(sys.argv[1]))
(encoded,) = encoder.encode(["hello"])
there = [name for name in ("torch", "onnx", "sentence_transformers", "transformers") if name in sys.modules]
print(json.dumps({"shape": encoded.tokens.shape, "imported": there, "asked": asked}))
"""


@pytest.fixture(scope="module")
def exact(encoder_dir: Path) -> Encoder:
    """The plain encoder with all its matrix products in float32."""
    return open_encoder(PLAIN, folder=encoder_dir, precision="float32", threads=2)


@pytest.fixture(scope="module")
def converted(encoder_dir: Path) -> Encoder:
    """The plain encoder as it is converted by default."""
    return open_encoder(PLAIN, folder=encoder_dir, threads=2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small BERT with random weights."""
    return write_bert(tmp_path_factory.mktemp("models") / "tiny")


def test_float32_gives_torchs_vectors(exact: Encoder) -> None:
    projection = Projection.load(beside(PLAIN) / PROJECTION)

    encoded = exact.encode(TEXTS)

    for text, found in zip(TEXTS, encoded, strict=True):
        states = torch_states(PLAIN_FOLDER, text)
        assert np.abs(found.dense - unit(states.mean(axis=0))).max() < 1e-4
        assert np.abs(found.tokens - projection(states)).max() < 1e-4


def test_float32_gives_torchs_vectors_behind_a_context(exact: Encoder) -> None:
    text, context = "assistant: Yes, since May.", "user: Do you still have the kitten?"

    (found,) = exact.encode([text], contexts=[context])

    states = torch_states(PLAIN_FOLDER, text, context=context)
    assert np.abs(found.dense - unit(states.mean(axis=0))).max() < 1e-4
    assert np.abs(found.tokens - Projection.load(beside(PLAIN) / PROJECTION)(states)).max() < 1e-4


def test_any_bert_with_mean_pooling_is_computed_as_torch_does(tiny: Path, tmp_path: Path) -> None:
    encoder = open_encoder(str(tiny), folder=tmp_path, precision="float32")

    encoded = encoder.encode(TEXTS)

    assert isinstance(encoder, OnnxEncoder)
    for text, found in zip(TEXTS, encoded, strict=True):
        assert np.abs(found.dense - unit(torch_states(tiny, text).mean(axis=0))).max() < 1e-4


def test_dense_vector_is_close_to_sentence_transformers_own(exact: Encoder) -> None:
    # That one takes the mean of the special tokens' states too, which tell most in the shortest of texts.
    texts = TEXTS[:3]

    encoded = exact.encode(texts)

    own = SentenceEncoder(PLAIN).encode(texts)
    assert min(_cosines(_dense(encoded), _dense(own))) > 0.99


def test_eight_bits_stay_close_to_float32(converted: Encoder, exact: Encoder) -> None:
    eight, full = converted.encode(TEXTS), exact.encode(TEXTS)

    assert min(_cosines(_dense(eight), _dense(full))) > 0.985
    for quantised, float32 in zip(eight, full, strict=True):
        assert min(_cosines(quantised.tokens, float32.tokens)) > 0.97
    # They are another form all the same, and not the same file under another name.
    assert np.abs(_dense(eight) - _dense(full)).max() > 1e-4


def test_tokens_are_the_texts_own_whatever_stands_before_it(real_encoder: Encoder) -> None:
    texts = ["Yes, since May.", "I adopted a grey kitten.", ""]

    alone = real_encoder.encode(texts)
    behind = real_encoder.encode(texts, contexts=["Do you still have the kitten?", "", "What?"])

    assert [len(found.tokens) for found in behind] == real_encoder.count_tokens(texts) == [5, 6, 0]
    assert [found.token_ids.tolist() for found in behind] == [found.token_ids.tolist() for found in alone]


def test_context_changes_every_vector_of_the_text(exact: Encoder) -> None:
    contexts = ["Do you still have the kitten?", "Do you still drive the old car?", ""]

    kitten, car, alone = exact.encode(["Yes, since May."] * 3, contexts=contexts)

    for one, other in ((kitten, car), (kitten, alone), (car, alone)):
        assert max(_cosines(one.tokens, other.tokens)) < 0.995
        assert np.dot(one.dense, other.dense) < 0.9


def test_answer_carries_what_was_asked(real_encoder: Encoder) -> None:
    kitten, car = real_encoder.encode(
        ["Yes, since May."] * 2, contexts=["Do you still have the kitten?", "Do you still drive the old car?"]
    )
    (query,) = real_encoder.encode(["Who has a cat?"])

    assert np.dot(query.dense, kitten.dense) > np.dot(query.dense, car.dense) + 0.1
    assert _max_sim(query.tokens, kitten.tokens) > _max_sim(query.tokens, car.tokens)


def test_text_of_full_length_crowds_out_its_context(exact: Encoder) -> None:
    # Two tokens of the 256 are the model's own.
    text = "word " * 254

    alone, behind = (exact.encode([text], contexts=[context])[0] for context in ("", "Do you have a kitten?"))

    assert np.array_equal(alone.dense, behind.dense)
    assert np.array_equal(alone.tokens, behind.tokens)


def test_context_that_does_not_fit_keeps_what_stands_next_to_the_text(exact: Encoder) -> None:
    text = "word " * 251

    whole, tail, other = (
        exact.encode([text], contexts=[context])[0]
        for context in ("Do you still have a grey kitten", "a grey kitten", "an old blue car")
    )

    assert np.abs(whole.tokens - tail.tokens).max() < 1e-5
    assert np.abs(whole.tokens - other.tokens).max() > 1e-3
    assert len(whole.tokens) == 251


def test_text_past_the_limit_is_read_up_to_it(exact: Encoder) -> None:
    fitting, longer, other = exact.encode(["word " * 254, "word " * 254 + "kitten " * 50, "word " * 253 + "cat"])

    assert len(longer.tokens) == len(longer.token_ids) == 254
    assert np.abs(fitting.tokens - longer.tokens).max() < 1e-5
    assert np.abs(fitting.tokens - other.tokens).max() > 1e-3


def test_batch_gives_what_each_text_gives_alone_and_in_its_place(exact: Encoder) -> None:
    texts = [f"{'very ' * (number % 7)}long message number {number}" for number in range(70)]
    contexts = ["so it was " * (number % 5) for number in range(70)]

    together = exact.encode(texts, contexts=contexts)

    for text, context, found in zip(texts, contexts, together, strict=True):
        (alone,) = exact.encode([text], contexts=[context])
        assert np.abs(found.dense - alone.dense).max() < 1e-5
        assert np.abs(found.tokens - alone.tokens).max() < 1e-5


def test_batch_in_eight_bits_is_close_to_what_each_text_gives_alone(real_encoder: Encoder) -> None:
    # The products are scaled over a whole batch, so that its texts touch one another a little.
    texts = [f"{'very ' * (number % 7)}long message number {number}" for number in range(70)]

    together = real_encoder.encode(texts)

    alone = [real_encoder.encode([text])[0] for text in texts]
    assert min(_cosines(_dense(together), _dense(alone))) > 0.98


def test_text_without_tokens_has_a_dense_vector_all_the_same(real_encoder: Encoder) -> None:
    (found,) = real_encoder.encode([""])

    assert (found.tokens.shape, found.token_ids.shape) == ((0, 128), (0,))
    assert np.linalg.norm(found.dense) == pytest.approx(1.0, abs=1e-5)


def test_each_text_needs_its_own_context(real_encoder: Encoder) -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        real_encoder.encode(["one", "two"], contexts=["before"])


def test_encoder_without_late_interaction_gives_the_same_dense_vectors_and_no_others(
    encoder_dir: Path, real_encoder: Encoder
) -> None:
    encoder = open_encoder(folder=encoder_dir, late_interaction=False, threads=os.cpu_count() or 1)

    encoded = encoder.encode(TEXTS)

    assert encoder.token_dimension == 0
    assert {(found.tokens.shape, found.token_ids.shape) for found in encoded} == {((0, 0), (0,))}
    assert np.array_equal(_dense(encoded), _dense(real_encoder.encode(TEXTS)))


def test_projection_centres_turns_and_makes_unit_vectors() -> None:
    # (3, 4) has the direction (.6, .8); less the mean that is (.6, .6), and both axes are swapped.
    projection = Projection(
        mean=np.array([0.0, 0.2], dtype=np.float32), axes=np.array([[0.0, 1.0], [1.0, 0.0]], dtype=np.float32)
    )

    vectors = projection(np.array([[3.0, 4.0], [5.0, 0.0]], dtype=np.float32))

    assert vectors.dtype == np.float32
    assert vectors == pytest.approx(np.array([[0.5**0.5, 0.5**0.5], [-0.2 / 1.04**0.5, 1 / 1.04**0.5]]), abs=1e-6)


def test_projection_beside_a_model_is_used(tiny: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    axes = np.linalg.qr(np.random.default_rng(5).normal(size=(DIMENSION, 6)))[0].astype(np.float32)
    mean = np.full(DIMENSION, 0.01, dtype=np.float32)
    np.savez(model / "token_projection.npz", mean=mean, axes=axes)

    encoder = open_encoder(str(model), folder=tmp_path / "converted", precision="float32")

    (found,) = encoder.encode(["hello there"])
    assert encoder.token_dimension == 6
    assert np.abs(found.tokens - Projection(mean, axes)(torch_states(model, "hello there"))).max() < 1e-4


def test_model_without_a_projection_has_no_token_vectors(tiny: Path, tmp_path: Path) -> None:
    encoder = open_encoder(str(tiny), folder=tmp_path)

    (found,) = encoder.encode(["hello there"])

    assert (encoder.token_dimension, found.tokens.shape, found.dense.shape) == (0, (0, 0), (DIMENSION,))


def test_model_is_converted_once_for_each_precision(tiny: Path, tmp_path: Path) -> None:
    first = open_encoder(str(tiny), folder=tmp_path)
    (graph,) = tmp_path.iterdir()
    written = graph.stat().st_mtime_ns, graph.stat().st_ino

    again = open_encoder(str(tiny), folder=tmp_path)

    assert (graph.stat().st_mtime_ns, graph.stat().st_ino) == written
    assert np.array_equal(_dense(first.encode(TEXTS)), _dense(again.encode(TEXTS)))
    open_encoder(str(tiny), folder=tmp_path, precision="float32")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name.rsplit("-", 1)[1] for name in names] == ["float32.onnx", "int8.onnx"]


def test_changed_weights_are_converted_anew(tiny: Path, tmp_path: Path) -> None:
    model, converted = shutil.copytree(tiny, tmp_path / "model"), tmp_path / "converted"
    before = open_encoder(str(model), folder=converted).encode(TEXTS)
    weights = write_bert(tmp_path / "other", seed=1) / "model.safetensors"
    shutil.copy(weights, model / "model.safetensors")

    after = open_encoder(str(model), folder=converted).encode(TEXTS)

    assert len(list(converted.iterdir())) == 2
    assert np.abs(_dense(before) - _dense(after)).max() > 0.01


def test_processes_that_convert_at_once_leave_one_graph(tiny: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _ALONE, str(tmp_path), str(tiny)]

    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]

    said = [process.communicate(timeout=600) for process in both]
    assert [(process.returncode, errors) for process, (_, errors) in zip(both, said, strict=True)] == [(0, "")] * 2
    assert [path.suffix for path in tmp_path.iterdir()] == [".onnx"]


def test_conversion_that_fails_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    model, converted = shutil.copytree(tiny, tmp_path / "model"), tmp_path / "converted"
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights[: len(weights) // 2])

    with pytest.raises(EncoderNotFound, match="cannot be read"):
        open_encoder(str(model), folder=converted)

    assert list(tmp_path.glob("converted/**/*")) == []


def test_conversion_that_fails_halfway_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    model, converted = shutil.copytree(tiny, tmp_path / "model"), tmp_path / "converted"
    config = json.loads((model / "config.json").read_text())
    write_json(model / "config.json", {**config, "num_hidden_layers": 3})

    with pytest.raises(EncoderNotFound, match="encoder_layer_2"):
        open_encoder(str(model), folder=converted)

    assert list(converted.iterdir()) == []


@pytest.mark.parametrize("broken", ["tokenizer.json", "model.safetensors", "config.json"])
def test_model_that_cannot_be_read_is_named(tiny: Path, tmp_path: Path, broken: str) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    (model / broken).write_text('{"model_type": "bert", "hidden_act": "gelu"}')

    with pytest.raises(EncoderNotFound) as refused:
        open_encoder(str(model), folder=tmp_path / "converted")

    assert str(refused.value).startswith(f"The encoder {str(model)!r} cannot be read: ")


def test_graph_that_cannot_be_read_is_not_taken_for_an_encoder(tiny: Path, tmp_path: Path) -> None:
    open_encoder(str(tiny), folder=tmp_path)
    (graph,) = tmp_path.iterdir()
    graph.write_bytes(graph.read_bytes()[:1000])

    with pytest.raises(EncoderNotFound, match=graph.name):
        open_encoder(str(tiny), folder=tmp_path)


def test_folder_that_cannot_be_written_costs_a_conversion_and_no_more(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("a file where the folder should be")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    encoder = open_encoder(str(tiny), folder=tmp_path / "file" / "encoders")

    assert encoder.encode(["hello"])[0].dense.shape == (DIMENSION,)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "the converted encoder cannot be kept"
    ]


@pytest.mark.parametrize("name", [SHIPPED, PLAIN])
def test_encoder_needs_neither_torch_nor_the_network(encoder_dir: Path, converted: Encoder, name: str) -> None:
    command = [sys.executable, "-c", _ALONE, str(encoder_dir), name]

    ended = subprocess.run(command, capture_output=True, text=True, check=True)

    assert json.loads(ended.stdout) == {"shape": [1, 128], "imported": [], "asked": []}


def test_conversion_asks_nobody(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _ALONE, str(tmp_path), PLAIN]

    ended = subprocess.run(command, capture_output=True, text=True, check=True)

    said = json.loads(ended.stdout)
    assert (said["shape"], said["asked"]) == ([1, 128], [])
    assert "torch" in said["imported"]


def test_shipped_encoder_is_read_as_it_lies_there(tmp_path: Path) -> None:
    encoder = open_encoder(folder=tmp_path)

    assert encoder.encode(["hello"])[0].tokens.shape == (1, 128)
    assert list(tmp_path.iterdir()) == []


def test_shipped_encoder_has_one_precision(tmp_path: Path) -> None:
    with pytest.raises(EncoderNotFound, match="shipped in 8 bits; float32 is for all-MiniLM-L6-v2"):
        open_encoder(folder=tmp_path, precision="float32")


@pytest.mark.parametrize("text", ["When did my brother's dog learn to swim?", "昨日は東京で寿司を食べました。"])
def test_shipped_encoder_is_the_model_whose_card_lies_beside_it(tmp_path: Path, text: str) -> None:
    shipped, plain = (open_encoder(name, folder=tmp_path) for name in (SHIPPED, PLAIN))

    (ours,), (theirs,) = (encoder.encode([text]) for encoder in (shipped, plain))

    # Trained from the plain one, and no longer the same.
    assert ours.token_ids.tolist() == theirs.token_ids.tolist()
    assert 0.2 < ours.dense @ theirs.dense < 0.99
    assert {path.name for path in beside(SHIPPED).iterdir()} >= {"README.md", "LICENSE", "run.json", "fusion.json"}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        pytest.param(
            "1_Pooling/config.json", {"pooling_mode": "mean", "embedding_dimension": DIMENSION}, id="newer form"
        ),
        pytest.param("1_Pooling/config.json", MEAN, id="older form"),
    ],
)
def test_mean_pooling_is_known_in_both_forms(tiny: Path, tmp_path: Path, file: str, content: dict[str, object]) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    write_json(model / file, content)

    encoder = open_encoder(str(model), folder=tmp_path / "converted")

    assert isinstance(encoder, OnnxEncoder)


def _dense(encoded: Sequence[Encoded]) -> Matrix:
    return np.stack([found.dense for found in encoded])


def _cosines(one: Matrix, other: Matrix) -> list[float]:
    """Row by row, of unit vectors."""
    cosines: list[float] = (one * other).sum(axis=1).tolist()
    return cosines


def _max_sim(query: Matrix, tokens: Matrix) -> float:
    return float((query @ tokens.T).max(axis=1).mean())
