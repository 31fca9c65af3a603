"""Training of the encoder: `python -m training.train --prepared FILE --out FOLDER`.

Contrastive over whole histories: a softmax over the turns of a haystack and of others' sessions beside it, once with
the similarity of sentence vectors and once with late interaction (MaxSim; Khattab and Zaharia, SIGIR 2020), whose query
tokens are weighted by their rarity among the haystack's turns, just as recall weights them. A question with several
evidence turns has each of them compared with all that is no evidence. Sentence vectors are trained at several lengths
at once (Matryoshka; Kusupati et al., NeurIPS 2022).

The folder becomes a model's folder; `run.json` in it tells the configuration, the data, the curves and the hardware.
"""

import argparse
import json
import math
import platform
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from memsvc.inference.encoders import Projection, projection_of
from memsvc.inference.reading import padded
from memsvc.memory.rarity import weights_of
from training import configuration
from training.configuration import Config, TrainConfig
from training.model import RECORD, Trainee, batches, folder_of, half, save, start
from training.prepare import Prepared, read

_TOKENS_A_BATCH = 32_768
# The special tokens of BERT's vocabulary around every text.
_ENDS = 101, 102
_LOWEST = -1e4


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The questions of a step, the keys that they are compared with, and which of the turns are evidence.

    `weights`: one list a question, of its tokens' weights.
    """

    keys: list[tuple[list[int], list[int]]]
    turns: list[int]
    questions: list[list[int]]
    weights: list[list[float]]
    evidence: list[list[int]]


class Groups:
    """Draws the groups of an epoch from prepared haystacks."""

    def __init__(self, prepared: Sequence[Prepared], train: TrainConfig) -> None:
        self._by_version: dict[tuple[str, int], list[Prepared]] = {}
        for one in prepared:
            self._by_version.setdefault((one.kind, one.version), []).append(one)
        self._versions: dict[int, list[Prepared]] = {}
        for one in prepared:
            self._versions.setdefault(one.number, []).append(one)
        self._train = train
        self._rarities = {(one.number, one.version): one.turns_with() for one in prepared}

    @property
    def steps(self) -> int:
        """The groups of an epoch."""
        return sum(self._portions(len(versions[0].questions)) for versions in self._versions.values())

    def epoch(self, draw: random.Random) -> Iterator[Group]:
        """Every question once, each with its haystack in a version drawn by lot."""
        portions: list[tuple[int, list[int]]] = []
        for number, versions in self._versions.items():
            order = list(range(len(versions[0].questions)))
            draw.shuffle(order)
            count = self._portions(len(order))
            portions += [(number, order[place::count]) for place in range(count)]
        draw.shuffle(portions)
        for number, chosen in portions:
            plain, *renamed = self._versions[number]
            is_renamed = renamed and draw.random() < self._train.renamed_share
            yield self.group(draw.choice(renamed) if is_renamed else plain, chosen, draw)

    def _portions(self, questions: int) -> int:
        return max(1, round(questions / self._train.questions_a_step))

    def group(self, one: Prepared, chosen: Sequence[int], draw: random.Random) -> Group:
        """The sessions that hold the questions' evidence, then the haystack's others, then others' of its kind.

        So many as the tokens of a step allow; evidence is never left out.
        """
        wanted = {turn for place in chosen for turn in one.questions[place][1]}
        own = _sessions(one)
        held = [session for session, places in own.items() if wanted & {one.turns[place] for place in places}]
        rest = [session for session in own if session not in held]
        draw.shuffle(rest)
        group = _Company(self._train.tokens_a_step)
        numbers: dict[int, int] = {}
        for session in held:
            numbers |= group.add(one, own[session], always=True)
        for session in rest:
            numbers |= group.add(one, own[session])
        others = [other for other in self._by_version[one.kind, one.version] if other.number != one.number]
        while others and group.has_room:
            other = draw.choice(others)
            places = _sessions(other)
            group.add(other, places[draw.choice(list(places))])
        turns_with, total = self._rarities[one.number, one.version], len(set(one.turns))
        questions = [one.questions[place] for place in chosen]
        return Group(
            keys=group.keys,
            turns=group.turns,
            questions=[ids for ids, _ in questions],
            weights=[
                weights_of(np.array([turns_with[token] for token in ids]), turns=total).tolist() for ids, _ in questions
            ],
            evidence=[[numbers[turn] for turn in evidence] for _, evidence in questions],
        )


class _Company:
    """The keys of a step as they come together, up to so many tokens."""

    def __init__(self, tokens: int) -> None:
        self.keys: list[tuple[list[int], list[int]]] = []
        self.turns: list[int] = []
        self._count = 0
        self._room = tokens

    @property
    def has_room(self) -> bool:
        return self._room > 0

    def add(self, one: Prepared, places: Sequence[int], *, always: bool = False) -> dict[int, int]:
        """Add a session's keys if there is room; the new number of each of its turns."""
        if not always and not self.has_room:
            return {}
        numbers: dict[int, int] = {}
        for place in places:
            before, own = one.keys[place]
            if one.turns[place] not in numbers:
                numbers[one.turns[place]] = self._count
                self._count += 1
            self.keys.append((before, own))
            self.turns.append(numbers[one.turns[place]])
            self._room -= len(before) + len(own) + 2
        return numbers


