"""What the legs find for every question of a data set, as numbers: `python -m training.gather --help`.

The fusion is trained on it, and encoders are compared by it, without an engine and on any device.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np

from evals.cases import Case, Haystack
from evals.data_sets import ALL, DATA_SETS
from memsvc.index.base import Legs
from memsvc.inference.encoders import GRAPH, Encoder, open_encoder
from memsvc.memory import ranking
from memsvc.memory.features import NAMES, candidates, features
from training.data import DATA, load, load_for_fusion
from training.model import TorchEncoder, folder_of
from training.prepare import in_company
from training.rounds import session_row
from training.signals import Signals, keys_in

OWN = {"training": load, "fusion": load_for_fusion}


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A question's candidates.

    `numbers`: shape (n, features). `places`: (n, 2), the number of each one's session and its place there. `evidence`:
    (n,) of 0 and 1. `named`: (n,), 1 for a named speaker's turn, -1 for another's when somebody is named, else 0.
    `wanted`: (m, 2), the places of all evidence, found or not. `wanted_sessions`: (s,).
    """

    haystack: int
    groups: tuple[str, ...]
    numbers: np.ndarray
    places: np.ndarray
    evidence: np.ndarray
    named: np.ndarray
    wanted: np.ndarray
    wanted_sessions: np.ndarray

    @property
    def missed(self) -> int:
        """How many evidence turns no leg found."""
        return len(self.wanted) - int(self.evidence.sum())


def examples_of(
    haystack: Haystack,
    number: int,
    signals: Signals,
    groups_of: Callable[[Case], tuple[str, ...]],
) -> Iterator[Example]:
    """The examples of a haystack's questions; those without evidence turns are left out."""
    rows = {session_row(haystack, place): place for place in range(len(haystack.sessions))}
    for case in haystack.cases:
        if case.evidence_turns:
            legs = signals.search(case.question)
            yield _example(haystack, number, case, legs, rows, groups_of(case))


def write(examples: Sequence[Example], path: Path) -> None:
    """All examples in one file."""
    counts = [len(example.evidence) for example in examples]
    np.savez_compressed(
        path,
        features=np.array(NAMES),
        haystack=np.array([example.haystack for example in examples]),
        groups=np.array(["\t".join(example.groups) for example in examples]),
        counts=np.array(counts),
        wanted_counts=np.array([len(example.wanted) for example in examples]),
        session_counts=np.array([len(example.wanted_sessions) for example in examples]),
        numbers=np.concatenate([example.numbers for example in examples]).astype(np.float32),
        places=np.concatenate([example.places for example in examples]).astype(np.int32),
        evidence=np.concatenate([example.evidence for example in examples]).astype(np.int8),
        named=np.concatenate([example.named for example in examples]).astype(np.int8),
        wanted=np.concatenate([example.wanted for example in examples]).astype(np.int32),
        wanted_sessions=np.concatenate([example.wanted_sessions for example in examples]).astype(np.int32),
    )


def read(paths: Sequence[Path]) -> list[Example]:
    """What `write` wrote, of several files; raises ValueError for other features than this version's."""
    examples: list[Example] = []
    for path in paths:
        with np.load(path) as file:
            held = {name: file[name] for name in file.files}
        if tuple(held["features"]) != NAMES:
            raise ValueError(f"{path} holds other features than {NAMES}")
        ends, wanted_ends, session_ends = (
            np.cumsum(held[name])[:-1] for name in ("counts", "wanted_counts", "session_counts")
        )
        columns = zip(
            held["haystack"],
            held["groups"],
            *(np.split(held[name], ends) for name in ("numbers", "places", "evidence", "named")),
            np.split(held["wanted"], wanted_ends),
            np.split(held["wanted_sessions"], session_ends),
            strict=True,
        )
        examples += [
            Example(int(number), tuple(str(groups).split("\t")), numbers, places, evidence, named, wanted, sessions)
            for number, groups, numbers, places, evidence, named, wanted, sessions in columns
        ]
    return examples


def main() -> None:
    """Gather a data set, or a part of it."""
    arguments = _arguments()
    encoders = [_opened(name, arguments) for name in arguments.encoder]
    part, parts = (int(number) for number in arguments.part.split("/"))
    of_fold, folds = (int(number) for number in arguments.fold.split("/"))
    loaded, groups_of = _loaded(arguments.set, arguments.data)
    haystacks = list(loaded) if arguments.company else loaded
    examples: list[list[Example]] = [[] for _ in encoders]
    for number, haystack in enumerate(haystacks):
        if number % folds != of_fold or (number // folds) % parts != part:
            continue
        if isinstance(haystacks, list):
            haystack = in_company(haystack, haystacks, turns=arguments.company, seed=0)
        keys = keys_in(haystack, encoders[0])
        for found, encoder in zip(examples, encoders, strict=True):
            found += examples_of(haystack, number, Signals(keys, encoder), groups_of)
    for found, path in zip(examples, arguments.out, strict=True):
        write(found, path)
        print(f"{len(found)} questions: {path}")


def _opened(name: str, arguments: argparse.Namespace) -> Encoder:
    """The encoder of a name or a folder: as it is shipped if it is, else on torch."""
    folder = folder_of(name)
    if (folder / GRAPH).is_file():
        return open_encoder(name, folder=folder)
    return TorchEncoder(folder, device=arguments.device, name=name, eight_bits=not arguments.exact)


def _loaded(name: str, path: Path | None) -> tuple[Iterator[Haystack], Callable[[Case], tuple[str, ...]]]:
    if name in OWN:
        return OWN[name](path or DATA), lambda case: (ALL, case.category)
    data_set = DATA_SETS[name]
    path = path or data_set.default
    if path is None:
        raise SystemExit(f"--data is missing. {data_set.source}")
    return data_set.load(path), data_set.groups_of


def _example(
    haystack: Haystack, number: int, case: Case, legs: Legs, rows: dict[UUID, int], groups: tuple[str, ...]
) -> Example:
    found = candidates(legs)
    boost = ranking.speaker_boost(case.question, legs, named=1.0, other=-1.0)
    places = [haystack.first_copy((rows[one.found.session_row], one.found.position)) for one in found]
    return Example(
        haystack=number,
        groups=groups,
        numbers=features(found, query=case.question),
        places=np.array(places).reshape(-1, 2),
        evidence=np.array([place in case.evidence_turns for place in places]),
        named=np.array([boost(one.found) if boost else 0 for one in found]),
        wanted=np.array(sorted(case.evidence_turns)).reshape(-1, 2),
        wanted_sessions=np.array(sorted(case.evidence_sessions)),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.gather", description=__doc__)
    parser.add_argument("--set", choices=[*OWN, *DATA_SETS], required=True)
    parser.add_argument("--data", type=Path, help="its file, or the folder of the training data")
    parser.add_argument(
        "--encoder", required=True, nargs="+", help="models' folders, or names that memsvc knows, of one vocabulary"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--exact", action="store_true", help="products as they are, not rounded to 8 bits")
    parser.add_argument("--part", default="0/1", metavar="PART/PARTS", help="only so many of the haystacks")
    parser.add_argument("--fold", default="0/1", metavar="PART/PARTS", help="only those that a training left out")
    parser.add_argument("--company", type=int, default=0, help="add sessions of other haystacks up to so many turns")
    parser.add_argument("--out", type=Path, required=True, nargs="+", help="files to write (.npz), one an encoder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
