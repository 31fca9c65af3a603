"""BM25 sparse vectors: stemmed words, and pairs of characters in scripts that put no spaces between words.

Qdrant's own tokenizer and weighting (Robertson and Zaragoza, 2009: k = 1.2, b = 0.75), the same on the embedded
engine and on a server; the IDF factor is the engine's, computed at query time over one user's points.
"""

import re
import unicodedata
from dataclasses import dataclass

from qdrant_edge import Bm25, Bm25Config, TokenizerType

AVERAGE_KEY_TOKENS = 60.0

# Thai, Lao, Burmese, Khmer, Chinese and Japanese. A segmenter would cut a word in a question and the same word in a
# sentence differently; single characters and pairs always meet (Chinese retrieval has used them since Kwok, 1997).
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]+"
)


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
        self._bm25 = Bm25(Bm25Config(language=language, tokenizer=TokenizerType.Word, avg_len=AVERAGE_KEY_TOKENS))

    def document(self, text: str) -> SparseVector:
        """The weights of a key's tokens: term frequency, saturated and normalised by length."""
        vector = self._bm25.embed_document(_spaced(text))
        return SparseVector(list(vector.indices), list(vector.values))

    def query(self, text: str) -> SparseVector:
        """Weight 1 for each distinct token."""
        vector = self._bm25.embed_query(_spaced(text))
        return SparseVector(list(vector.indices), list(vector.values))


def _spaced(text: str) -> str:
    """The text in Unicode's compatible form, with a space after each character and each pair where none is written."""
    if text.isascii():
        return text
    return _UNSPACED.sub(lambda run: f" {' '.join(_grams(run[0]))} ", unicodedata.normalize("NFKC", text))


def _grams(run: str) -> list[str]:
    return [*run, *(run[place : place + 2] for place in range(len(run) - 1))]