def _sessions(one: Prepared) -> dict[int, list[int]]:
    """By session, the places of its keys."""
    places: dict[int, list[int]] = {}
    for place, session in enumerate(one.sessions):
        places.setdefault(session, []).append(place)
    return places


def read_tokens(
    trainee: Trainee, rows: Sequence[tuple[Sequence[int], Sequence[int]]], device: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Dense means (rows, dimension), the token vectors of all rows one after the other, and the row of each."""
    dense: list[Tensor] = []
    tokens: list[Tensor] = []
    row_of: list[Tensor] = []
    order: list[int] = []
    for places in batches([len(before) + len(own) + 2 for before, own in rows], tokens=_TOKENS_A_BATCH):
        ids, mask, own = _padded([rows[place] for place in places], device)
        with half(device, on=trainee.sixteen_bits):
            states = trainee.bert(ids, mask).float()
        dense.append(trainee.dense(states, own))
        held = own.nonzero(as_tuple=True)
        tokens.append(trainee.tokens(states[held]))
        row_of.append(torch.tensor(places, device=device)[held[0]])
        order += places
    back = torch.empty(len(order), dtype=torch.long, device=device)
    back[torch.tensor(order, device=device)] = torch.arange(len(order), device=device)
    return torch.cat(dense)[back], torch.cat(tokens), torch.cat(row_of)


def losses(trainee: Trainee, group: Group, train: TrainConfig, device: str) -> dict[str, Tensor]:
    """The losses of a group, by name."""
    keys_dense, keys_tokens, key_of = read_tokens(trainee, group.keys, device)
    asked_dense, asked_tokens, question_of = read_tokens(trainee, [([], ids) for ids in group.questions], device)
    turns = torch.tensor(group.turns, device=device)
    count = int(turns.max()) + 1
    evidence = torch.zeros(len(group.questions), count, device=device)
    for row, held in enumerate(group.evidence):
        evidence[row, held] = 1
    # The tokens of a question come in the order of its ids, whatever batch it was in.
    weights = torch.zeros(len(asked_tokens), device=device)
    for row, held_weights in enumerate(group.weights):
        weights[question_of == row] = torch.tensor(held_weights, device=device)
    named: dict[str, Tensor] = {}
    dense_scores = []
    for length in train.dense_lengths:
        likeness = (
            functional.normalize(asked_dense[:, :length], dim=-1)
            @ functional.normalize(keys_dense[:, :length], dim=-1).T
        )
        dense_scores.append(_best(likeness, turns, count))
        named[f"dense {length}"] = loss_of(dense_scores[-1] / train.dense_temperature, evidence)
    late_scores = []
    for length in train.token_lengths:
        likeness = (
            functional.normalize(asked_tokens[:, :length], dim=-1)
            @ functional.normalize(keys_tokens[:, :length], dim=-1).T
        )
        of_tokens = _best(likeness, turns[key_of], count) * weights[:, None]
        scores = torch.zeros(len(group.questions), count, device=device).index_add(0, question_of, of_tokens)
        late_scores.append(scores)
        named[f"late {length}"] = loss_of(scores / train.late_temperature, evidence)
    joint = late_scores[0] / train.late_temperature + dense_scores[0] / train.dense_temperature
    named["joint"] = loss_of(joint, evidence)
    return named


def loss_of(scores: Tensor, evidence: Tensor) -> Tensor:
    """Of each evidence turn against all that is none: the mean of the negative logarithms of its share."""
    others = torch.logsumexp(scores.masked_fill(evidence > 0, _LOWEST), dim=1, keepdim=True)
    each = functional.softplus(others - scores)
    return ((each * evidence).sum(1) / evidence.sum(1)).mean()


def total_of(named: dict[str, Tensor], train: TrainConfig) -> Tensor:
    """The weighted sum of the losses."""
    late = sum(named[f"late {length}"] for length in train.token_lengths) / len(train.token_lengths)
    dense = sum(named[f"dense {length}"] for length in train.dense_lengths) / len(train.dense_lengths)
    return torch.as_tensor(late + train.dense_weight * dense + train.joint_weight * named["joint"])


def train(
    trainee: Trainee, learning: Sequence[Prepared], validation: Sequence[Prepared], config: Config, *, device: str
) -> list[dict[str, Any]]:
    """Train in place; the curve: one entry in twenty steps, and one an epoch with the validation's losses."""
    settings = config.train
    torch.manual_seed(settings.seed)
    draw = random.Random(settings.seed)  # noqa: S311 (no secret)
    groups = Groups(learning, settings)
    steps = settings.epochs * groups.steps
    trainee.to(device).train()
    trainee.bert.eight_bits = settings.eight_bits
    trainee.sixteen_bits = settings.sixteen_bits
    torch.backends.cuda.matmul.allow_tf32 = True
    optimizer = torch.optim.AdamW(_parameters(trainee, settings), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, settings.warm_up))
    curve: list[dict[str, Any]] = []
    step = 0
    for epoch in range(1, settings.epochs + 1):
        for group in groups.epoch(draw):
            named = losses(trainee, group, settings, device)
            loss = total_of(named, settings)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            if step % 20 == 0 or step == steps:
                curve.append({"step": step, "of": steps} | {name: round(one.item(), 4) for name, one in named.items()})
        curve.append({"epoch": epoch, "validation": validated(trainee, validation, settings, device)})
        print(curve[-1], flush=True)
    return curve


