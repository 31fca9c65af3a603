"""Small models of the forms that sentence-transformers keeps on disk, with random weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertForSequenceClassification, BertModel, DistilBertConfig, DistilBertModel

from memsvc.inference.encoders import PLAIN, Matrix, location

_PLAIN = location(PLAIN)
assert _PLAIN is not None
PLAIN_FOLDER: Path = _PLAIN
DIMENSION = 32
MEAN = {"word_embedding_dimension": DIMENSION, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}


def write_bert(folder: Path, *, pooling: dict[str, Any] | None = None, positions: int = 512, seed: int = 0) -> Path:
    """A BERT of two layers with the plain model's tokenizer, as sentence-transformers keeps it."""
    folder.mkdir(parents=True)
    config = BertConfig(
        hidden_size=DIMENSION,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=positions,
        hidden_act="gelu",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "modules.json"):
        shutil.copy(PLAIN_FOLDER / name, folder / name)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": min(256, positions), "do_lower_case": False})
    write_json(folder / "1_Pooling" / "config.json", pooling or MEAN)
    return folder


def write_json(path: Path, content: dict[str, Any]) -> None:
    """A file with this content, in a folder that is made for it."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def write_distilbert(folder: Path) -> Path:
    """The same of another kind, with mean pooling."""
    write_bert(folder)
    (folder / "model.safetensors").unlink()
    config = DistilBertConfig(dim=DIMENSION, n_layers=1, n_heads=4, hidden_dim=64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        DistilBertModel(config).save_pretrained(folder)
    return folder


def write_cross_encoder(folder: Path) -> Path:
    """A small model that scores pairs of texts."""
    write_bert(folder)
    config = BertConfig.from_pretrained(folder, num_labels=1, initializer_range=0.3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForSequenceClassification(config).save_pretrained(folder)
    for other in ("modules.json", "sentence_bert_config.json"):
        (folder / other).unlink()
    return folder


def torch_states(model: Path, text: str, *, context: str = "") -> Matrix:
    """The hidden states of a text's own tokens behind its context, as transformers and torch compute them."""
    before, own = (_token_ids(model, part) for part in (context, text))
    return _states(model, [*before, *own])[1 + len(before) : -1]


def torch_opening_state(model: Path, text: str) -> Matrix:
    """The hidden state of the token that opens a text."""
    opening: Matrix = _states(model, _token_ids(model, text))[0]
    return opening


def _token_ids(model: Path, text: str) -> list[int]:
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def _states(model: Path, ids: list[int]) -> Matrix:
    """States of the tokens between an opening and a closing one."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    whole = [tokenizer.token_to_id("[CLS]"), *ids, tokenizer.token_to_id("[SEP]")]
    bert = BertModel.from_pretrained(model)  # It comes ready to be asked, not to be trained.
    with torch.no_grad():
        states: Matrix = bert(torch.tensor([whole])).last_hidden_state[0].numpy()
    return states
