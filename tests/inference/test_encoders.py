"""The shipped encoder, for real: what it gives, what it counts, and which models are read in which way."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertModel

from memsvc.errors import EncoderNotFound
from memsvc.inference.encoders import PLAIN, Encoded, Encoder, Matrix, open_encoder, unit
from memsvc.inference.onnx import OnnxEncoder
from memsvc.inference.sentences import SentenceEncoder
from tests.doubles import together
from tests.inference.models import (
    DIMENSION,
    PLAIN_FOLDER,
    torch_opening_state,
    write_bert,
    write_distilbert,
    write_json,
)

TEXTS = [
    "I adopted a grey kitten named Biscuit.",
    "昨日は東京で寿司を食べました。",
    "🍕🍕",
    "",
    "a " * 2000,
    "Hi",
]
CLS = {"word_embedding_dimension": DIMENSION, "pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}


@pytest.fixture(scope="module")
def on_torch() -> SentenceEncoder:
    """The plain encoder as sentence-transformers runs it."""
    return SentenceEncoder(PLAIN)


@pytest.fixture(params=["onnxruntime", "torch"])
def encoder(request: pytest.FixtureRequest, real_encoder: Encoder) -> Encoder:
    """The shipped encoder on onnxruntime, and the plain one on torch."""
    if request.param == "onnxruntime":
        return real_encoder
    on_torch: Encoder = request.getfixturevalue("on_torch")
    return on_torch


def test_shipped_encoder_is_a_minilm(real_encoder: Encoder) -> None:
    described = (real_encoder.name, real_encoder.dimension, real_encoder.token_dimension, real_encoder.max_tokens)

    assert isinstance(real_encoder, OnnxEncoder)
    assert described == ("memsvc-minilm-v2", 384, 128, 256)


def test_dense_vectors_are_unit_vectors_of_float32(encoder: Encoder) -> None:
    encoded = encoder.encode(TEXTS)

    vectors = _dense(encoded)
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)


def test_token_vectors_are_unit_vectors_of_float32_one_a_token(real_encoder: Encoder) -> None:
    encoded = real_encoder.encode(TEXTS)

    counts = [min(254, count) for count in real_encoder.count_tokens(TEXTS)]
    assert [found.tokens.shape for found in encoded] == [(count, 128) for count in counts]
    assert [len(found.token_ids) for found in encoded] == counts
    assert {(found.tokens.dtype, found.token_ids.dtype) for found in encoded} == {
        (np.dtype(np.float32), np.dtype(np.uint32))
    }
    lengths = np.linalg.norm(np.concatenate([found.tokens for found in encoded]), axis=1)
    assert lengths == pytest.approx(np.ones(sum(counts)), abs=1e-5)


def test_token_ids_are_those_of_words_wherever_they_stand(real_encoder: Encoder) -> None:
    kitten, sleepy, other = real_encoder.encode(["kitten", "A sleepy KITTEN", "parrot"])

    assert kitten.token_ids[0] == sleepy.token_ids[-1]
    assert kitten.token_ids[0] != other.token_ids[0]


def test_same_texts_give_the_same_vectors(encoder: Encoder) -> None:
    first = encoder.encode(TEXTS)

    second = encoder.encode(TEXTS)

    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.dense, other.dense)
        assert np.array_equal(one.tokens, other.tokens)


def test_no_texts_give_no_vectors(encoder: Encoder) -> None:
    encoded = encoder.encode([])

    assert encoded == []
    assert encoder.count_tokens([]) == []


def test_like_meanings_are_closer_than_unlike_ones(encoder: Encoder) -> None:
    kitten, cat, tax = _dense(encoder.encode(["I adopted a kitten.", "She has a new cat.", "The tax form is due."]))

    assert np.dot(kitten, cat) > np.dot(kitten, tax) + 0.2


def test_tokens_are_counted_without_the_special_ones(encoder: Encoder) -> None:
    counts = encoder.count_tokens(["", "hello", "hello world", "Hello, world!", "东京", "\u200b"])

    assert counts == [0, 1, 2, 4, 2, 0]


def test_tokens_past_the_limit_are_counted_too(encoder: Encoder) -> None:
    counts = encoder.count_tokens(["word " * 254, "word " * 255, "word " * 3000])

    assert counts == [254, 255, 3000]


def test_counting_leaves_encoding_as_it_was(encoder: Encoder) -> None:
    before = _dense(encoder.encode(TEXTS))

    encoder.count_tokens(TEXTS)

    assert np.array_equal(_dense(encoder.encode(TEXTS)), before)


def test_threads_that_encode_and_count_at_once_do_not_touch_each_other(encoder: Encoder) -> None:
    texts = ["I adopted a grey kitten.", "word " * 300, "Hi", "昨日は東京で寿司を食べました。"]
    alone = {text: encoder.encode([text])[0].dense for text in texts}
    found: dict[str, list[tuple[Matrix, list[int]]]] = {text: [] for text in texts}

    def encode(text: str) -> None:
        for _ in range(5):
            found[text].append((encoder.encode([text])[0].dense, encoder.count_tokens([text])))

    raised = together(*(partial(encode, text) for text in texts))

    assert raised == []
    for text in texts:
        assert all(np.array_equal(vector, alone[text]) for vector, _ in found[text])
        assert [count for _, count in found[text]] == [encoder.count_tokens([text])] * 5


def test_batch_on_torch_gives_what_each_text_gives_alone_and_in_its_place(on_torch: Encoder) -> None:
    texts = [f"{'very ' * (number % 7)}long message number {number}" for number in range(70)]

    together = _dense(on_torch.encode(texts))

    alone = np.concatenate([_dense(on_torch.encode([text])) for text in texts])
    assert np.abs(together - alone).max() < 1e-5


def test_text_past_the_limit_is_read_up_to_it_on_torch(on_torch: Encoder) -> None:
    # Two tokens of the 256 are the model's own.
    fitting, longer, other = _dense(
        on_torch.encode(["word " * 254, "word " * 254 + "kitten " * 50, "word " * 253 + "cat"])
    )

    assert np.abs(fitting - longer).max() < 1e-5
    assert np.abs(fitting - other).max() > 1e-4


def test_torch_gives_no_token_vectors_and_reads_no_contexts(on_torch: Encoder) -> None:
    alone = on_torch.encode(TEXTS)

    behind = on_torch.encode(TEXTS, contexts=["Do you still have the kitten?"] * len(TEXTS))

    assert on_torch.token_dimension == 0
    assert {(found.tokens.shape, found.token_ids.shape) for found in behind} == {((0, 0), (0,))}
    assert np.array_equal(_dense(behind), _dense(alone))


@pytest.mark.parametrize("name", ["no-such/model", "no-such-model", "/no/such/folder", "", "../.."])
def test_encoder_that_is_not_here_is_named_with_advice(tmp_path: Path, name: str) -> None:
    with pytest.raises(EncoderNotFound) as refused:
        open_encoder(name, folder=tmp_path)

    assert str(refused.value).startswith(f"The encoder {name!r} is not on this machine")
    assert "MEMSVC_ENCODER_DOWNLOAD=true" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_folder_without_a_model_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(EncoderNotFound):
        open_encoder(str(tmp_path), folder=tmp_path)


def test_encoder_is_loaded_from_the_path_of_a_model(encoder_dir: Path) -> None:
    path = str(PLAIN_FOLDER)

    encoder = open_encoder(path, folder=encoder_dir)

    assert (encoder.name, encoder.dimension, encoder.max_tokens) == (path, 384, 256)
    assert (
        np.abs(
            _dense(encoder.encode(TEXTS[:1])) - _dense(open_encoder(PLAIN, folder=encoder_dir).encode(TEXTS[:1]))
        ).max()
        < 1e-5
    )
    assert PLAIN not in path


def test_model_with_another_pooling_runs_on_torch(tmp_path: Path) -> None:
    model = write_bert(tmp_path / "model", pooling=CLS)

    encoder = open_encoder(str(model), folder=tmp_path / "converted")

    (found,) = encoder.encode(["hello there"])
    assert isinstance(encoder, SentenceEncoder)
    assert (encoder.name, encoder.dimension, encoder.token_dimension) == (str(model), DIMENSION, 0)
    assert np.abs(found.dense - unit(torch_opening_state(model, "hello there"))).max() < 1e-4
    assert not (tmp_path / "converted").exists()


def test_model_of_another_kind_runs_on_torch(tmp_path: Path) -> None:
    model = write_distilbert(tmp_path / "model")

    encoder = open_encoder(str(model), folder=tmp_path / "converted")

    short, long = encoder.encode(["hello there", "hello " * 400])
    assert isinstance(encoder, SentenceEncoder)
    assert np.linalg.norm([short.dense, long.dense], axis=1) == pytest.approx(np.ones(2), abs=1e-5)
    assert not (tmp_path / "converted").exists()


@pytest.mark.parametrize(
    ("file", "content", "dimension"),
    [
        pytest.param("config.json", {"hidden_act": "relu"}, DIMENSION, id="another activation"),
        pytest.param("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, 2 * DIMENSION, id="mean and maximum"),
    ],
)
def test_form_that_is_not_computed_here_is_left_to_torch(
    tmp_path: Path, file: str, content: dict[str, Any], dimension: int
) -> None:
    model = write_bert(tmp_path / "model")
    known = json.loads((model / file).read_text()) if (model / file).exists() else {}
    write_json(model / file, {**known, **content})

    encoder = open_encoder(str(model), folder=tmp_path / "converted")

    assert isinstance(encoder, SentenceEncoder)
    assert encoder.encode(["hello there"])[0].dense.shape == (dimension,)


def _dense(encoded: Sequence[Encoded]) -> Matrix:
    return np.stack([found.dense for found in encoded])


def test_module_behind_the_pooling_is_left_to_torch(tmp_path: Path) -> None:
    model = write_bert(tmp_path / "model")
    modules = json.loads((model / "modules.json").read_text())
    modules[2] = {"idx": 2, "name": "2", "path": "2_LayerNorm", "type": "sentence_transformers.models.LayerNorm"}
    (model / "modules.json").write_text(json.dumps(modules))
    write_json(model / "2_LayerNorm" / "config.json", {"dimension": DIMENSION})
    norm = {"norm.weight": torch.rand(DIMENSION), "norm.bias": torch.rand(DIMENSION)}
    save_file(norm, model / "2_LayerNorm" / "model.safetensors")

    encoder = open_encoder(str(model), folder=tmp_path / "converted")

    assert isinstance(encoder, SentenceEncoder)


def test_texts_end_at_the_models_own_limit(tmp_path: Path) -> None:
    model = write_bert(tmp_path / "model", positions=64)

    encoder = open_encoder(str(model), folder=tmp_path / "converted")

    assert encoder.max_tokens == 64 == SentenceEncoder(str(model)).max_tokens
    assert len(encoder.encode(["word " * 200])) == 1


def test_special_tokens_are_the_tokenizers(tmp_path: Path) -> None:
    model = write_bert(tmp_path / "model")
    words = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "hello": 4, "there": 5}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.save(str(model / "tokenizer.json"))

    (found,) = open_encoder(str(model), folder=tmp_path / "converted", precision="float32").encode(["hello there"])

    with torch.no_grad():
        states = BertModel.from_pretrained(model)(torch.tensor([[0, 4, 5, 2]])).last_hidden_state[0, 1:3].numpy()
    assert np.abs(found.dense - unit(states.mean(axis=0))).max() < 1e-4
