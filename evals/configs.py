"""What is compared: each config is a TOML file with a sentence about it and the settings it changes."""

import hashlib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evals.errors import WrongUse
from memsvc.settings import INDEX_FIELDS, Settings

FOLDER = Path(__file__).parent / "configs"
DEFAULT = ("random", "full", "bm25", "dense", "hybrid", "memsvc")
OURS = "memsvc"
BASELINES = frozenset({"random", "full"})
_KNOWN = frozenset({"about", "baseline", "settings"})


@dataclass(frozen=True, slots=True)
class Config:
    """A row of the table: a baseline that the runner draws up itself, or settings of the service."""

    name: str
    about: str
    baseline: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """All that makes the config what it is."""
        return {"name": self.name, "about": self.about, "baseline": self.baseline, "settings": self.settings}

    def tuned(self, data_dir: Path, *, threads: int = 0) -> Settings:
        """The settings of an in-process service; `threads` of the encoder, where the config does not say."""
        given = {"encoder_threads": threads, **self.settings, "data_dir": data_dir}
        return Settings(_env_file=None, **given)

    def index_key(self) -> str:
        """Equal for configs that can share one recorded index; a baseline needs none."""
        if self.baseline is not None:
            return ""
        settings = self.tuned(Path())
        return json.dumps({name: str(getattr(settings, name)) for name in sorted(INDEX_FIELDS)})


def load(names: Sequence[str], *, is_remote: bool = False) -> list[Config]:
    """The configs by name, or by the path of a TOML file; a running service admits only itself and the baselines.

    Raises WrongUse for what is unknown.
    """
    configs = [_read(name) for name in names or (("random", "full", OURS) if is_remote else DEFAULT)]
    if len({config.name for config in configs}) < len(configs):
        raise WrongUse("A config is named twice.")
    tuned = [config.name for config in configs if config.settings or (not config.baseline and config.name != OURS)]
    if is_remote and tuned:
        raise WrongUse(
            f"The service at --url is configured as it is: {', '.join(tuned)} cannot be asked of it. "
            f"Only {OURS}, random and full make sense there."
        )
    return configs


def of_toml(name: str, text: str) -> Config:
    """A config from its file's text; raises WrongUse."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise WrongUse(f"The config {name} is not TOML: {exc}.") from exc
    unknown = sorted(set(found) - _KNOWN)
    if unknown or not isinstance(found.get("about"), str) or not isinstance(found.get("settings", {}), dict):
        raise WrongUse(
            f"The config {name} needs `about`, a sentence; it may have `baseline` and the table `settings`"
            + (f", but not {', '.join(unknown)}." if unknown else ".")
        )
    config = Config(name, found["about"], found.get("baseline"), found.get("settings", {}))
    _check(config)
    return config


def _read(name: str) -> Config:
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        return of_toml(path.stem, path.read_text("utf-8"))
    except OSError as exc:
        known = ", ".join(sorted(found.stem for found in FOLDER.glob("*.toml")))
        raise WrongUse(f"There is no config {name}. There are {known}; a path ending in .toml names another.") from exc


def _check(config: Config) -> None:
    if config.baseline is not None and (config.baseline not in BASELINES or config.settings):
        raise WrongUse(f"The config {config.name}: `baseline` is random or full, and has no settings.")
    # Settings ignore what they do not know; a misspelt field would be measured as the default.
    unknown = sorted(set(config.settings) - set(Settings.model_fields))
    if unknown:
        raise WrongUse(f"The config {config.name} sets {', '.join(unknown)}, which memsvc has no setting for.")
    try:
        config.tuned(Path())
    except ValidationError as exc:
        raise WrongUse(f"The config {config.name} has a value that memsvc refuses: {exc}") from exc


def fingerprint(value: object) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
