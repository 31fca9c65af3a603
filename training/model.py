"""The encoder while it learns: the BERT that is exported, and the projection of its token states."""

import json
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from memsvc.inference.bert import Bert
from memsvc.inference.encoders import PROJECTION, Matrix, Projection, location, projection_of
from memsvc.inference.onnx import max_tokens
from memsvc.inference.reading import Rows, TokenEncoder

WEIGHTS = "model.safetensors"
RECORD = "run.json"
# What a folder of the model holds besides its weights.
_BESIDE = ("config.json", "modules.json", "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json")


class FastBert(Bert):
    """The same, by torch's own attention, which takes less memory; products in 8 bits as they will be computed.

    What 8 bits lose is lost here too, and gradients pass it by (Jacob et al., CVPR 2018), so that training makes up
    for it. `eight_bits` switches that off.
    """

    eight_bits = True

    def attention(self, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor) -> Tensor:
        """What each token takes from the others."""
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=hidden.to(query.dtype))

    def linear(self, states: Tensor, name: str) -> Tensor:
        """A linear layer's output; the last of each layer is exact."""
        weight, bias = self.of(f"{name}_weight"), self.of(f"{name}_bias")
        if self.eight_bits and (name.endswith("attention_output_dense") or not name.endswith("output_dense")):
            states, weight = _rounded_states(states), _rounded_weight(weight)
        return states @ weight + bias


def _rounded_states(states: Tensor) -> Tensor:
    """Each value as one of 256 between the least and the greatest, zero among them."""
    with torch.no_grad():
        wide = states.float()
        least, greatest = wide.min().clamp(max=0), wide.max().clamp(min=0)
        step = ((greatest - least) / 255).clamp(min=1e-12)
        zero = torch.round(-least / step)
        lost = (torch.clamp(torch.round(wide / step) + zero, 0, 255) - zero) * step - wide
    return states + lost.to(states.dtype)


def _rounded_weight(weight: Tensor) -> Tensor:
    """Each value as one of 255 between the extremes of its column, of shape (inputs, outputs)."""
    with torch.no_grad():
        step = (weight.abs().amax(0) / 127).clamp(min=1e-12)
        lost = torch.round(weight / step) * step - weight
    return weight + lost


class Trainee(nn.Module):
    """A BERT with its projection; all of it learns. `sixteen_bits` says how its products are taken."""

    sixteen_bits = False

    def __init__(self, config: dict[str, Any], weights: dict[str, Tensor], projection: Projection) -> None:
        super().__init__()
        self.bert = FastBert(config, weights)
        self.bert.requires_grad_(requires_grad=True)
        self.mean = nn.Parameter(torch.from_numpy(projection.mean.copy()))
        self.axes = nn.Parameter(torch.from_numpy(projection.axes.copy()))

    def dense(self, states: Tensor, own: Tensor) -> Tensor:
        """The means, of shape (batch, dimension), of states of shape (batch, length, dimension) where `own` is 1."""
        return (states * own[..., None]).sum(1) / own.sum(1, keepdim=True).clamp(min=1)

    def tokens(self, states: Tensor) -> Tensor:
        """Token vectors, not yet of unit length, of states of shape (…, dimension)."""
        return (functional.normalize(states, dim=-1) - self.mean) @ self.axes


class TorchEncoder(TokenEncoder):
    """The encoder of a model's folder, on torch and any device: for training and measuring."""

    batch = 64
    variant = "torch"

    def __init__(self, folder: Path, *, device: str = "cpu", name: str = "", eight_bits: bool = True) -> None:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        projection = projection_of(name or str(folder))
        super().__init__(name or str(folder), tokenizer, max_tokens=max_tokens(folder), projection=projection)
        config = json.loads((folder / "config.json").read_text())
        self.dimension = int(config["hidden_size"])
        self._device = device
        self._bert = FastBert(config, load_file(folder / WEIGHTS)).eval().to(device)
        self._bert.eight_bits = eight_bits

    def states(self, ids: Rows, mask: Rows) -> Matrix:
        """Hidden states of shape (batch, length, dimension)."""
        with torch.no_grad(), half(self._device, on=self._device.startswith("cuda")):
            states = self._bert(*(torch.from_numpy(rows).to(self._device) for rows in (ids, mask)))
        return np.asarray(states.float().cpu().numpy(), dtype=np.float32)


def half(device: str, *, on: bool) -> Any:
    """Products in 16 bits on a device, if they are wanted."""
    return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16) if on else nullcontext()


def start(folder: Path, projection: Projection) -> Trainee:
    """The model of a folder, to be trained."""
    return Trainee(json.loads((folder / "config.json").read_text()), load_file(folder / WEIGHTS), projection)


def folder_of(name: str) -> Path:
    """A model's folder; raises ValueError when it is not on this machine."""
    folder = location(name)
    if folder is None:
        raise ValueError(f"{name} is no model on this machine")
    return folder


def save(trainee: Trainee, base: Path, target: Path) -> None:
    """Write the model's folder as any sentence-transformers model's, with its projection."""
    copy_beside(base, target)
    names = {name: held.is_floating_point() for name, held in load_file(base / WEIGHTS).items()}
    learned = {
        name: trainee.bert.weight(name).detach().cpu().contiguous() for name, is_float in names.items() if is_float
    }
    save_file(learned, target / WEIGHTS)
    mean, axes = (held.detach().cpu().numpy().astype(np.float32) for held in (trainee.mean, trainee.axes))
    np.savez(target / PROJECTION, mean=mean, axes=axes)


def copy_beside(base: Path, target: Path) -> None:
    """Copy what a model's folder holds besides its weights."""
    (target / "1_Pooling").mkdir(parents=True, exist_ok=True)
    for name in (*_BESIDE, "1_Pooling/config.json"):
        if (base / name).is_file():
            shutil.copyfile(base / name, target / name)


def batches(lengths: Sequence[int], *, tokens: int) -> list[list[int]]:
    """Places by length, in batches of up to so many tokens when padded."""
    batches: list[list[int]] = []
    longest = 0
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        longest = max(longest, lengths[place])
        if not batches or longest * (len(batches[-1]) + 1) > tokens:
            batches.append([])
            longest = lengths[place]
        batches[-1].append(place)
    return batches
