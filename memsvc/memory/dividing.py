"""Pure: a session's turns divided into rounds, and a round's text into the windows that are indexed."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import uuid5

from memsvc.domain import Key, KeyKind, Role, Round, Turn

CountTokens = Callable[[Sequence[str]], list[int]]

# A sentence ends at a full stop, question or exclamation mark before a space, at those of Chinese and Japanese, and
# at a line's end.
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])|\n+")  # noqa: RUF001
OVERLAP_TOKENS = 32
# A turn is read behind the tail of the one before it. 30, 60, 100 and 180 tokens were tried, over one turn and over
# several: 60 of one gave the best late interaction on chats and on sessions with an assistant (README, "Measured").
CONTEXT_TOKENS = 60


def joins(round_turns: Sequence[Turn], turn: Turn) -> bool:
    """Whether a turn belongs to the round before it, or opens the next.

    A reply by an assistant, a tool or the system belongs to the round. Between two people the first turn of another
    speaker is the reply, and the next turn opens a round. The rule looks back only, so that a session which grows
    keeps the rounds it has.
    """
    if not round_turns:
        return False
    opener = round_turns[0]
    if turn.role is not Role.USER:
        return True
    return opener.role is Role.USER and len(round_turns) == 1 and turn.speaker != opener.speaker


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of a turn: a sentence, or a part of one that is too long for a window."""

    text: str
    tokens: int


def keys_of(round_: Round, *, count_tokens: CountTokens, max_tokens: int) -> list[Key]:
    """The keys of a round: windows of each turn, each with the tail of the turn before it as its context.

    Windows are cut at sentence borders, repeat the last sentences of the one before (up to 32 tokens), and carry the
    name of their speaker. Window and context have at most `max_tokens` tokens together, with those names; the context
    up to 60, and never more than a quarter. The turn before the first is `round_.before`. Adding turns to the round
    changes no key and removes none.
    """
    context_tokens = min(CONTEXT_TOKENS, max_tokens // 4)
    room = max_tokens - context_tokens
    speakers = sorted({turn.speaker for turn in _with_before(round_)})
    names = dict(zip(speakers, count_tokens([_label(speaker) for speaker in speakers]), strict=True))
    keys, before = [], round_.before
    for index, turn in enumerate(round_.turns):
        context = _context(before, names, count_tokens, context_tokens) if before else ""
        pieces = _pieces(turn, count_tokens, room - names[turn.speaker])
        for number, window in enumerate(_windows(pieces, names[turn.speaker], room)):
            position = round_.first_position + index
            point_id = uuid5(round_.row_id, f"turn:{position}:{number}")
            text = " ".join([_label(turn.speaker), *(piece.text for piece in window)])
            keys.append(Key(point_id, round_, KeyKind.TURN, text, turn, position, context))
        before = turn
    return keys


def _with_before(round_: Round) -> list[Turn]:
    return [round_.before, *round_.turns] if round_.before else list(round_.turns)


def _context(turn: Turn, names: dict[str, int], count_tokens: CountTokens, max_tokens: int) -> str:
    """The last sentences of a turn, as many as fit, behind its speaker's name."""
    room = max_tokens - names[turn.speaker]
    if room < 1:
        return ""
    pieces = _pieces(turn, count_tokens, room)
    tail = _tail(pieces, room)
    return " ".join([_label(turn.speaker), *(piece.text for piece in tail)])


def _label(speaker: str) -> str:
    """What opens a speaker's line; a name that would fill the window is cut."""
    return f"{speaker[:64]}:"


def _windows(pieces: Sequence[_Piece], name: int, max_tokens: int) -> Iterator[list[_Piece]]:
    """Fill windows from left to right; each after the first opens with the tail of the one before."""
    window: list[_Piece] = []
    for piece in pieces:
        if window and name + _size([*window, piece]) > max_tokens:
            yield window
            window = _tail(window[1:], OVERLAP_TOKENS)
            if name + _size([*window, piece]) > max_tokens:
                window = []
        window = [*window, piece]
    if window:
        yield window


def _size(window: Sequence[_Piece]) -> int:
    return sum(piece.tokens for piece in window)


def _tail(pieces: Sequence[_Piece], max_tokens: int) -> list[_Piece]:
    """The last pieces that have so many tokens at most."""
    tail: list[_Piece] = []
    for piece in reversed(pieces):
        if _size(tail) + piece.tokens > max_tokens:
            break
        tail.insert(0, piece)
    return tail


def _pieces(turn: Turn, count_tokens: CountTokens, max_tokens: int) -> list[_Piece]:
    sentences = [part.strip() for part in _SENTENCE_END.split(turn.said) if part and part.strip()]
    return [
        _Piece(text, max(1, tokens))  # A piece that counts nothing would never fill a window.
        for sentence, count in zip(sentences, count_tokens(sentences), strict=True)
        for text, tokens in _halved(sentence, count, count_tokens, max_tokens)
    ]


def _halved(text: str, tokens: int, count_tokens: CountTokens, max_tokens: int) -> Iterator[tuple[str, int]]:
    """A sentence too long for a window, halved until its parts fit: at a space near the middle, else in a word."""
    if tokens <= max_tokens or len(text) < 2:
        yield text, tokens
        return
    middle = len(text) // 2
    space = text.rfind(" ", middle // 2, middle)
    cut = space if space > 0 else middle
    parts = [part for part in (text[:cut].strip(), text[cut:].strip()) if part]
    for part, count in zip(parts, count_tokens(parts), strict=True):
        yield from _halved(part, count, count_tokens, max_tokens)
