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
    """A stretch of one turn: a sentence, or a part of one that is too long for a window."""

    turn: Turn
    text: str
    tokens: int


def keys_of(round_: Round, *, count_tokens: CountTokens, max_tokens: int) -> list[Key]:
    """The keys of a round: windows of each turn, and the windows of the whole round that span several turns.

    Windows are cut at sentence borders, repeat the last sentences of the one before (up to 32 tokens), carry the
    names of their speakers, and have at most `max_tokens` tokens with those names. Adding turns to the round changes
    no key but the last of the round's own, and removes none.
    """
    speakers = sorted({turn.speaker for turn in round_.turns})
    names = dict(zip(speakers, count_tokens([_label(speaker) for speaker in speakers]), strict=True))
    pieces = [_pieces(turn, count_tokens, max_tokens - names[turn.speaker]) for turn in round_.turns]
    keys = []
    for index, own in enumerate(pieces):
        position = round_.first_position + index
        for number, window in enumerate(_windows(own, names, max_tokens)):
            keys.append(_key(round_, KeyKind.TURN, f"turn:{position}:{number}", window))
    for number, window in enumerate(_windows([piece for own in pieces for piece in own], names, max_tokens)):
        if len({piece.turn.turn_id for piece in window}) > 1:
            keys.append(_key(round_, KeyKind.ROUND, f"round:{number}", window))
    return keys


def _key(round_: Round, kind: KeyKind, name: str, window: Sequence[_Piece]) -> Key:
    turn_ids = tuple(dict.fromkeys(piece.turn.turn_id for piece in window))
    return Key(uuid5(round_.row_id, name), round_, kind, _text(window), turn_ids)


def _text(window: Sequence[_Piece]) -> str:
    """The window as lines, one a turn, each opened by its speaker's name."""
    lines: dict[str, list[str]] = {}
    for piece in window:
        lines.setdefault(piece.turn.turn_id, [_label(piece.turn.speaker)]).append(piece.text)
    return "\n".join(" ".join(parts) for parts in lines.values())


def _label(speaker: str) -> str:
    """What opens a speaker's line; a name that would fill the window is cut."""
    return f"{speaker[:64]}:"


def _windows(pieces: Sequence[_Piece], names: dict[str, int], max_tokens: int) -> Iterator[list[_Piece]]:
    """Fill windows from left to right; each after the first opens with the tail of the one before."""
    window: list[_Piece] = []
    for piece in pieces:
        if window and _size([*window, piece], names) > max_tokens:
            yield window
            window = _tail(window)
            if _size([*window, piece], names) > max_tokens:
                window = []
        window = [*window, piece]
    if window:
        yield window


def _size(window: Sequence[_Piece], names: dict[str, int]) -> int:
    speakers = {piece.turn.turn_id: piece.turn.speaker for piece in window}
    return sum(piece.tokens for piece in window) + sum(names[speaker] for speaker in speakers.values())


def _tail(window: Sequence[_Piece]) -> list[_Piece]:
    """The last pieces of a window, up to 32 tokens, and never the whole of it."""
    tail: list[_Piece] = []
    for piece in reversed(window[1:]):
        if sum(kept.tokens for kept in tail) + piece.tokens > OVERLAP_TOKENS:
            break
        tail.insert(0, piece)
    return tail


def _pieces(turn: Turn, count_tokens: CountTokens, max_tokens: int) -> list[_Piece]:
    sentences = [part.strip() for part in _SENTENCE_END.split(turn.said) if part and part.strip()]
    return [
        _Piece(turn, text, max(1, tokens))  # A piece that counts nothing would never fill a window.
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
