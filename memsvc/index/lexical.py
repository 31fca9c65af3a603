"""BM25 sparse vectors: stemmed words, and single characters of scripts that write no spaces.

Qdrant's own tokenizer and weighting (Robertson and Zaragoza, 2009: k = 1.2, b = 0.75), the same on the embedded
engine and on a server; the IDF factor is the engine's, computed at query time over one user's points.
"""

from dataclasses import dataclass

from qdrant_edge import Bm25, Bm25Config, TokenizerType

AVERAGE_KEY_TOKENS = 60.0


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Hashed tokens (`indices`, unsigned 32-bit) and their weights."""

    indices: list[int]
    values: list[float]

    def __bool__(self) -> bool:
        """Whether any token is left once stop words are gone."""
        return bool(self.indices)


class Lexicon:
    """Turns texts into sparse vectors."""

    def __init__(self, language: str = "english") -> None:
        self._bm25 = Bm25(
            Bm25Config(language=language, tokenizer=TokenizerType.Multilingual, avg_len=AVERAGE_KEY_TOKENS)
        )

    def document(self, text: str) -> SparseVector:
        """The weights of a key's tokens: term frequency, saturated and normalised by length."""
        vector = self._bm25.embed_document(text)
        return SparseVector(list(vector.indices), list(vector.values))

    def query(self, text: str) -> SparseVector:
        """Weight 1 for each distinct token."""
        vector = self._bm25.embed_query(text)
        return SparseVector(list(vector.indices), list(vector.values))
