"""Pure: what a ranking can know of each candidate turn, as numbers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import numpy.typing as npt

from memsvc.domain import Found, Hit, Role

Numbers = npt.NDArray[np.float64]

# A question about what the assistant itself said: "did you …", "you recommended …", "remind me", "our last chat".
_OF_ASSISTANT = re.compile(
    r"\b(?:(?:did|were|had) you|remind me|according to you|(?:by|from) you"
    r"|you(?:'d| had| have|'ve)? (?:just |also |once |originally |then |first )?"
    r"(?:(?!need|feed|speed|exceed)\w+ed|told|said|gave|made|wrote|put|chose|brought|found|drew|knew|were|kept|built|came|set|did)"
    r"|(?:our|previous|earlier|last) (?:previous |last |earlier )?(?:chat|conversation|discussion|session)"
    r"|your (?:\w+ )?(?:list|suggestion|recommendation|advice|answer|explanation|reply|response|example|ranking"
    r"|summary|story|poem|tip|plan|recipe|description|draft|version|code|table|breakdown|comparison)s?)\b",
    re.IGNORECASE,
)
_OF_ASKER = re.compile(r"\b(?:i|my|me|mine|i'm|i've|i'd)\b", re.IGNORECASE)
_USUAL_LOG_LENGTH = 4.5

NAMES = (
    "late", "dense", "bm25",
    "late_of_session", "dense_of_session", "bm25_of_session",
    "dense_before", "dense_after", "late_before", "late_after",
    "length", "is_question", "has_question",
    "by_assistant", "by_assistant_asked_for", "by_assistant_asked_of_me",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Candidate:
    """A turn that some leg found: by leg, the best rank and score of its windows."""

    found: Found
    legs: dict[str, tuple[int, float]]


def candidates(legs: Mapping[str, Sequence[Hit]]) -> list[Candidate]:
    """The turns, or the facts, behind the legs' hits, each once, in the order in which they were met."""
    turns: dict[tuple[UUID, int, UUID | None], Candidate] = {}
    for leg, hits in legs.items():
        for hit in hits:
            place = hit.found.session_row, hit.found.position, hit.found.fact
            candidate = turns.get(place)
            if candidate is None:
                candidate = turns[place] = Candidate(hit.found, {})
            # Hits come best first, so that the first window of a turn is its best.
            candidate.legs.setdefault(leg, (hit.rank, hit.score))
    return list(turns.values())


def features(of: Sequence[Candidate], *, query: str) -> Numbers:
    """Numbers of shape (candidates, features), in the order of `NAMES`.

    Cosines are taken times ten, BM25 in standard deviations over the candidates. A leg that did not find a candidate
    gives it the lowest score it gave (BM25: none). Sessions have the score of their best candidate; a neighbour that is
    no candidate has the lowest score of all.
    """
    dense, late = (_cosines(of, leg) for leg in ("dense", "late"))
    bm25 = _standardised(np.array([found.legs.get("bm25", (0, 0.0))[1] for found in of]))
    sessions, before, after = _neighbourhood(of)
    length = np.log1p(np.array([found.found.length for found in of])) - _USUAL_LOG_LENGTH
    asks = np.array([found.found.asks for found in of])
    by_assistant = np.array([found.found.role is Role.ASSISTANT for found in of], dtype=np.float64)
    return np.column_stack(
        [
            late, dense, bm25,
            *(_best_of(scores, sessions) for scores in (late, dense, bm25)),
            _next_to(dense, before), _next_to(dense, after), _next_to(late, before), _next_to(late, after),
            length, asks == 2, asks >= 1,
            by_assistant,
            by_assistant * bool(_OF_ASSISTANT.search(query)),
            by_assistant * bool(_OF_ASKER.search(query)),
        ]
    )  # fmt: skip


def _cosines(of: Sequence[Candidate], leg: str) -> Numbers:
    scores = [found.legs[leg][1] if leg in found.legs else None for found in of]
    floor = min((score for score in scores if score is not None), default=0.0)
    return 10 * np.array([floor if score is None else score for score in scores])


def _standardised(scores: Numbers) -> Numbers:
    return np.asarray((scores - scores.mean()) / (scores.std() + 1e-6))


def _neighbourhood(
    of: Sequence[Candidate],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """By candidate: the number of its session, and the places of the turns before and after it, -1 where none is."""
    numbers: dict[UUID, int] = {}
    places = {(found.found.session_row, found.found.position): place for place, found in enumerate(of)}
    sessions = [numbers.setdefault(found.found.session_row, len(numbers)) for found in of]
    before, after = (
        [places.get((found.found.session_row, found.found.position + step), -1) for found in of] for step in (-1, 1)
    )
    return np.array(sessions), np.array(before), np.array(after)


def _best_of(scores: Numbers, groups: npt.NDArray[np.intp]) -> Numbers:
    best = np.full(groups.max() + 1, -np.inf)
    np.maximum.at(best, groups, scores)
    return np.asarray(best[groups])


def _next_to(scores: Numbers, places: npt.NDArray[np.intp]) -> Numbers:
    return np.where(places >= 0, scores[places], scores.min())
