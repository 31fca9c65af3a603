"""What is evaluated: haystacks of sessions, and cases that ask about them."""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO

from evals.errors import DataUnreadable

# A turn's place: the number of its session in time order, and its number in that session.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class HaystackTurn:
    """A turn as the data set has it."""

    role: str
    text: str
    speaker: str | None = None
    captions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HaystackSession:
    """A session as the data set has it, with every turn that says something."""

    started_at: datetime
    turns: tuple[HaystackTurn, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A question with its evidence. One without any evidence cannot be scored for access."""

    case_id: str
    category: str
    question: str
    answer: str
    asked_at: datetime
    evidence_turns: frozenset[Place]
    evidence_sessions: frozenset[int]
    is_abstention: bool = False


@dataclass(frozen=True, slots=True)
class Haystack:
    """A history and the questions to it. `left_out` counts what the loader could not use, by reason.

    `copies` leads from the number of a session that the data set holds twice to the number of its first copy: whoever
    finds the one has found the other, and evidence names the first.
    """

    haystack_id: str
    sessions: tuple[HaystackSession, ...]
    cases: tuple[Case, ...]
    left_out: dict[str, int] = field(default_factory=dict)
    copies: dict[int, int] = field(default_factory=dict)

    @property
    def turn_count(self) -> int:
        """The number of turns in all sessions."""
        return sum(len(session.turns) for session in self.sessions)

    def first_copy(self, place: Place) -> Place:
        """The same place in the first copy of its session."""
        return self.copies.get(place[0], place[0]), place[1]


def read_array(path: Path, *, chunk: int = 1 << 20) -> Iterator[dict[str, object]]:
    """The objects of a JSON array in a file, plain or gzip, one by one: the large ones do not fit into memory.

    Raises DataUnreadable when the file is no array of objects, or is cut off.
    """
    with _opened(path) as file:
        try:
            yield from _objects(file, path, chunk)
        except (EOFError, OSError, UnicodeDecodeError, zlib.error) as exc:
            raise DataUnreadable(f"{path} is cut off or malformed: {exc}") from exc


def read_lines(path: Path) -> Iterator[dict[str, object]]:
    """The objects of a JSON Lines file, plain or gzip. Raises DataUnreadable at a line that is no object."""
    with _opened(path) as file:
        try:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _object(json.loads(line), f"{path}, line {number}")
        except (EOFError, OSError, UnicodeDecodeError, zlib.error, json.JSONDecodeError) as exc:
            raise DataUnreadable(f"{path} is cut off or malformed: {exc}") from exc


def _opened(path: Path) -> IO[str]:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _objects(file: IO[str], path: Path, chunk: int) -> Iterator[dict[str, object]]:
    decoder, rest, is_over = json.JSONDecoder(), "", False
    while not rest and not is_over:
        more = file.read(chunk)
        is_over, rest = not more, more.lstrip()
    if not rest.startswith("["):
        raise DataUnreadable(f"{path} is not a JSON array")
    rest = rest[1:]
    while True:
        rest = rest.lstrip(" \r\n\t,")
        if rest.startswith("]"):
            return
        try:
            found, end = decoder.raw_decode(rest)
        except json.JSONDecodeError as exc:
            if is_over:
                raise DataUnreadable(f"{path} is cut off or malformed: {exc}") from exc
            # An object may be many chunks long: reading ever more at once keeps the parsing linear.
            more = file.read(max(chunk, len(rest)))
            is_over, rest = not more, rest + more
            continue
        yield _object(found, str(path))
        rest = rest[end:]


def _object(found: object, where: str) -> dict[str, object]:
    if not isinstance(found, dict):
        raise DataUnreadable(f"{where} holds {str(found)[:40]!r} where an object is expected")
    return found
