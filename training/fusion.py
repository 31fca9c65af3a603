"""The learned fusion of the legs: `python -m training.fusion --data FOLDER`.

Records the training histories in a service of its own, lets its legs search for every question, and fits a network with
one hidden layer so that evidence stands above the other candidates (listwise softmax; Cao et al., ICML 2007). The
speaker's boost is fitted along with it, beside the network, and printed. One haystack in ten is kept for validation.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evals.cases import Haystack
from memsvc.app import Service, build, encoder_of
from memsvc.clock import SystemClock
from memsvc.domain import Draft, Owner, Query, Role
from memsvc.index.lexical import Lexicon
from memsvc.memory import ranking
from memsvc.memory.duties import Patience
from memsvc.memory.features import NAMES, candidates, features
from memsvc.memory.indexing import Indexer, Projector
from memsvc.settings import Settings
from training.data import load

_HIDDEN = 32
_EPOCHS = 40
_BATCH = 512


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A question's candidates: their features, which are evidence, and what its naming of speakers says of them.

    `numbers`: (n, features); `evidence`: (n,) of 0 and 1; `named`: (n,), 1 for a named speaker's turn, -1 for another's
    when somebody is named, else 0. `missed`: how many evidence turns no leg found.
    """

    haystack: int
    numbers: np.ndarray
    evidence: np.ndarray
    named: np.ndarray
    missed: int


def main() -> None:
    """Train with and without the late leg, and write both."""
    parser = argparse.ArgumentParser(prog="python -m training.fusion", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the training data")
    parser.add_argument("--encoder", default="", help="the encoder to train with, if not the shipped one")
    parser.add_argument("--encoder-dir", type=Path, help="folder of converted encoders")
    parser.add_argument("--out", type=Path, default=ranking.SHIPPED)
    arguments = parser.parse_args()
    trained: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        chosen = {"encoder": arguments.encoder} if arguments.encoder else {}
        kept = arguments.encoder_dir or Path(folder) / "encoders"
        settings = Settings(_env_file=None, data_dir=Path(folder), fusion="ranks", encoder_dir=kept, **chosen)
        gathered = list(gather(settings, list(load(arguments.data))))
    for name, place in (("late", 0), ("plain", 1)):
        trained[name] = fit([pair[place] for pair in gathered], name=name)
    arguments.out.write_text(json.dumps(trained) + "\n")
    print(f"written: {arguments.out}")


def gather(settings: Settings, haystacks: Sequence[Haystack]) -> Iterator[tuple[Example, Example]]:
    """For every question, what the legs found with and without the late one."""
    encoder = encoder_of(settings)
    owner = Owner("default", "user")
    for number, haystack in enumerate(haystacks):
        folder = settings.data_dir / str(number)
        service = build(settings.model_copy(update={"data_dir": folder}), encoder=encoder, threads=0)
        rows = _record(service, owner, haystack)
        for case in haystack.cases:
            wanted = {(rows[session], turn) for session, turn in case.evidence_turns}
            legs = service.use_cases.recaller.search(owner, Query(case.question, case.asked_at))
            plain = {leg: hits for leg, hits in legs.items() if leg != "late"}
            yield (
                _example(number, legs, case.question, wanted),
                _example(number, plain, case.question, wanted),
            )
        service.close()
        shutil.rmtree(folder)
        print(f"{number + 1}/{len(haystacks)} histories", end="\r", flush=True)


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
    shares = {kind: _share_at_10(net, chosen) for kind, chosen in (("trained on", trained_on), ("held out", held_out))}
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


def _record(service: Service, owner: Owner, haystack: Haystack) -> list[Any]:
    """Record and index a history; the row of each of its sessions."""
    for number, session in enumerate(haystack.sessions):
        drafts = [
            Draft(Role(turn.role), turn.text, speaker=turn.speaker, captions=turn.captions) for turn in session.turns
        ]
        service.use_cases.recorder.record(owner, str(number), drafts, started_at=session.started_at)
    indexer = Indexer(service.store, service.index, Projector(service.encoder, Lexicon()), SystemClock(), Patience())
    while indexer.drain():
        pass
    rows: dict[int, Any] = {}
    with service.store.read() as tx:
        for _, round_ in tx.rounds.page(after=None, limit=1_000_000):
            rows[int(round_.session_id)] = round_.session_row
    return [rows[number] for number in range(len(haystack.sessions))]


def _example(haystack: int, legs: ranking.Legs, question: str, wanted: set[Any]) -> Example:
    found = candidates(legs)
    boost = ranking.speaker_boost(question, legs, named=1.0, other=-1.0)
    held = np.array([(one.found.session_row, one.found.position) in wanted for one in found], dtype=np.float32)
    return Example(
        haystack=haystack,
        numbers=features(found, query=question).astype(np.float32),
        evidence=held,
        named=np.array([boost(one.found) if boost else 0.0 for one in found], dtype=np.float32),
        missed=len(wanted) - int(held.sum()),
    )


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
    return float(line[0]), float(line[1])


def _share_at_10(net: _Net, examples: Sequence[Example]) -> float:
    with torch.no_grad():
        scores, evidence, _ = _scores(net, examples)
    top = scores.topk(min(10, scores.shape[1]), dim=1).indices
    held = torch.tensor([example.missed for example in examples])
    return float((evidence.gather(1, top).sum(1) / (evidence.sum(1) + held)).mean())


if __name__ == "__main__":
    main()
