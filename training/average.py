"""Several trainings of one model as one: `python -m training.average --model FOLDER … --share NUMBER … --out FOLDER`.

The mean of weights that were trained from the same start generalises better than each of them (Wortsman et al., ICML
2022), and a share of the start keeps what it knew (Wortsman et al., CVPR 2022).
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from memsvc.inference.encoders import PROJECTION, Projection
from training.model import RECORD, WEIGHTS, copy_beside


def average(models: Sequence[Path], shares: Sequence[float], target: Path, *, start: Path | None = None) -> None:
    """Write the weighted mean of models' folders as a model's folder; the first's tokenizer and settings go along.

    `start` has what is left of 1, with the projection that stands beside it. Raises ValueError for shares that are not
    those of the models, or more than 1.
    """
    rest = 1 - sum(shares)
    if len(models) != len(shares) or rest < -1e-9 or (start is None and rest > 1e-9):
        raise ValueError(f"{len(models)} models cannot have the shares {list(shares)}")
    parts = list(zip(models, shares, strict=True))
    if start is not None:
        parts.append((start, rest))
    copy_beside(models[0], target)
    held = [(load_file(folder / WEIGHTS), share) for folder, share in parts]
    save_file(
        {name: _mean([(weights[name], share) for weights, share in held]) for name in held[0][0]}, target / WEIGHTS
    )
    projections = [(Projection.load(folder / PROJECTION), share) for folder, share in parts]
    np.savez(
        target / PROJECTION,
        mean=np.sum([share * one.mean for one, share in projections], axis=0, dtype=np.float32),
        axes=np.sum([share * one.axes for one, share in projections], axis=0, dtype=np.float32),
    )
    runs = [
        {"share": share, "run": json.loads((folder / RECORD).read_text()) if (folder / RECORD).is_file() else None}
        for folder, share in parts
    ]
    (target / RECORD).write_text(json.dumps(runs, indent=1) + "\n")


def main() -> None:
    """Average models of the same form."""
    parser = argparse.ArgumentParser(prog="python -m training.average", description=__doc__)
    parser.add_argument("--model", type=Path, nargs="+", required=True, help="what `python -m training.train` wrote")
    parser.add_argument("--share", type=float, nargs="+", required=True, help="of each model, in the same order")
    parser.add_argument("--start", type=Path, help="folder of the start, with its projection: it has the rest")
    parser.add_argument("--out", type=Path, required=True, help="the model's folder")
    arguments = parser.parse_args()
    average(arguments.model, arguments.share, arguments.out, start=arguments.start)
    print(f"written: {arguments.out}")


def _mean(parts: Sequence[tuple[Tensor, float]]) -> Tensor:
    if not parts[0][0].is_floating_point():
        return parts[0][0]
    return torch.stack([weight.float() * share for weight, share in parts]).sum(0).contiguous()


if __name__ == "__main__":
    main()
