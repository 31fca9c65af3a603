"""A trained model as it is shipped: `python -m training.export --model FOLDER --fusion FILE --out FOLDER`.

The graph holds 8-bit matrix products, as every model's in `precision=int8`, and its other weights in 16 bits: nothing
of it has to be converted, and nothing imports torch.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from memsvc.inference.bert import convert
from memsvc.inference.encoders import FUSION, GRAPH, PROJECTION, Projection
from training.model import RECORD

# What the graph is read with.
_BESIDE = ("config.json", "sentence_bert_config.json", "tokenizer.json")
# Smaller constants stay as they are: they weigh nothing.
_LEAST = 4096


def export(model: Path, target: Path) -> None:
    """Write the shipped form of a model's folder to another."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / GRAPH
        convert(model, written, precision="int8")
        graph = onnx.load(written)
    halve(graph)
    onnx.save(graph, target / GRAPH)
    for name in _BESIDE:
        shutil.copyfile(model / name, target / name)
    projection = Projection.load(model / PROJECTION)
    mean, axes = (held.astype(np.float16) for held in (projection.mean, projection.axes))
    np.savez(target / PROJECTION, mean=mean, axes=axes)


def halve(model: onnx.ModelProto) -> None:
    """Keep the graph's large 32-bit constants in 16 bits; what is looked up in a table is widened afterwards."""
    graph = model.graph
    large = {
        held.name: held
        for held in graph.initializer
        if held.data_type == TensorProto.FLOAT and int(np.prod(held.dims)) >= _LEAST
    }
    widened: list[onnx.NodeProto] = []
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        looked_up = node.op_type == "Gather" and node.input[0] in large
        for place, name in enumerate(node.input):
            if name in large and not looked_up:
                node.input[place] = f"{name}_wide"
        nodes.append(node)
        if looked_up:
            narrow = f"{node.output[0]}_narrow"
            nodes.append(helper.make_node("Cast", [narrow], [node.output[0]], to=TensorProto.FLOAT))
            node.output[0] = narrow
    for name, held in large.items():
        if any(f"{name}_wide" in node.input for node in nodes):
            widened.append(helper.make_node("Cast", [name], [f"{name}_wide"], to=TensorProto.FLOAT))
        held.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(held).astype(np.float16), name))
    del graph.node[:]
    graph.node.extend([*widened, *nodes])
    onnx.checker.check_model(model)


def main() -> None:
    """Export a model with its fusion."""
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="what `python -m training.train` wrote")
    parser.add_argument("--fusion", type=Path, required=True, help="what `python -m training.fusion` wrote")
    parser.add_argument("--out", type=Path, required=True, help="the folder to ship")
    arguments = parser.parse_args()
    export(arguments.model, arguments.out)
    shutil.copyfile(arguments.fusion, arguments.out / FUSION)
    if (arguments.model / RECORD).is_file():
        shutil.copyfile(arguments.model / RECORD, arguments.out / RECORD)
    sizes = {path.name: path.stat().st_size for path in sorted(arguments.out.iterdir())}
    print(f"{sum(sizes.values()) / 1e6:.1f} MB: {sizes}")


if __name__ == "__main__":
    main()
