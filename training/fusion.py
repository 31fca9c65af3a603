"""The learned fusion of the legs: `python -m training.fusion --gathered FILE … --out FILE`.

Fits a network with one hidden layer to what the legs found for the training questions, so that evidence stands above
the other candidates (listwise softmax; Cao et al., ICML 2007), once with the late leg and once without. The speaker's
boost is fitted along with it, beside the network, and printed. One haystack in ten is kept for validation.

Signals of an encoder on what it was trained on are better than they will ever be again: gather them in parts, each by
an encoder whose training left that part out.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from memsvc.memory.features import NAMES
from training import gather
from training.gather import Example

_HIDDEN = 32
_EPOCHS = 40
_BATCH = 512


def main() -> None:
    """Train with and without the late leg, and write both."""
    parser = argparse.ArgumentParser(prog="python -m training.fusion", description=__doc__)
    parser.add_argument(
        "--gathered", type=Path, nargs="+", required=True, help="what `python -m training.gather` wrote"
    )
    parser.add_argument("--out", type=Path, required=True, help="file to write (fusion.json)")
    arguments = parser.parse_args()
    examples = gather.read(arguments.gathered)
    trained = {
        "late": fit(examples, name="late"),
        "plain": fit([without_late(example) for example in examples], name="plain"),
    }
    arguments.out.write_text(json.dumps(trained) + "\n")
    print(f"written: {arguments.out}")


def without_late(example: Example) -> Example:
    """The same candidates as they look where no late leg ran: it finds none that the others did not."""
    of_late = [place for place, name in enumerate(NAMES) if name.startswith("late")]
    numbers = example.numbers.copy()
    numbers[:, of_late] = 0.0
    return replace(example, numbers=numbers)


def fit(examples: Sequence[Example], *, name: str) -> dict[str, Any]:
    """Fit the network and its calibration; the weights as they are shipped."""
    usable = [example for example in examples if example.evidence.any()]
    held_out = [example for example in usable if example.haystack % 10 == 9]
    trained_on = [example for example in usable if example.haystack % 10 != 9]
    torch.manual_seed(0)
    net = _Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _EPOCHS)
    for _ in range(_EPOCHS):
        for batch in torch.split(torch.randperm(len(trained_on)), _BATCH):
            loss = _loss(net, [trained_on[place] for place in batch.tolist()])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
    slope, bias = _calibrated(net, trained_on)
    named, other = (torch.exp(slope * weight).item() for weight in (net.named, -net.other))
    shares = {
        kind: _share_at_10(net, chosen)
        for kind, chosen in (("trained on", trained_on), ("held out", held_out))
        if chosen
    }
    print(
        f"{name}: {len(trained_on)} questions, {len(held_out)} held out; share of evidence in the first ten "
        + ", ".join(f"{kind} {share:.3f}" for kind, share in shares.items())
        + f"; boost of a named speaker {named:.2f}, of another {other:.2f}; slope {slope:.3f}, bias {bias:.3f}"
    )
    return net.shipped() | {"slope": slope, "bias": bias}


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(len(NAMES), _HIDDEN)
        self.out = nn.Linear(_HIDDEN, 1, bias=False)
        self.named = nn.Parameter(torch.zeros(()))
        self.other = nn.Parameter(torch.zeros(()))

    def forward(self, numbers: Tensor, named: Tensor) -> Tensor:
        inner = nn.functional.gelu(self.hidden(numbers), approximate="tanh")
        spoken = self.named * (named > 0) - self.other * (named < 0)
        return torch.as_tensor(self.out(inner).squeeze(-1) + spoken)

    def shipped(self) -> dict[str, Any]:
        def rounded(weights: Tensor) -> Any:
            return np.round(weights.detach().numpy(), 4).tolist()

        return {
            "features": list(NAMES),
            "hidden_weight": rounded(self.hidden.weight.T),
            "hidden_bias": rounded(self.hidden.bias),
            "out_weight": rounded(self.out.weight[0]),
        }


def _scores(net: _Net, examples: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
    """Padded scores, evidence and mask of shape (examples, candidates)."""
    most = max(len(example.evidence) for example in examples)
    numbers = torch.zeros(len(examples), most, len(NAMES))
    named, evidence, mask = (torch.zeros(len(examples), most) for _ in range(3))
    for row, example in enumerate(examples):
        count = len(example.evidence)
        numbers[row, :count] = torch.from_numpy(example.numbers)
        named[row, :count] = torch.from_numpy(example.named)
        evidence[row, :count] = torch.from_numpy(example.evidence)
        mask[row, :count] = 1
    return net(numbers, named).masked_fill(mask == 0, -1e9), evidence, mask


def _loss(net: _Net, examples: Sequence[Example]) -> Tensor:
    scores, evidence, _ = _scores(net, examples)
    return -((torch.log_softmax(scores, 1) * evidence).sum(1) / evidence.sum(1)).mean()


def _calibrated(net: _Net, examples: Sequence[Example]) -> tuple[float, float]:
    """Slope and bias that make a score the logarithm of the odds of being evidence (Platt, 1999)."""
    with torch.no_grad():
        scores, evidence, mask = _scores(net, examples)
    score, held = scores[mask > 0], evidence[mask > 0]
    line = torch.tensor([1.0, -2.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=200)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(line[0] * score + line[1], held)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return line[0].item(), line[1].item()


def _share_at_10(net: _Net, examples: Sequence[Example]) -> float:
    with torch.no_grad():
        scores, evidence, _ = _scores(net, examples)
    top = scores.topk(min(10, scores.shape[1]), dim=1).indices
    held = torch.tensor([example.missed for example in examples])
    return float((evidence.gather(1, top).sum(1) / (evidence.sum(1) + held)).mean())


if __name__ == "__main__":
    main()
