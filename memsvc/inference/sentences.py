"""Any sentence-transformers model, on torch: for those that the default encoder's form does not fit."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from memsvc.errors import EncoderNotFound
from memsvc.inference import hub
from memsvc.inference.encoders import Encoded, Encoder, location

_BATCH = 32


class SentenceEncoder(Encoder):
    """A sentence-transformers model from this machine's disk, by path or by its name in the local cache.

    It gives dense vectors of whole texts, and no token vectors; contexts are not read, since its pooling is its own.
    Only `download` goes to the hub. Raises EncoderNotFound.
    """

    token_dimension = 0
    variant = ""

    def __init__(self, name: str, *, threads: int = 1, download: bool = False) -> None:
        hub.prepare(download=download)
        # These two take seconds to import; only processes that encode pay for them.
        import torch
        from sentence_transformers import SentenceTransformer

        logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
        self._set_threads = torch.set_num_threads
        self._threads = threads
        try:
            model = SentenceTransformer(str(location(name) or name), device="cpu", local_files_only=not download)
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

    def encode(self, texts: Sequence[str], *, contexts: Sequence[str] = ()) -> list[Encoded]:  # noqa: ARG002
        """The dense vector of each text; texts of like length share a batch."""
        if not texts:
            return []
        # One text is too little for several threads: where cores are busy they only wait for each other.
        self._set_threads(1 if len(texts) == 1 else self._threads)
        vectors = self._model.encode(list(texts), batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False)
        no_tokens, no_ids = np.empty((0, 0), np.float32), np.empty(0, np.uint32)
        return [Encoded(vector, no_tokens, no_ids) for vector in np.asarray(vectors, dtype=np.float32)]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, without the special ones."""
        if not texts:
            return []
        return [len(found.ids) for found in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def _counting_tokenizer(of_model: Any) -> Any:
    """A copy of the model's tokenizer that cuts nothing.

    The model's own is set to cut at each call, and such a setting may not change while another thread uses it.
    """
    copy = type(of_model.backend_tokenizer).from_str(of_model.backend_tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy
