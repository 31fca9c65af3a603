"""The training data as token ids: `python -m training.prepare --data FOLDER --out FILE`.

Haystacks become keys just as memsvc makes them. Every chat comes in several versions: as it is, and with its two
speakers renamed, all chats of one version to the same two names, so that one chat's sessions can stand among another's
without the names telling them apart.
"""

import argparse
import gzip
import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evals.cases import Haystack, HaystackSession
from memsvc.inference.reading import TokenEncoder
from training import configuration
from training.data import DATA, load
from training.model import TorchEncoder, folder_of
from training.signals import keys_in

# Names for renamed versions: short, common, of several languages.
_NAMES = (
    "Alice", "Ben", "Carmen", "Daniel", "Emma", "Farid", "Grace", "Hugo", "Ines", "Jack", "Kavya", "Leo", "Mia", "Noah",
    "Olga", "Paul", "Rosa", "Sam", "Tara", "Umar", "Vera", "Will", "Yuki", "Zoe", "Anna", "Bruno", "Chloe", "David",
    "Elena", "Frank", "Hannah", "Ivan", "Julia", "Kevin", "Laura", "Marco", "Nina", "Oscar", "Priya", "Ruth",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A haystack as numbers.

    `keys`: token ids of each key's context and text; `turns`: the number of each key's turn; `sessions`: of its
    session. `questions`: each one's token ids and the numbers of its evidence turns. `version` is 0 for the original.
    """

    number: int
    kind: str
    version: int
    keys: list[tuple[list[int], list[int]]]
    turns: list[int]
    sessions: list[int]
    questions: list[tuple[list[int], list[int]]]

    def turns_with(self) -> Counter[int]:
        """In how many turns each token stands."""
        held: dict[int, set[int]] = {}
        for turn, (_, own) in zip(self.turns, self.keys, strict=True):
            held.setdefault(turn, set()).update(own)
        return Counter(token for tokens in held.values() for token in tokens)


def prepare(haystacks: Sequence[Haystack], reader: TokenEncoder, *, renamed: int, seed: int) -> Iterator[Prepared]:
    """All versions of all haystacks; `number` is the haystack's place."""
    draw = random.Random(seed)  # noqa: S311 (no secret)
    pairs = [draw.sample(_NAMES, 2) for _ in range(renamed)]
    for number, haystack in enumerate(haystacks):
        speakers = speakers_of(haystack)
        kind = "chat" if len(speakers) == 2 else "assistant"
        yield _prepared(haystack, reader, number, kind, version=0)
        for version, names in enumerate(pairs if kind == "chat" else [], 1):
            told = renamed_to(haystack, dict(zip(speakers, draw.sample(names, 2), strict=True)))
            yield _prepared(told, reader, number, kind, version=version)


def speakers_of(haystack: Haystack) -> list[str]:
    """The named speakers, in the order of their names."""
    return sorted({turn.speaker for session in haystack.sessions for turn in session.turns if turn.speaker})


def renamed_to(haystack: Haystack, names: dict[str, str]) -> Haystack:
    """The haystack with speakers renamed wherever they are called by their names."""
    word = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b")

    def told(text: str) -> str:
        return word.sub(lambda found: names[found[1]], text)

    sessions = tuple(
        replace(
            session,
            turns=tuple(
                replace(
                    turn,
                    text=told(turn.text),
                    speaker=names.get(turn.speaker or "", turn.speaker),
                    captions=tuple(map(told, turn.captions)),
                )
                for turn in session.turns
            ),
        )
        for session in haystack.sessions
    )
    return replace(
        haystack,
        sessions=sessions,
        cases=tuple(replace(case, question=told(case.question)) for case in haystack.cases),
    )


def in_company(haystack: Haystack, others: Sequence[Haystack], *, turns: int, seed: int) -> Haystack:
    """The haystack with sessions of others of its kind behind its own, up to so many turns.

    Their speakers bear the names of its own, so that what they say is told apart by what it says alone.
    """
    draw = random.Random(f"{seed} {haystack.haystack_id}")  # noqa: S311 (no secret)
    speakers = speakers_of(haystack)
    alike = [other for other in others if other is not haystack and len(speakers_of(other)) == len(speakers)]
    added: list[HaystackSession] = []
    room = turns - haystack.turn_count
    while alike and room > 0:
        other = draw.choice(alike)
        names = dict(zip(speakers_of(other), draw.sample(speakers, len(speakers)), strict=True))
        session = draw.choice((renamed_to(other, names) if names else other).sessions)
        added.append(session)
        room -= len(session.turns)
    return replace(haystack, sessions=(*haystack.sessions, *added))


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of the training data."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.json*"))}


def _prepared(haystack: Haystack, reader: TokenEncoder, number: int, kind: str, *, version: int) -> Prepared:
    keys = keys_in(haystack, reader)
    places: dict[tuple[int, int], int] = {}
    turns = [places.setdefault((int(key.round.session_id), key.position), len(places)) for key in keys]
    asked = reader.rows([case.question for case in haystack.cases])
    return Prepared(
        number=number,
        kind=kind,
        version=version,
        keys=reader.rows([key.text for key in keys], contexts=[key.context for key in keys]),
        turns=turns,
        sessions=[int(key.round.session_id) for key in keys],
        questions=[
            (own, sorted(places[place] for place in case.evidence_turns))
            for (_, own), case in zip(asked, haystack.cases, strict=True)
        ],
    )


def write(prepared: Iterable[Prepared], path: Path, *, data: dict[str, str]) -> int:
    """Write the hashes of the data, then one line a version of a haystack; how many."""
    count = 0
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=6) as file:
        file.write(json.dumps(data) + "\n")
        for one in prepared:
            file.write(json.dumps(asdict(one), separators=(",", ":")) + "\n")
            count += 1
    return count


def read(path: Path) -> tuple[list[Prepared], dict[str, str]]:
    """What `write` wrote, and the hashes of the data."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        data: dict[str, str] = json.loads(next(file))
        return [_read(json.loads(line)) for line in file], data


def _read(held: dict[str, Any]) -> Prepared:
    pairs = {name: [(first, second) for first, second in held[name]] for name in ("keys", "questions")}
    return Prepared(**(held | pairs))


def main() -> None:
    """Prepare a folder of training data."""
    parser = argparse.ArgumentParser(prog="python -m training.prepare", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the training data")
    parser.add_argument("--config", type=Path, default=configuration.DEFAULT)
    parser.add_argument("--out", type=Path, required=True, help="file to write (.json.gz)")
    arguments = parser.parse_args()
    config = configuration.load(arguments.config)
    reader = TorchEncoder(folder_of(config.model.start), name=config.model.start)
    count = write(
        prepare(list(load(arguments.data)), reader, renamed=config.data.renamed, seed=config.train.seed),
        arguments.out,
        data=hashes(arguments.data),
    )
    print(f"{count} versions of haystacks: {arguments.out}")


if __name__ == "__main__":
    main()
