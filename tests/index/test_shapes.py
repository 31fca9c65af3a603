"""What an index is filled with, as its collections are named after it and as messages say it."""

import pytest

from memsvc.domain import KEY_FORM, Shape
from memsvc.index.base import collection_name
from memsvc.memory.indexing import shape_of
from tests.doubles import HashEncoder


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (Shape("mini", 384, 128, 3), "mini (384 dimensions, 128 a token, keys of form 3)"),
        (Shape("mini", 384, 0, 1), "mini (384 dimensions, no token vectors, keys of form 1)"),
    ],
)
def test_shape_is_said_in_words(shape: Shape, said: str) -> None:
    assert str(shape) == said


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        (Shape("all-MiniLM-L6-v2", 384, 128, 3), "memsvc-all-minilm-l6-v2-384-t128-k3"),
        (Shape("/models/Größe v2/", 8, 0, 2), "memsvc-models-gr--e-v2-8-t0-k2"),
        pytest.param(Shape("x" * 200, 8, 4, 2), f"memsvc-{'x' * 80}-8-t4-k2", id="long name"),
    ],
)
def test_collection_is_named_after_all_that_would_fill_it_otherwise(shape: Shape, name: str) -> None:
    assert collection_name(shape) == name


def test_shape_of_an_encoder_is_of_the_present_form_of_keys() -> None:
    shape = shape_of(HashEncoder("words", 32, token_dimension=16))

    assert shape == Shape("words", 32, 16, KEY_FORM)
