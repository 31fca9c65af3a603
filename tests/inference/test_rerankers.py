"""The reranker on a small cross-encoder with random weights: which text a score belongs to, and what it refuses."""

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertForSequenceClassification

from memsvc.errors import RerankerNotFound
from memsvc.inference.rerankers import SentenceReranker
from tests.inference.models import write_cross_encoder

QUESTION = "Who adopted a kitten?"
TEXTS = ["I adopted a grey kitten.", "", "The tax form is due.", "word " * 1000, "昨日は東京で寿司を食べました。"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small cross-encoder."""
    return write_cross_encoder(tmp_path_factory.mktemp("models") / "cross")


def test_scores_are_the_models_own_of_question_and_text(model: Path) -> None:
    texts = [text for text in TEXTS if text and len(text) < 100]

    scores = SentenceReranker(str(model)).scores(QUESTION, texts)

    tokenizer, scorer = AutoTokenizer.from_pretrained(model), BertForSequenceClassification.from_pretrained(model)
    with torch.no_grad():
        own = [scorer(**tokenizer(QUESTION, text, return_tensors="pt")).logits.sigmoid().item() for text in texts]
    assert scores == pytest.approx(own, abs=1e-5)
    assert min(abs(scores[0] - scores[1]), abs(scores[1] - scores[2]), abs(scores[2] - scores[0])) > 1e-3


def test_every_text_has_its_score_in_its_place(model: Path) -> None:
    reranker = SentenceReranker(str(model))

    together = reranker.scores(QUESTION, TEXTS * 5)

    alone = [reranker.scores(QUESTION, [text])[0] for text in TEXTS]
    assert together == pytest.approx(alone * 5, abs=1e-5)


def test_no_texts_have_no_scores(model: Path) -> None:
    assert SentenceReranker(str(model)).scores(QUESTION, []) == []


@pytest.mark.parametrize("name", ["no-such/model", "no-such-model", "/no/such/folder"])
def test_reranker_that_is_not_here_is_named_with_advice(name: str) -> None:
    with pytest.raises(RerankerNotFound) as refused:
        SentenceReranker(name)

    assert str(refused.value).startswith(f"The reranker {name!r} is not on this machine")


def test_folder_without_a_model_is_no_reranker(tmp_path: Path) -> None:
    with pytest.raises(RerankerNotFound):
        SentenceReranker(str(tmp_path))
