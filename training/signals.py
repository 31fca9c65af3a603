"""What the legs find in a haystack, without an engine: the same hits, from vectors in memory and exact."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evals.cases import Haystack
from memsvc.domain import Found, Hit, Key, Owner
from memsvc.index.base import BM25, DENSE, LATE, Legs, Point, found_of, payload_of
from memsvc.index.lexical import Lexicon, SparseVector
from memsvc.inference.encoders import Encoder
from memsvc.memory.dividing import keys_of
from memsvc.memory.rarity import weights_of
from memsvc.memory.recall import QUERY_TOKENS
from training.rounds import rounds_of

Scores = npt.NDArray[np.float32]
_OWNER = Owner("training", "user")


class Signals:
    """The keys of a haystack (`keys_in`) as vectors, to be searched as an index searches them."""

    def __init__(self, keys: Sequence[Key], encoder: Encoder) -> None:
        self._encoder = encoder
        self._lexicon = Lexicon()
        encoded = encoder.encode([key.text for key in keys], contexts=[key.context for key in keys])
        self._found = [_found(key) for key in keys]
        self._dense = np.stack([vectors.dense for vectors in encoded])
        self._tokens = [vectors.tokens for vectors in encoded]
        self._postings = self._posted(keys)
        turns = {(key.round.session_row, key.position) for key in keys}
        self._turns = len(turns)
        held: dict[object, set[int]] = {turn: set() for turn in turns}
        for key, vectors in zip(keys, encoded, strict=True):
            held[key.round.session_row, key.position].update(vectors.token_ids.tolist())
        self._turns_with = Counter(token for tokens in held.values() for token in tokens)

    def search(self, question: str, *, depth: int = 100) -> Legs:
        """The hits of each leg, best first; the late one scores what the others found."""
        encoded = self._encoder.encode([question])[0]
        dense = self._best(self._dense @ encoded.dense, depth)
        bm25 = self._best(self._lexical(question), depth, above=0.0)
        candidates = sorted({place for place, _ in (*dense, *bm25)})
        legs = {DENSE: dense, BM25: bm25}
        if len(encoded.tokens):
            held = np.array([self._turns_with[token] for token in encoded.token_ids.tolist()])
            weights = weights_of(held, turns=self._turns)
            kept = np.sort(np.argsort(-weights, kind="stable")[:QUERY_TOKENS])
            query = encoded.tokens[kept] * (weights[kept] / weights[kept].sum())[:, None]
            late = self._compared(query, candidates)
            order = np.argsort(-late, kind="stable")
            legs[LATE] = [(candidates[place], float(late[place])) for place in order]
        return {
            leg: [Hit(self._found[place], rank, score) for rank, (place, score) in enumerate(hits, 1)]
            for leg, hits in legs.items()
        }

    def _posted(self, keys: Sequence[Key]) -> dict[int, tuple[npt.NDArray[np.intp], Scores]]:
        """By hashed word, the places of the keys that hold it and its weights there, times its IDF."""
        postings: dict[int, list[tuple[int, float]]] = {}
        for place, key in enumerate(keys):
            vector = self._lexicon.document(f"{key.context}\n{key.text}")
            for word, weight in zip(vector.indices, vector.values, strict=True):
                postings.setdefault(word, []).append((place, weight))
        total = len(keys)
        # The engine's IDF: Qdrant's modifier, over the user's points.
        return {
            word: (
                np.array([place for place, _ in held]),
                np.array([weight for _, weight in held], np.float32)
                * np.float32(np.log1p((total - len(held) + 0.5) / (len(held) + 0.5))),
            )
            for word, held in postings.items()
        }

    def _lexical(self, question: str) -> Scores:
        scores = np.zeros(len(self._found), dtype=np.float32)
        for word in self._lexicon.query(question).indices:
            if word in self._postings:
                places, weights = self._postings[word]
                scores[places] += weights
        return scores

    def _compared(self, query: npt.NDArray[np.float32], candidates: Sequence[int]) -> Scores:
        """MaxSim of each candidate; one without tokens has the lowest there is."""
        if not candidates:
            return np.empty(0, np.float32)
        lengths = np.array([len(self._tokens[place]) for place in candidates])
        likeness = query @ np.concatenate([self._tokens[place] for place in candidates]).T
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        best = np.maximum.reduceat(likeness, np.minimum(starts, likeness.shape[1] - 1), axis=1).sum(axis=0)
        return np.where(lengths > 0, best, -1.0).astype(np.float32)

    def _best(self, scores: Scores, depth: int, *, above: float = -np.inf) -> list[tuple[int, float]]:
        order = np.argsort(-scores, kind="stable")[:depth]
        return [(int(place), float(scores[place])) for place in order if scores[place] > above]


def keys_in(haystack: Haystack, encoder: Encoder) -> list[Key]:
    """The keys that memsvc makes of a haystack, in order."""
    return [
        key
        for round_ in rounds_of(haystack)
        for key in keys_of(round_, count_tokens=encoder.count_tokens, max_tokens=encoder.max_tokens - 2)
    ]


def _found(key: Key) -> Found:
    nothing = np.empty(0, np.float32)
    return found_of(payload_of(Point(key, _OWNER, nothing, SparseVector([], []), nothing)))
