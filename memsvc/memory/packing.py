"""Pure: evidence laid out as a context for a prompt, within a token budget."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memsvc.domain import Turn
from memsvc.facts import Fact

CountTokens = Callable[[Sequence[str]], list[int]]

# Lines are counted so many at a time, until so many in a row did not fit.
_COUNTED_AT_ONCE = 16
_MISFITS = 32


@dataclass(frozen=True, slots=True)
class Passage:
    """Turns of one round that stand in evidence, with the scores of those that matched.

    `position` is where the round starts in its session.
    """

    session_row: UUID
    position: int
    turns: tuple[Turn, ...]
    matched: Mapping[str, float]


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


def pack(passages: Sequence[Passage], *, budget: int, order: str, count_tokens: CountTokens) -> Context:
    """Take turns while they fit into `budget` tokens, then put them in order.

    Matched turns come first, the best score first, so that no reply beside one takes the room of another; then the
    turns around them, by rank. A turn that does not fit is left out, so that a shorter one behind it may stand. If
    nothing fits, the best turn is cut. Lines are `[date time] speaker: text`, in the order of time (`time`) or of rank
    (`rank`).
    """
    if budget <= 0 or not passages:
        return Context("", 0)
    taken: list[_Line] = []
    room, misfits = budget, 0
    for line, tokens in _counted(_lines(passages), count_tokens):
        if tokens <= room:
            taken.append(line)
            room, misfits = room - tokens, 0
        else:
            misfits += 1
        if room == 0 or misfits == _MISFITS:
            break
    if not taken:
        return _cut(passages[0], budget, count_tokens)
    ends = count_tokens(["\n"])[0]
    return Context(_joined(taken, order), budget - room - ends)


def line_of(turn: Turn) -> str:
    """A turn as a line: when, who, what. Further lines of a turn are indented, so that none can pass for a turn."""
    return f"{_head(turn)} " + "\n  ".join(turn.said.splitlines())


def _head(turn: Turn) -> str:
    return f"[{turn.said_at:%Y-%m-%d %H:%M}] {turn.speaker}:"


def pack_facts(facts: Sequence[tuple[Fact, float]], *, budget: int, order: str, count_tokens: CountTokens) -> Context:
    """Take facts, given by rank, while they fit into `budget` tokens. Lines are `[date] text`."""
    lines = [
        _Line(
            rank, (fact.valid_at, str(fact.fact_id), 0, 0), f"[{fact.valid_at:%Y-%m-%d}] {' '.join(fact.text.split())}"
        )
        for rank, (fact, _) in enumerate(facts)
    ]
    taken, room = list[_Line](), budget
    for line, tokens in _counted(lines, count_tokens):
        if tokens <= room:
            taken.append(line)
            room -= tokens
    text = _joined(taken, order)
    return Context(text, count_tokens([text])[0] if text else 0)


def _lines(passages: Sequence[Passage]) -> Iterator[_Line]:
    """Each turn once: matched ones by score, then the others by rank, those beside a matched one first."""
    wanted: list[tuple[tuple[float, int, int], int, int]] = []
    for rank, passage in enumerate(passages):
        places = [index for index, turn in enumerate(passage.turns) if turn.turn_id in passage.matched]
        for index, turn in enumerate(passage.turns):
            score = passage.matched.get(turn.turn_id)
            away = 0 if score is not None else min((abs(index - place) for place in places), default=1)
            wanted.append(((-(score or 0) if score is not None else 1, rank, away), rank, index))
    seen: set[tuple[UUID, str]] = set()
    for _, rank, index in sorted(wanted):
        passage = passages[rank]
        turn = passage.turns[index]
        if (passage.session_row, turn.turn_id) not in seen:
            seen.add((passage.session_row, turn.turn_id))
            place = (turn.said_at, str(passage.session_row), passage.position, index)
            yield _Line(rank, place, line_of(turn))


def _counted(lines: Iterable[_Line], count_tokens: CountTokens) -> Iterator[tuple[_Line, int]]:
    """Each line with its tokens, its end included, which is a token to some tokenizers."""
    rest = iter(lines)
    while batch := [line for _, line in zip(range(_COUNTED_AT_ONCE), rest, strict=False)]:
        yield from zip(batch, count_tokens([f"{line.text}\n" for line in batch]), strict=True)


def _joined(lines: Iterable[_Line], order: str) -> str:
    placed = sorted(lines, key=lambda line: (line.rank, line.place) if order == "rank" else (0, line.place))
    return "\n".join(line.text for line in placed)


def _cut(passage: Passage, budget: int, count_tokens: CountTokens) -> Context:
    """The first words of the best turn, as many as fit."""
    best = max(passage.matched, key=lambda turn_id: passage.matched[turn_id], default=None)
    turn = next((turn for turn in passage.turns if turn.turn_id == best), passage.turns[0])
    words = turn.said.split()
    while words:
        text = " ".join([_head(turn), *words, "…"])
        tokens = count_tokens([text])[0]
        if tokens <= budget:
            return Context(text, tokens)
        words = words[: min(len(words) - 1, len(words) * budget // tokens)]
    return Context("", 0)
