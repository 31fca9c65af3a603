"""A table of what gathered signals find: `python -m training.evaluate --gathered FILE … [--fusion FILE]`.

Rows: each leg alone, their standardised sum, and the learned fusion. Questions without evidence are left out and those
of LongMemEval that are to be abstained from, too.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from evals import metrics
from evals.data_sets import ABSTENTION
from memsvc.memory.features import NAMES, Numbers
from memsvc.memory.ranking import LearnedFusion
from memsvc.settings import Settings
from training import gather
from training.gather import Example

LEGS = ("dense", "bm25", "late")
# As the trial weighed them: late interaction, sentence vectors, BM25, and the speaker.
_SUM = {"late": 1.0, "dense": 0.7, "bm25": 0.5}
_SPEAKER = 0.4
FIGURES: Mapping[str, Callable[[Sequence[tuple[int, int]], Example], float]] = {
    "turn@5": lambda ranking, of: metrics.recall(ranking, _wanted(of), k=5),
    "turn@10": lambda ranking, of: metrics.recall(ranking, _wanted(of), k=10),
    "turn all@10": lambda ranking, of: metrics.recall_all(ranking, _wanted(of), k=10),
    "session all@5": lambda ranking, of: metrics.recall_all(_sessions(ranking), of.wanted_sessions.tolist(), k=5),
    "ndcg_official@10": lambda ranking, of: metrics.ndcg_official(
        _sessions(ranking), of.wanted_sessions.tolist(), k=10
    ),
}

Scorer = Callable[[Example], Numbers]
_SPEAKER_BOOST: float = Settings.model_fields["speaker_boost"].default


def scorers(fusion: LearnedFusion | None = None) -> dict[str, Scorer]:
    """The ways to score candidates, by name; the learned fusion with the service's boost for speakers."""
    ways: dict[str, Scorer] = {leg: _leg(leg) for leg in LEGS}
    ways["sum"] = _standardised_sum
    if fusion is not None:

        def fused(example: Example) -> Numbers:
            return np.asarray(fusion.odds_of(example.numbers) * _SPEAKER_BOOST**example.named)

        ways["fused"] = fused
    return ways


def figures(examples: Sequence[Example], scorer: Scorer) -> dict[str, dict[str, list[float]]]:
    """By group and figure, the value of each question."""
    found: dict[str, dict[str, list[float]]] = {}
    for example in examples:
        order = np.argsort(-scorer(example), kind="stable")
        ranking = list(dict.fromkeys((int(session), int(turn)) for session, turn in example.places[order]))
        for name, figure in FIGURES.items():
            value = figure(ranking, example)
            for group in example.groups:
                found.setdefault(group, {}).setdefault(name, []).append(value)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument(
        "--gathered", type=Path, nargs="+", required=True, help="what `python -m training.gather` wrote"
    )
    parser.add_argument("--fusion", type=Path, help="the fusion to rank by as well (fusion.json)")
    parser.add_argument("--json", type=Path, help="file to write the means into")
    arguments = parser.parse_args()
    examples = gather.read(arguments.gathered)
    means: dict[str, dict[str, dict[str, float]]] = {}
    for way, scorer in scorers(LearnedFusion(arguments.fusion) if arguments.fusion else None).items():
        for group, values in figures(examples, scorer).items():
            means.setdefault(group, {})[way] = {name: float(np.mean(each)) for name, each in values.items()}
    for group, ways in means.items():
        if group == ABSTENTION:
            continue
        count = sum(group in example.groups for example in examples)
        print(f"{group} ({count} questions)".ljust(36) + "".join(name.rjust(18) for name in FIGURES))
        for way, told in ways.items():
            print(f"  {way}".ljust(36) + "".join(f"{told[name]:18.3f}" for name in FIGURES))
    if arguments.json:
        arguments.json.write_text(json.dumps(means, indent=1) + "\n")


def _leg(name: str) -> Scorer:
    place = NAMES.index(name)
    return lambda example: np.asarray(example.numbers[:, place], dtype=np.float64)


def _standardised_sum(example: Example) -> Numbers:
    total = _SPEAKER * example.named.astype(np.float64)
    for leg, weight in _SUM.items():
        scores = _leg(leg)(example)
        total = total + weight * (scores - scores.mean()) / (scores.std() + 1e-6)
    return np.asarray(total)


def _wanted(example: Example) -> list[tuple[int, int]]:
    return [(int(session), int(turn)) for session, turn in example.wanted]


def _sessions(ranking: Sequence[tuple[int, int]]) -> list[int]:
    return list(dict.fromkeys(session for session, _ in ranking))


if __name__ == "__main__":
    main()
