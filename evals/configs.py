"""What is compared: each config is a TOML file with a sentence about it and the settings it changes."""

import hashlib
import json
import tomllib
from collections.abc import Collection, Mapping, Sequence
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
_KNOWN = frozenset({"about", "baseline", "llm", "settings"})
# Which statements a language model draws follows from these. Rules follow from no setting.
FACT_FIELDS = frozenset({"llm_task_models", "extract_tokens", "llm_daily_tokens"})
# Where the model is, is said when it is run: a key has no place in a config, which stands in results.
_GIVEN_FIELDS = frozenset({"llm_base_url", "llm_model", "llm_api_key", "llm_cache", "llm_requests"})


@dataclass(frozen=True, slots=True)
class Config:
    """A row of the table: a baseline that the runner draws up itself, or settings of the service.

    With `llm`, the service draws facts by the language model of the run; else rules draw them.
    """

    name: str
    about: str
    baseline: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    llm: bool = False

    def content(self) -> dict[str, Any]:
        """All that makes the config what it is."""
        return {
            "name": self.name,
            "about": self.about,
            "baseline": self.baseline,
            "llm": self.llm,
            "settings": self.settings,
        }

    def tuned(self, data_dir: Path, *, threads: int = 0, model: Mapping[str, Any] | None = None) -> Settings:
        """The settings of an in-process service; `threads` of the encoder, where the config does not say.

        `model` are the settings of the run's language model, for a config that has one.
        """
        given = {"encoder_threads": threads, **(model or {} if self.llm else {}), **self.settings, "data_dir": data_dir}
        return Settings(_env_file=None, **given)

    def encoder_key(self) -> str:
        """Equal for configs whose services can share an encoder."""
        return self._values_of(INDEX_FIELDS)

    def index_key(self) -> str:
        """Equal for configs that can share one recorded index, with its facts; a baseline needs none."""
        if self.baseline is not None:
            return ""
        return self._values_of(INDEX_FIELDS | FACT_FIELDS if self.llm else INDEX_FIELDS)

    def _values_of(self, names: Collection[str]) -> str:
        settings = self.tuned(Path())
        return json.dumps({name: str(getattr(settings, name)) for name in sorted(names)})


def load(names: Sequence[str], *, is_remote: bool = False, has_llm: bool = False) -> list[Config]:
    """The configs by name, or by the path of a TOML file; a running service admits only itself and the baselines.

    Raises WrongUse for what is unknown, and for one with a language model when the run has none.
    """
    configs = [_read(name) for name in names or (("random", "full", OURS) if is_remote else DEFAULT)]
    if len({config.name for config in configs}) < len(configs):
        raise WrongUse("A config is named twice.")
    tuned = [
        config.name
        for config in configs
        if config.settings or config.llm or (not config.baseline and config.name != OURS)
    ]
    if is_remote and tuned:
        raise WrongUse(
            f"The service at --url is configured as it is: {', '.join(tuned)} cannot be asked of it. "
            f"Only {OURS}, random and full make sense there."
        )
    drawing = [config.name for config in configs if config.llm]
    if drawing and not has_llm:
        raise WrongUse(
            f"{', '.join(drawing)} has facts drawn by a language model: give --llm-url and --llm-model, or --llm-model "
            "and --llm-cache where its answers are on record."
        )
    return configs


def of_toml(name: str, text: str) -> Config:
    """A config from its file's text; raises WrongUse."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise WrongUse(f"The config {name} is not TOML: {exc}.") from exc
    unknown = sorted(set(found) - _KNOWN)
    shapes = {"about": str, "settings": dict, "llm": bool}
    misfit = [key for key, kind in shapes.items() if not isinstance(found.get(key, kind()), kind)]
    if unknown or misfit or "about" not in found:
        raise WrongUse(
            f"The config {name} needs `about`, a sentence; it may have `baseline`, `llm = true` and the table "
            "`settings`" + (f", but not {', '.join(unknown)}." if unknown else ".")
        )
    config = Config(name, found["about"], found.get("baseline"), found.get("settings", {}), found.get("llm", False))
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
    if config.baseline is not None and (config.baseline not in BASELINES or config.settings or config.llm):
        raise WrongUse(f"The config {config.name}: `baseline` is random or full, and has no settings.")
    if given := sorted(set(config.settings) & _GIVEN_FIELDS):
        raise WrongUse(
            f"The config {config.name} sets {', '.join(given)}: say `llm = true`, and with --llm-url where it is."
        )
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
