"""Answers of a language model on disk, so that the same question is paid for once.

The files hold what users said, and forgetting does not reach them: a cache is for evaluations, not for a service.
"""

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """What is kept of an answer: its content, as it was taken, or the whole completion that a batch brought."""

    content: dict[str, Any] | None
    completion: dict[str, Any] | None


class ResponseCache:
    """One JSON file an answer, under `<folder>/<2 hex>/<key>.json`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: str) -> Stored | None:
        """What is kept under a key; a file that cannot be read counts as missing."""
        try:
            held = json.loads(self._path(key).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as exc:
            log.warning("a cached answer cannot be read", extra={"key": key, "error": type(exc).__name__})
            return None
        if not isinstance(held, dict) or held.get("key") != key:
            return None
        content, completion = (_object(held.get(name)) for name in ("content", "completion"))
        return None if content is None and completion is None else Stored(content, completion)

    def keep(self, key: str, *, name: str, model: str, content: Mapping[str, Any], usage: Mapping[str, Any]) -> None:
        """Keep an answer that was found good."""
        self._write(key, {"key": key, "name": name, "model": model, "content": content, "usage": usage})

    def keep_completion(self, key: str, *, name: str, model: str, completion: Mapping[str, Any]) -> None:
        """Keep a completion that nobody has read yet."""
        usage = completion.get("usage")
        held = {"key": key, "name": name, "model": model, "content": None, "usage": usage, "completion": completion}
        self._write(key, held)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"

    def _write(self, key: str, held: Mapping[str, Any]) -> None:
        path = self._path(key)
        written = path.with_suffix(f".{uuid4().hex}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(json.dumps(held), encoding="utf-8")
            written.replace(path)
        except OSError as exc:
            # The answer itself is there and was paid for; only the next asking will be paid for again.
            log.warning("an answer cannot be cached", extra={"key": key, "error": type(exc).__name__})
            with suppress(OSError):
                written.unlink()


def _object(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None
