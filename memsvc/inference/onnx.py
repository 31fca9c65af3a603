"""The default encoder: a BERT on onnxruntime, several times faster than on torch and without loading torch."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from memsvc.errors import EncoderNotFound
from memsvc.inference.encoders import Encoded, Encoder, Matrix, Projection, unit

log = logging.getLogger(__name__)

_BATCH = 32
_USUAL_MAX_TOKENS = 512
# Raised when the same weights shall become another graph.
_RECIPE = 1
# Fewer texts are tokenized one by one: sharing them out among threads costs more.
_SHARED = 8


class OnnxEncoder(Encoder):
    """A BERT with mean pooling from a sentence-transformers folder, converted once into `folder`.

    The dense vector is the mean of the text's own token states. Raises EncoderNotFound when it cannot be read.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        folder: Path,
        precision: str = "int8",
        projection: Projection | None = None,
        threads: int = 1,
    ) -> None:
        self.name = name
        self._projection = projection
        try:
            self._tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            # What the model's own tokenizer puts around every text.
            self._opening, self._closing = self._tokenizer.encode("").ids
            with _converted(name, path, folder, precision) as graph:
                self._alone = _session(graph, threads=1)
                self._together = _session(graph, threads=threads) if threads > 1 else self._alone
            self.max_tokens = _max_tokens(path)
        except Exception as exc:  # Tokenizers and onnxruntime raise errors that have no class in common but this.
            raise EncoderNotFound(f"The encoder {name!r} cannot be read: {exc}") from exc
        self.variant = f"{precision}-{projection.fingerprint}" if projection else precision
        self.dimension = int(self._alone.get_outputs()[0].shape[-1])
        self.token_dimension = projection.axes.shape[1] if projection else 0

    def encode(self, texts: Sequence[str], *, contexts: Sequence[str] = ()) -> list[Encoded]:
        """The vectors of each text; texts of like length share a batch."""
        if not texts:
            return []
        owns = self._ids(texts)
        befores = self._ids(contexts) if contexts else [[] for _ in texts]
        room = self.max_tokens - 2
        owns = [own[:room] for own in owns]
        # A context gives way to its text, and keeps what stands next to it.
        befores = [before[max(0, len(before) + len(own) - room) :] for before, own in zip(befores, owns, strict=True)]
        encoded: list[Encoded | None] = [None] * len(texts)
        by_length = sorted(range(len(texts)), key=lambda place: len(befores[place]) + len(owns[place]))
        for places in _batches(by_length):
            states = self._states([[*befores[place], *owns[place]] for place in places])
            for place, read in zip(places, states, strict=True):
                first = 1 + len(befores[place])
                encoded[place] = self._encoded(read, slice(first, first + len(owns[place])), owns[place])
        return [found for found in encoded if found is not None]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, without the special ones."""
        return [len(ids) for ids in self._ids(texts)]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        if len(texts) < _SHARED:
            return [self._tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        return [found.ids for found in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def _states(self, rows: Sequence[Sequence[int]]) -> Matrix:
        """Hidden states of shape (batch, length, dimension), the special tokens' at both ends of each row."""
        length = max(len(row) for row in rows) + 2
        ids = np.zeros((len(rows), length), dtype=np.int64)
        mask = np.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row) + 2] = [self._opening, *row, self._closing]
            mask[place, : len(row) + 2] = 1
        # One text is too little for several threads: where cores are busy they only wait for each other.
        session = self._alone if len(rows) == 1 else self._together
        states: Matrix = session.run(None, {"ids": ids, "mask": mask})[0]
        return states

    def _encoded(self, states: Matrix, own: slice, ids: Sequence[int]) -> Encoded:
        kept = states[own]
        dense = unit((kept if len(kept) else states[:1]).mean(axis=0))
        if self._projection is None:
            return Encoded(dense, np.empty((0, 0), np.float32), np.empty(0, np.uint32))
        return Encoded(dense, self._projection(kept), np.asarray(ids, dtype=np.uint32))


def _batches(places: Sequence[int]) -> Iterator[Sequence[int]]:
    for first in range(0, len(places), _BATCH):
        yield places[first : first + _BATCH]


def _session(graph: Path, *, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Waiting threads that spin take the cores from the engine and the database.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def _max_tokens(path: Path) -> int:
    """The tokens that a model reads of a text: its own limit, and never more than it has positions for."""
    positions = int(json.loads((path / "config.json").read_text())["max_position_embeddings"])
    try:
        limit = json.loads((path / "sentence_bert_config.json").read_text())["max_seq_length"]
    except (OSError, LookupError):
        limit = None
    return min(positions, int(limit or _USUAL_MAX_TOKENS))


@contextmanager
def _converted(name: str, path: Path, folder: Path, precision: str) -> Iterator[Path]:
    """The graph of a model in `folder`, made unless it is there; a changed model gets another."""
    weights = (path / "model.safetensors").stat()
    known = f"{_RECIPE}:{path.resolve()}:{weights.st_size}:{weights.st_mtime_ns}"
    graph = folder / f"{Path(name).name}-{hashlib.sha256(known.encode()).hexdigest()[:12]}-{precision}.onnx"
    if graph.is_file():
        yield graph
        return
    # Torch takes seconds to import; only the first start pays for it.
    from memsvc.inference.bert import convert

    with tempfile.TemporaryDirectory(prefix="memsvc-encoder-") as passing:
        try:
            convert(path, graph, precision=precision)
        except OSError as exc:
            log.warning("the converted encoder cannot be kept", extra={"folder": str(folder), "detail": str(exc)})
            graph = Path(passing) / graph.name
            convert(path, graph, precision=precision)
        yield graph
