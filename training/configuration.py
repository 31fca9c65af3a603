"""How the encoder is trained: one file of figures, read into values."""

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

DEFAULT = Path(__file__).with_name("encoder.toml")


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which haystacks are kept for validation, and how many renamed versions a chat has."""

    held_out_every: int
    renamed: int


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The model to start from, and the length of its token vectors."""

    start: str
    token_dimension: int


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """The steps: see the file."""

    seed: int
    epochs: int
    questions_a_step: int
    renamed_share: float
    tokens_a_step: int
    learning_rate: float
    warm_up: float
    weight_decay: float
    late_temperature: float
    dense_temperature: float
    dense_weight: float
    joint_weight: float
    dense_lengths: tuple[int, ...]
    token_lengths: tuple[int, ...]
    eight_bits: bool
    sixteen_bits: bool


@dataclass(frozen=True, slots=True)
class Config:
    """All of it."""

    data: DataConfig
    model: ModelConfig
    train: TrainConfig

    def as_dict(self) -> dict[str, Any]:
        """For the record of a run."""
        return asdict(self)


def load(path: Path = DEFAULT, **changed: Any) -> Config:
    """A file's configuration, with some figures of `[train]` changed; raises ValueError for names that do not exist."""
    held = tomllib.loads(path.read_text())
    held["train"] |= changed
    return Config(_of(DataConfig, held["data"]), _of(ModelConfig, held["model"]), _of(TrainConfig, held["train"]))


def _of(kind: Any, values: dict[str, Any]) -> Any:
    if set(values) != (names := {field.name for field in fields(kind)}):
        raise ValueError(f"{kind.__name__} has {sorted(names)}, the file {sorted(values)}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
