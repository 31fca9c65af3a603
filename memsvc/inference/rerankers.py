"""A reranker reads question and text together: slower than any leg, and better at the head of a list."""

import threading
from collections.abc import Sequence
from typing import Protocol

from memsvc.errors import RerankerNotFound
from memsvc.inference import hub

_BATCH = 16


class Reranker(Protocol):
    """Scores how well texts answer a question."""

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score a text, higher for a better one; their scale is the model's."""
        ...


class SentenceReranker(Reranker):
    """A sentence-transformers CrossEncoder, by path or by its name in the local cache.

    Only `download` goes to the hub. Raises RerankerNotFound.
    """

    def __init__(self, name: str, *, threads: int = 1, download: bool = False) -> None:
        hub.prepare(download=download)
        # These take seconds to import; only processes that rerank pay for them.
        import torch
        from sentence_transformers import CrossEncoder

        torch.set_num_threads(threads)
        # A tokenizer's settings change at a call, and may not while another thread uses it.
        self._lock = threading.Lock()
        try:
            self._model = CrossEncoder(name, device="cpu", local_files_only=not download)
        except (OSError, ValueError, AttributeError) as exc:
            raise RerankerNotFound(
                f"The reranker {name!r} is not on this machine: {exc}. Give the path of a sentence-transformers "
                "CrossEncoder, or set MEMSVC_ENCODER_DOWNLOAD=true to fetch it from the model hub."
            ) from exc

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score a text."""
        if not texts:
            return []
        pairs = [(query, text) for text in texts]
        with self._lock:
            return [float(score) for score in self._model.predict(pairs, batch_size=_BATCH, show_progress_bar=False)]
