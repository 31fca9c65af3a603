"""The default encoder: a BERT on onnxruntime, several times faster than on torch and without loading torch."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime
from tokenizers import Tokenizer

from memsvc.errors import EncoderNotFound
from memsvc.inference.encoders import GRAPH, PLAIN, Matrix, Projection
from memsvc.inference.reading import Rows, TokenEncoder

log = logging.getLogger(__name__)

_USUAL_MAX_TOKENS = 512
# Raised when the same weights shall become another graph.
_RECIPE = 1


class OnnxEncoder(TokenEncoder):
    """A BERT with mean pooling from a sentence-transformers folder, converted once into `folder`.

    Raises EncoderNotFound when it cannot be read.
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
        try:
            tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
            super().__init__(name, tokenizer, max_tokens=max_tokens(path), projection=projection)
            with _graph(name, path, folder, precision) as graph:
                self._alone = _session(graph, threads=1)
                self._together = _session(graph, threads=threads) if threads > 1 else self._alone
        except Exception as exc:  # Tokenizers and onnxruntime raise errors that have no class in common but this.
            raise EncoderNotFound(f"The encoder {name!r} cannot be read: {exc}") from exc
        self.variant = f"{precision}-{projection.fingerprint}" if projection else precision
        self.dimension = int(self._alone.get_outputs()[0].shape[-1])

    def states(self, ids: Rows, mask: Rows) -> Matrix:
        """Hidden states of shape (batch, length, dimension)."""
        # One text is too little for several threads: where cores are busy they only wait for each other.
        session = self._alone if len(ids) == 1 else self._together
        states: Matrix = session.run(None, {"ids": ids, "mask": mask})[0]
        return states


def _session(graph: Path, *, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Waiting threads that spin take the cores from the engine and the database.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def max_tokens(path: Path) -> int:
    """The tokens that a model reads of a text: its own limit, and never more than it has positions for."""
    positions = int(json.loads((path / "config.json").read_text())["max_position_embeddings"])
    try:
        limit = json.loads((path / "sentence_bert_config.json").read_text())["max_seq_length"]
    except (OSError, LookupError):
        limit = None
    return min(positions, int(limit or _USUAL_MAX_TOKENS))


@contextmanager
def _graph(name: str, path: Path, folder: Path, precision: str) -> Iterator[Path]:
    """The graph that lies in a model's folder, or one that is converted."""
    ready = path / GRAPH
    if not ready.is_file():
        with _converted(name, path, folder, precision) as graph:
            yield graph
    elif precision != "int8":
        raise ValueError(f"its weights are shipped in 8 bits; {precision} is for {PLAIN} and for models of one's own")
    else:
        yield ready


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
