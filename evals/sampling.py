"""Times found in real turns, drawn by chance for people to judge one by one."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import numpy as np

from evals import report, results
from evals.cases import Haystack, Place
from evals.data_sets import DATA_SETS, checksum
from evals.errors import WrongUse
from evals.time_report import Summary, memsvc_as_it_is, write
from evals.times import Finder
from memsvc.intervals import Expression, Precision

NAME = "sample"
# Characters that a judge is shown to either side of the words.
AROUND = 200
_AGAIN = "turns in words that were told before"
_WORDLESS = "turns without words"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """What is sampled: the files by data set, how many turns over all of them, and how many expressions of these."""

    paths: Mapping[str, Path]
    turns: int
    draw: int
    seed: int


@dataclass(frozen=True, slots=True)
class ToldTurn:
    """A turn, and where and when it was told."""

    data_set: str
    haystack_id: str
    place: Place
    role: str
    text: str
    said_at: datetime


@dataclass(frozen=True, slots=True)
class Sighting:
    """An expression and the turn that it was found in."""

    turn: ToldTurn
    expression: Expression


@dataclass(frozen=True, slots=True)
class Sampled:
    """The turns by data set, all that was found in them, what was drawn of that, and what was left out by reason."""

    turns: Mapping[str, int]
    sightings: tuple[Sighting, ...]
    drawn: tuple[Sighting, ...]
    left_out: Mapping[str, int]


def run(request: Request, folder: Path, *, find: Finder) -> tuple[str, list[Path]]:
    """Sample, find, draw and write; the report and the paths written.

    Raises WrongUse where the draw is there already: the file may hold what people judged.
    """
    identity = identity_of(request)
    path = folder / f"{identity.stem}.jsonl"
    if path.exists():
        raise WrongUse(f"{path} is this very draw, perhaps with judgements: move it away, or give another --seed.")
    found = sample(request, find=find)
    written = write(summary(request, found, identity), folder, stem=identity.stem)
    path.write_text("".join(json.dumps(_line(each), ensure_ascii=False) + "\n" for each in found.drawn), "utf-8")
    return markdown(request, found), [path, written]


def identity_of(request: Request) -> results.Identity:
    """What a draw is the draw of; raises DataUnreadable for a file that is not there."""
    sums = [checksum(path, DATA_SETS[name].source) for name, path in request.paths.items()]
    config = {"name": f"seed-{request.seed}", "turns": request.turns, "draw": request.draw}
    return results.Identity(NAME, ",".join(sums), config, results.code_checksum())


def sample(request: Request, *, find: Finder) -> Sampled:
    """Equally many turns of each data set, or all that it has; the tense decides where words leave the time open."""
    turns: list[ToldTurn] = []
    left_out: Counter[str] = Counter()
    for name, share in zip(request.paths, _shares(request.turns, len(request.paths)), strict=True):
        told = turns_of(name, DATA_SETS[name].load(request.paths[name]), left_out)
        turns += reservoir(told, share, seed=request.seed)
    sightings = [
        Sighting(turn, expression)
        for turn in turns
        for expression in find(turn.text, reference=turn.said_at, prefer="tense")
    ]
    drawn = reservoir(sightings, request.draw, seed=request.seed)
    by_data_set = Counter(turn.data_set for turn in turns)
    return Sampled({name: by_data_set[name] for name in request.paths}, tuple(sightings), tuple(drawn), dict(left_out))


def turns_of(data_set: str, haystacks: Iterable[Haystack], left_out: "Counter[str]") -> Iterator[ToldTurn]:
    """The turns one by one, each wording once: LongMemEval tells many sessions in several histories."""
    told: set[bytes] = set()
    for haystack in haystacks:
        for number, session in enumerate(haystack.sessions):
            for index, turn in enumerate(session.turns):
                wording = sha256(turn.text.encode()).digest()
                if not turn.text.strip() or wording in told:
                    left_out[_AGAIN if turn.text.strip() else _WORDLESS] += 1
                    continue
                told.add(wording)
                place = (number, index)
                yield ToldTurn(data_set, haystack.haystack_id, place, turn.role, turn.text, session.started_at)


def reservoir(items: Iterable[T], count: int, *, seed: int) -> list[T]:
    """So many of the items, each equally likely, in their order; held in memory are only these (Vitter 1985, R)."""
    chance = np.random.default_rng(seed)
    kept: list[tuple[int, T]] = []
    for number, item in enumerate(items):
        if number < count:
            kept.append((number, item))
        elif (place := int(chance.integers(number + 1))) < count:
            kept[place] = (number, item)
    return [item for _, item in sorted(kept, key=lambda each: each[0])]


def summary(request: Request, found: Sampled, identity: results.Identity) -> Summary:
    """Everything but the expressions themselves, for machines."""
    sums = dict(zip(request.paths, identity.sha256.split(","), strict=True))
    return {
        "data_set": NAME,
        "data": {name: {"file": path.name, "sha256": sums[name]} for name, path in request.paths.items()},
        "config": {**identity.config, "seed": request.seed, "prefer": "tense"},
        "memsvc": memsvc_as_it_is(identity.code),
        "turns": dict(found.turns),
        "expressions": {
            name: dict(Counter(each.expression.precision.value for each in _of(found.sightings, name)))
            for name in request.paths
        },
        "drawn": len(found.drawn),
        "left_out": dict(found.left_out),
    }


def markdown(request: Request, found: Sampled) -> str:
    """How many turns and expressions, by data set and precision, and what was left out."""
    names = list(request.paths)
    told = [[found.turns[name] for name in names], [len(_of(found.sightings, name)) for name in names]]
    rows = [
        ["turns", *_with_sum(told[0])],
        ["expressions", *_with_sum(told[1])],
        ["expressions a turn", *map(_ratio, [*told[1], sum(told[1])], [*told[0], sum(told[0])])],
    ]
    for precision in Precision:
        counts = [_count(_of(found.sightings, name), precision) for name in names]
        if any(counts):
            rows.append([f"to the {precision.value}", *_with_sum(counts)])
    rows.append(["drawn", *_with_sum([len(_of(found.drawn, name)) for name in names])])
    short = [
        f"- {name} has {found.turns[name]} turns, where {share} were asked for"
        for name, share in zip(names, _shares(request.turns, len(names)), strict=True)
        if found.turns[name] < share
    ]
    left_out = [f"- {count} {reason}" for reason, count in found.left_out.items()]
    parts = [
        f"# {NAME}: {sum(told[0])} turns, {sum(told[1])} expressions, {len(found.drawn)} of these drawn",
        report.table(["", *names, "all"], rows),
        "The draw holds words of the data, under their licences:\n\n"
        + "\n".join(f"- {DATA_SETS[name].source}" for name in names),
        "## Left out",
        "\n".join(short + left_out) or "Nothing.",
    ]
    return "\n\n".join(parts) + "\n"


def _shares(total: int, parts: int) -> list[int]:
    """The total in parts as equal as can be, the larger ones last."""
    return [(total + number) // parts for number in range(parts)]


def _line(sighting: Sighting) -> Summary:
    """What a judge needs: the words between what stands before and after them, when they were said, what was read."""
    turn, expression = sighting.turn, sighting.expression
    first, behind = expression.span
    return {
        "data_set": turn.data_set,
        "haystack": turn.haystack_id,
        "place": list(turn.place),
        "role": turn.role,
        "before": turn.text[max(0, first - AROUND) : first],
        "words": turn.text[first:behind],
        "after": turn.text[behind : behind + AROUND],
        "reference": turn.said_at.isoformat(),
        "start": expression.start and expression.start.isoformat(),
        "end": expression.end and expression.end.isoformat(),
        "precision": expression.precision.value,
        "is_relative": expression.is_relative,
    }


def _of(sightings: Sequence[Sighting], data_set: str) -> list[Sighting]:
    return [each for each in sightings if each.turn.data_set == data_set]


def _count(sightings: Sequence[Sighting], precision: Precision) -> int:
    return sum(each.expression.precision is precision for each in sightings)


def _with_sum(counts: Sequence[int]) -> list[str]:
    return [str(count) for count in (*counts, sum(counts))]


def _ratio(expressions: int, turns: int) -> str:
    return f"{expressions / turns:.3f}" if turns else "–"  # noqa: RUF001
