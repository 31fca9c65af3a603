"""Pure: evidence laid out as a context for a prompt, within a token budget."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memsvc.domain import Turn

CountTokens = Callable[[Sequence[str]], list[int]]


@dataclass(frozen=True, slots=True)
class Passage:
    """Turns of one round that stand in evidence; `position` is where the round starts in its session."""

    session_row: UUID
    position: int
    turns: tuple[Turn, ...]
    matched: frozenset[str]


@dataclass(frozen=True, slots=True)
class Context:
    """A prompt-ready text and its length."""

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class _Line:
    rank: int
    place: tuple[datetime, str, int, int]
    text: str
    tokens: int


def pack(passages: Sequence[Passage], *, budget: int, order: str, count_tokens: CountTokens) -> Context:
    """Take passages by rank while they fit into `budget` tokens, then put them in order.

    A passage that does not fit whole gives its matched turns; one that does not fit at all is left out, so that a
    shorter one behind it may stand. If nothing fits, the best turn is cut. Lines are `[date time] speaker: text`, in
    the order of time (`time`) or of rank (`rank`).
    """
    taken: dict[tuple[UUID, str], _Line] = {}
    room = budget
    for passage, lines in zip(passages, _lines(passages, count_tokens), strict=True):
        fresh = {turn_id: line for turn_id, line in lines.items() if (passage.session_row, turn_id) not in taken}
        if _cost(fresh) > room:
            fresh = {turn_id: line for turn_id, line in fresh.items() if turn_id in passage.matched}
        if _cost(fresh) <= room:
            room -= _cost(fresh)
            taken |= {(passage.session_row, turn_id): line for turn_id, line in fresh.items()}
    if not taken and passages:
        return _cut(passages[0], budget, count_tokens)
    ends = len(taken) and count_tokens(["\n"])[0]
    return Context(_joined(taken.values(), order), budget - room - ends)


def line_of(turn: Turn) -> str:
    """A turn as a line: when, who, what. Further lines of a turn are indented, so that none can pass for a turn."""
    return f"{_head(turn)} " + "\n  ".join(turn.said.splitlines())


def _head(turn: Turn) -> str:
    return f"[{turn.said_at:%Y-%m-%d %H:%M}] {turn.speaker}:"


def _lines(passages: Sequence[Passage], count_tokens: CountTokens) -> list[dict[str, _Line]]:
    """The lines of each passage by turn; all are counted at once."""
    texts = [line_of(turn) for passage in passages for turn in passage.turns]
    # Each is counted with its line's end, which is a token to some tokenizers.
    counted = iter(zip(texts, count_tokens([f"{text}\n" for text in texts]), strict=True))
    return [
        {
            turn.turn_id: _Line(rank, (turn.said_at, str(passage.session_row), passage.position, index), *next(counted))
            for index, turn in enumerate(passage.turns)
        }
        for rank, passage in enumerate(passages)
    ]


def _cost(lines: Mapping[str, _Line]) -> int:
    return sum(line.tokens for line in lines.values())


def _joined(lines: Iterable[_Line], order: str) -> str:
    placed = sorted(lines, key=lambda line: (line.rank, line.place) if order == "rank" else (0, line.place))
    return "\n".join(line.text for line in placed)


def _cut(passage: Passage, budget: int, count_tokens: CountTokens) -> Context:
    """The first words of the best turn, as many as fit."""
    turn = next((turn for turn in passage.turns if turn.turn_id in passage.matched), passage.turns[0])
    words = turn.said.split()
    while words:
        text = " ".join([_head(turn), *words, "…"])
        tokens = count_tokens([text])[0]
        if tokens <= budget:
            return Context(text, tokens)
        words = words[: min(len(words) - 1, len(words) * budget // tokens)]
    return Context("", 0)
