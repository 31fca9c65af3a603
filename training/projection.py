"""The projection of token vectors: `python -m training.projection --data FOLDER`.

Principal axes of the encoder's centred token vectors over the keys of the training data (Pearson, 1901). Centring takes
away what all token vectors share; on chats it was worth a point at 128 dimensions.
"""

import argparse
import json
import random
import tempfile
from pathlib import Path

import numpy as np

from memsvc.inference.encoders import PLAIN, PROJECTION, Encoder, Projection, beside, location
from memsvc.inference.onnx import OnnxEncoder
from memsvc.memory.dividing import keys_of
from training.data import load
from training.rounds import rounds_of

_KEYS = 6000


def main() -> None:
    """Fit the projection and write it where the encoder is looked for."""
    arguments = _arguments()
    path = location(arguments.encoder)
    if path is None:
        raise SystemExit(f"{arguments.encoder} is no folder on this machine.")
    with tempfile.TemporaryDirectory() as folder:
        whole = Projection(np.zeros(1, np.float32), np.eye(_width(path), dtype=np.float32))
        encoder = OnnxEncoder(
            arguments.encoder, path, folder=Path(folder), precision="float32", projection=whole, threads=2
        )
        vectors = _token_vectors(encoder, arguments.data)
    fitted = fit(vectors, dimensions=arguments.dimensions)
    target = arguments.out or (beside(arguments.encoder) / PROJECTION)
    np.savez(target, mean=fitted.mean.astype(np.float16), axes=fitted.axes.astype(np.float16))
    kept = float(np.square((vectors - fitted.mean) @ fitted.axes).sum() / np.square(vectors - fitted.mean).sum())
    print(f"{len(vectors)} token vectors, {arguments.dimensions} axes keep {kept:.1%} of their variance: {target}")


def fit(vectors: np.ndarray, *, dimensions: int) -> Projection:
    """The first principal axes of vectors of shape (n, dimension), n in the hundred thousands."""
    mean = vectors.mean(axis=0)
    centred = (vectors - mean).astype(np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    return Projection(mean.astype(np.float32), axes[:, ::-1][:, :dimensions].astype(np.float32))


def _token_vectors(encoder: Encoder, data: Path) -> np.ndarray:
    keys = [
        key
        for haystack in load(data)
        for round_ in rounds_of(haystack)
        for key in keys_of(round_, count_tokens=encoder.count_tokens, max_tokens=encoder.max_tokens - 2)
    ]
    chosen = random.Random(0).sample(keys, min(_KEYS, len(keys)))  # noqa: S311 (no secret)
    encoded = encoder.encode([key.text for key in chosen], contexts=[key.context for key in chosen])
    return np.concatenate([vectors.tokens for vectors in encoded])


def _width(path: Path) -> int:
    return int(json.loads((path / "config.json").read_text())["hidden_size"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.projection", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the training data")
    parser.add_argument("--encoder", default=PLAIN, help="the plain encoder's name, or a model's folder")
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--out", type=Path, help="file to write; by default where the encoder looks for it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
