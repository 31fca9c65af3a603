"""The rows that no service is asked for: a ranking drawn by lot, and the whole history as context."""

import random
from collections.abc import Sequence

from evals.cases import Case, Haystack, HaystackTurn, Place
from evals.contexts import approximate_tokens


def drawn(haystack: Haystack, case: Case, *, seed: int = 0) -> list[Place]:
    """All places in an order drawn by lot, the same each time for the same question."""
    places = [
        (number, index) for number, session in enumerate(haystack.sessions) for index in range(len(session.turns))
    ]
    random.Random(f"{seed} {case.case_id}").shuffle(places)  # noqa: S311 (no secret)
    return places


def drawn_context(haystack: Haystack, ranking: Sequence[Place], *, budget: int) -> str:
    """Turns with their replies, taken by lot while they fit into the budget, at four characters a token."""
    taken: dict[Place, str] = {}
    room = budget
    for number, index in ranking:
        turns = haystack.sessions[number].turns
        pair = {
            (number, each): line(turns[each])
            for each in (index, index + 1)
            if each < len(turns) and (number, each) not in taken
        }
        cost = sum(approximate_tokens(f"{text}\n") for text in pair.values())
        if cost <= room:
            taken |= pair
            room -= cost
    return "\n".join(taken[place] for place in sorted(taken))


def full_context(haystack: Haystack) -> str:
    """Every turn of every session, in order, under the session's date."""
    parts = []
    for session in haystack.sessions:
        parts.append(f"[{session.started_at:%Y-%m-%d %H:%M}]")
        parts += [line(turn) for turn in session.turns]
    return "\n".join(parts)


def line(turn: HaystackTurn) -> str:
    """A turn as a line."""
    said = " ".join([turn.text, *(f"[image: {caption}]" for caption in turn.captions)])
    return f"{turn.speaker or turn.role}: {said.strip()}"