def validated(trainee: Trainee, validation: Sequence[Prepared], settings: TrainConfig, device: str) -> dict[str, float]:
    """The mean losses over the original versions of haystacks kept for validation, with fixed company."""
    draw = random.Random(1)  # noqa: S311 (no secret)
    groups = Groups(validation, settings)
    found: dict[str, list[float]] = {}
    with torch.no_grad():
        for one in validation:
            if one.version == 0:
                named = losses(trainee, groups.group(one, range(len(one.questions)), draw), settings, device)
                for name, loss in named.items():
                    found.setdefault(f"{one.kind} {name}", []).append(loss.item())
    return {name: round(sum(values) / len(values), 4) for name, values in found.items()}


def split(prepared: Sequence[Prepared], *, part: int, parts: int) -> tuple[list[Prepared], list[Prepared]]:
    """Those to learn from, and those left out: every `parts`-th haystack from number `part` on; none if it is -1."""
    left_out = [one for one in prepared if one.number % parts == part]
    return [one for one in prepared if one.number % parts != part], left_out


def main() -> None:
    """Train as the configuration says, and write the model."""
    arguments = _arguments()
    changed = {name: json.loads(value) for name, value in (pair.split("=", 1) for pair in arguments.set)}
    config = configuration.load(arguments.config, **changed)
    parts = arguments.parts or config.data.held_out_every
    prepared, data = read(arguments.prepared)
    learning, validation = split(prepared, part=arguments.left_out, parts=parts)
    base = arguments.start or folder_of(config.model.start)
    projection = projection_of(str(base)) or projection_of(config.model.start)
    if projection is None or projection.axes.shape[1] < config.model.token_dimension:
        raise SystemExit(f"{config.model.start} has no projection to start from: run `python -m training.projection`.")
    kept = Projection(projection.mean, projection.axes[:, : config.model.token_dimension])
    trainee = start(base, kept)
    began = time.monotonic()
    curve = train(trainee, learning, validation, config, device=arguments.device)
    save(trainee, base, arguments.out)
    record = {
        "config": config.as_dict(),
        "left_out": {"part": arguments.left_out, "of": parts},
        "haystacks": len({one.number for one in learning}),
        "questions": sum(len(one.questions) for one in learning if one.version == 0),
        "seconds": round(time.monotonic() - began, 1),
        "hardware": torch.cuda.get_device_name() if arguments.device.startswith("cuda") else platform.machine(),
        "torch": torch.__version__,
        "data": data,
        "curve": curve,
    }
    (arguments.out / RECORD).write_text(json.dumps(record, indent=1) + "\n")
    print(f"{record['questions']} questions, {record['seconds']} s: {arguments.out}")


def _padded(rows: Sequence[tuple[Sequence[int], Sequence[int]]], device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and own tokens' mask, each of shape (rows, length)."""
    ids, mask = padded([[*before, *own] for before, own in rows], _ENDS)
    owns = np.zeros(ids.shape, dtype=np.float32)
    for place, (before, own) in enumerate(rows):
        owns[place, 1 + len(before) : 1 + len(before) + len(own)] = 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device), torch.from_numpy(owns).to(device)


def _best(likeness: Tensor, turns: Tensor, count: int) -> Tensor:
    """The highest value in each turn, of shape (rows, count), of values of shape (rows, keys or tokens)."""
    lowest = torch.full((len(likeness), count), -1.0, device=likeness.device, dtype=likeness.dtype)
    return lowest.scatter_reduce(1, turns.expand(len(likeness), -1), likeness, "amax", include_self=True)


def _parameters(trainee: Trainee, settings: TrainConfig) -> list[dict[str, Any]]:
    decayed = [held for held in trainee.parameters() if held.requires_grad and held.ndim > 1]
    plain = [held for held in trainee.parameters() if held.requires_grad and held.ndim <= 1]
    return [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]


def _rate(step: int, steps: int, warm_up: float) -> float:
    """Up in a line, then down in half a cosine."""
    rising = max(1, round(warm_up * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--prepared", type=Path, required=True, help="what `python -m training.prepare` wrote")
    parser.add_argument("--config", type=Path, default=configuration.DEFAULT)
    parser.add_argument("--start", type=Path, help="folder of the model to start from, if not the configuration's")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="figures of [train] to change")
    parser.add_argument("--left-out", type=int, default=-1, help="which part of the haystacks to leave out; -1 none")
    parser.add_argument("--parts", type=int, default=0, help="in how many parts; by default as for validation")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, required=True, help="the model's folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
