"""How an encoder reads: texts become tokens, contexts stand before them, texts of like length share a batch."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from memsvc.inference.encoders import Encoded, Encoder, Matrix, Projection, unit

# Fewer texts are tokenized one by one: sharing them out among threads costs more.
_SHARED = 8

Rows = npt.NDArray[np.int64]
Ends = tuple[int, int]


class TokenEncoder(Encoder):
    """A BERT whose token states are kept; what computes them is a subclass's own matter.

    The dense vector is the mean of the text's own token states.
    """

    batch = 32

    def __init__(self, name: str, tokenizer: Tokenizer, *, max_tokens: int, projection: Projection | None) -> None:
        self.name = name
        self.max_tokens = max_tokens
        self.token_dimension = projection.axes.shape[1] if projection else 0
        self._projection = projection
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # What the model's own tokenizer puts around every text.
        opening, closing = self._tokenizer.encode("").ids
        self._ends = opening, closing

    @abstractmethod
    def states(self, ids: Rows, mask: Rows) -> Matrix:
        """Hidden states of shape (batch, length, dimension) of ids and mask of shape (batch, length)."""

    def encode(self, texts: Sequence[str], *, contexts: Sequence[str] = ()) -> list[Encoded]:
        """The vectors of each text; texts of like length share a batch."""
        if not texts:
            return []
        rows = self.rows(texts, contexts=contexts)
        encoded: list[Encoded | None] = [None] * len(texts)
        by_length = sorted(range(len(rows)), key=lambda place: len(rows[place][0]) + len(rows[place][1]))
        for places in _batches(by_length, self.batch):
            read = self.states(*padded([[*rows[place][0], *rows[place][1]] for place in places], self._ends))
            for place, states in zip(places, read, strict=True):
                before, own = rows[place]
                first = 1 + len(before)
                encoded[place] = self._encoded(states, slice(first, first + len(own)), own)
        return [found for found in encoded if found is not None]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, without the special ones."""
        return [len(ids) for ids in self._ids(texts)]

    def rows(self, texts: Sequence[str], *, contexts: Sequence[str] = ()) -> list[tuple[list[int], list[int]]]:
        """The token ids of each context and text as the model reads them: what is too long is cut.

        A context gives way to its text, and keeps what stands next to it.
        """
        room = self.max_tokens - 2
        owns = [own[:room] for own in self._ids(texts)]
        befores = self._ids(contexts) if contexts else [[] for _ in texts]
        return [
            (before[max(0, len(before) + len(own) - room) :], own) for before, own in zip(befores, owns, strict=True)
        ]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        if len(texts) < _SHARED:
            return [self._tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        return [found.ids for found in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def _encoded(self, states: Matrix, own: slice, ids: Sequence[int]) -> Encoded:
        kept = states[own]
        dense = unit((kept if len(kept) else states[:1]).mean(axis=0))
        if self._projection is None:
            return Encoded(dense, np.empty((0, 0), np.float32), np.empty(0, np.uint32))
        return Encoded(dense, self._projection(kept), np.asarray(ids, dtype=np.uint32))


def padded(rows: Sequence[Sequence[int]], ends: Ends) -> tuple[Rows, Rows]:
    """Ids and mask of shape (rows, length), with special tokens at both ends of each row."""
    opening, closing = ends
    length = max(len(row) for row in rows) + 2
    ids = np.zeros((len(rows), length), dtype=np.int64)
    mask = np.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(row) + 2] = [opening, *row, closing]
        mask[place, : len(row) + 2] = 1
    return ids, mask


def _batches(places: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for first in range(0, len(places), size):
        yield places[first : first + size]
