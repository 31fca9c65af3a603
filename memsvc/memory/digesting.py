"""Pure: a session's digest: the few sentences that stand for it, word for word and in its own order."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from memsvc.domain import Role, Turn
from memsvc.facts import ASSISTANT, Fact
from memsvc.memory import quoting

MOST_LINES = 5
_LEAST_WORDS = 4
_MOST_CHARACTERS = 300
_SENTENCE = re.compile(r"[^.!?…\s][^.!?…\n]*[.!?…]*")


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence and the turn that says it."""

    turn_id: str
    text: str


def digest_of(turns: Sequence[Turn], facts: Sequence[Fact]) -> list[Line]:
    """What the session opens with, then the sentences that its facts rest on: the users' first, then the others'."""
    said = {turn.turn_id: turn for turn in turns}
    places = {turn.turn_id: place for place, turn in enumerate(turns)}
    lines: dict[tuple[str, int], Line] = {}
    for turn_id, start, end in _spans(turns, facts):
        turn = said.get(turn_id)
        if turn is None or len(lines) == MOST_LINES:
            continue
        first, last = quoting.sentence_around(turn.text, start, end) if end <= len(turn.text) else (start, end)
        text = " ".join(quoting.whole(turn)[first:last].split())[:_MOST_CHARACTERS]
        if text:
            lines.setdefault((turn_id, first), Line(turn_id, text))
    return [lines[key] for key in sorted(lines, key=lambda key: (places[key[0]], key[1]))]


def _spans(turns: Sequence[Turn], facts: Sequence[Fact]) -> Iterator[tuple[str, int, int]]:
    """Places of sentences, the most telling first."""
    opening = next((turn for turn in turns if turn.role is Role.USER), None)
    if opening is not None:
        for sentence in _SENTENCE.finditer(opening.text):
            if len(sentence[0].split()) >= _LEAST_WORDS:
                yield opening.turn_id, sentence.start(), sentence.end()
                break
    by_weight = sorted(facts, key=lambda fact: (fact.kind == ASSISTANT, -(fact.confidence or 0.0)))
    for fact in by_weight:
        source = fact.sources[0]
        yield source.turn_id, source.start, source.end
