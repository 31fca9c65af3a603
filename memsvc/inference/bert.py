"""A BERT as an ONNX graph: converted once from a model's weights, in float32 or with 8-bit matrix products."""

import json
import logging
import math
import os
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

log = logging.getLogger(__name__)

_OPSET = 17
_ABANDONED_S = 3600


class Bert(nn.Module):
    """The hidden states of a BERT (Devlin et al., 2019), written out so that its graph is free of tracing traps."""

    def __init__(self, config: dict[str, Any], weights: dict[str, Tensor]) -> None:
        super().__init__()
        self._heads = int(config["num_attention_heads"])
        self._layers = int(config["num_hidden_layers"])
        self._epsilon = float(config["layer_norm_eps"])
        for name, weight in weights.items():
            if weight.is_floating_point():
                # Quantisation looks for a constant on the right of a product, so that linear layers are turned here.
                held = weight.float().T.contiguous() if _is_linear(name, weight) else weight.float()
                plain = name.removeprefix("bert.").replace(".", "_")
                self.register_parameter(plain, nn.Parameter(held, requires_grad=False))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States of shape (batch, length, dimension) of ids and mask of shape (batch, length)."""
        words = functional.embedding(ids, self.of("embeddings_word_embeddings_weight"))
        places = self.of("embeddings_position_embeddings_weight")[: ids.shape[1]][None]
        states = self._norm(words + places + self.of("embeddings_token_type_embeddings_weight")[0], "embeddings")
        hidden = (1.0 - mask.to(states.dtype))[:, None, None, :] * -1e9
        for number in range(self._layers):
            states = self._layer(states, hidden, f"encoder_layer_{number}_")
        return states

    def _layer(self, states: Tensor, hidden: Tensor, layer: str) -> Tensor:
        width = states.shape[-1] // self._heads
        query, key, value = (
            torch.unflatten(self.linear(states, f"{layer}attention_self_{part}"), -1, (self._heads, width)).transpose(
                1, 2
            )
            for part in ("query", "key", "value")
        )
        attention = self.attention(query, key, value, hidden)
        attended = self.linear(attention.transpose(1, 2).flatten(2), f"{layer}attention_output_dense")
        states = self._norm(states + attended, f"{layer}attention_output")
        inner = functional.gelu(self.linear(states, f"{layer}intermediate_dense"))
        return self._norm(states + self.linear(inner, f"{layer}output_dense"), f"{layer}output")

    def attention(self, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor) -> Tensor:
        """What each token takes from the others: shape (batch, heads, length, width), as query, key and value."""
        return torch.softmax(query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + hidden, -1) @ value

    def weight(self, name: str) -> Tensor:
        """A weight under its own name and in its own form, as the model's file has it."""
        held = self.of(name.removeprefix("bert.").replace(".", "_"))
        return held.T if _is_linear(name, held) else held

    def of(self, name: str) -> Tensor:
        """A weight by the name that it has here."""
        return self.get_parameter(name)

    def linear(self, states: Tensor, name: str) -> Tensor:
        """A linear layer's output: one product, and what is added to it."""
        return states @ self.of(f"{name}_weight") + self.of(f"{name}_bias")

    def _norm(self, states: Tensor, name: str) -> Tensor:
        weight = self.of(f"{name}_LayerNorm_weight")
        return functional.layer_norm(
            states, (weight.shape[0],), weight, self.of(f"{name}_LayerNorm_bias"), self._epsilon
        )


def _is_linear(name: str, weight: Tensor) -> bool:
    return weight.ndim == 2 and "embeddings" not in name


def convert(model: Path, target: Path, *, precision: str) -> None:
    """Write the graph of the model in a folder to `target`, in one step; `precision` is `float32` or `int8`.

    In 8 bits all matrix products are quantised but the last of each layer: its input has outliers that 8 bits lose
    (Bondarenko et al., EMNLP 2021), and leaving it costs 0.5 ms a query.
    """
    bert = Bert(json.loads((model / "config.json").read_text()), load_file(model / "model.safetensors")).eval()
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".converting-") as folder:
        written = Path(folder) / "float32.onnx"
        _export(bert, written)
        if precision == "int8":
            written = _quantised(written)
        with written.open("rb") as file:
            os.fsync(file.fileno())
        written.replace(target)
    log.info("encoder converted", extra={"precision": precision, "bytes": target.stat().st_size})


def _remove_abandoned(folder: Path) -> None:
    """Remove what a conversion that was killed left behind; a younger one may be another process's."""
    for left in folder.glob(".converting-*"):
        if time.time() - left.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(left, ignore_errors=True)


def _export(bert: Bert, target: Path) -> None:
    ids = torch.ones((2, 8), dtype=torch.long)
    axes = {0: "batch", 1: "length"}
    with warnings.catch_warnings():
        # Torch recommends its newer exporter, which needs one more package and gives this graph no advantage.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            bert,
            (ids, ids),
            str(target),
            input_names=["ids", "mask"],
            output_names=["states"],
            dynamic_axes={"ids": axes, "mask": axes, "states": axes},
            opset_version=_OPSET,
            dynamo=False,
        )


def _quantised(source: Path) -> Path:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(source).graph
    constants = {held.name for held in graph.initializer}
    products = [node.name for node in graph.node if node.op_type == "MatMul" and set(node.input) & constants]
    target = source.with_name("int8.onnx")
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # The library advises a preparation that changes nothing here.
    try:
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=products[5::6],
        )
    finally:
        logging.getLogger().setLevel(level)
    return target
