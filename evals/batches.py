"""Files of OpenAI's batch format: requests that wait to be sent, and the answers that a batch has brought."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from evals.errors import DataUnreadable
from evals.kept import TASKS, RequestLine
from memsvc.inference.llm_cache import ResponseCache

_KEY = re.compile("[0-9a-f]{64}")
_UNKNOWN = "lines of an unknown request"


@dataclass(slots=True)
class Pending:
    """What could not be asked: how many requests by task, each counted once, and the questions not scored by config."""

    file: IO[str] | None = None
    tasks: Counter[str] = field(default_factory=Counter)
    cases: dict[str, list[str]] = field(default_factory=dict)
    _noted: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        """Whether anything is pending."""
        return bool(self.cases)

    def add(self, config: str, case_ids: Sequence[str], requests: Sequence[tuple[str, RequestLine]]) -> None:
        """These questions of a config wait for these requests."""
        self.cases.setdefault(config, []).extend(case_ids)
        for task, line in requests:
            if line["custom_id"] in self._noted:
                continue
            self._noted.add(line["custom_id"])
            self.tasks[task] += 1
            if self.file is not None:
                self.file.write(f"{json.dumps(line)}\n")

    def in_words(self) -> str:
        """How many requests of which task wait, and which questions for them."""
        counts = ", ".join(f"{count} of {TASKS.get(task, task)}" for task, count in sorted(self.tasks.items()))
        unscored = [f"- {config}: {len(ids)} ({', '.join(ids)})" for config, ids in self.cases.items()]
        return "\n".join([f"{self.tasks.total()} requests are pending: {counts}.", "", "Not scored:", *unscored])


@contextmanager
def writing(path: Path | None) -> Iterator[Pending]:
    """Notes what is pending, in a file too where there is to be one.

    The file takes an earlier one's place when all is noted, and is empty when nothing is pending.
    """
    if path is None:
        yield Pending()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    growing = path.with_name(f"{path.name}.part")
    try:
        with growing.open("w", encoding="utf-8") as file:
            yield Pending(file)
        growing.replace(path)
    finally:
        growing.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Taken:
    """How many answers of a batch were taken, and how many lines were not, by reason."""

    taken: int
    left_out: Mapping[str, int]

    def in_words(self) -> str:
        """A sentence for who ran it."""
        reasons = "".join(f"; {count} {reason}" for reason, count in self.left_out.items())
        return f"{self.taken} answers of the batch were read{reasons}."


def read_responses(path: Path, cache: ResponseCache, *, requests: Path | None) -> Taken:
    """Take a batch's output into the cache. Only what stands in the file of requests was asked for, where there is one.

    Raises DataUnreadable for a file that cannot be read.
    """
    asked = _asked(requests) if requests is not None and requests.is_file() else None
    taken, left_out = 0, Counter[str]()
    try:
        lines = path.read_bytes().splitlines()
    except OSError as exc:
        raise DataUnreadable(f"There is no readable output of a batch at {path} ({exc.strerror}).") from exc
    for line in filter(bytes.strip, lines):
        try:
            key, completion = _answer(line)
        except ValueError as exc:
            left_out[str(exc)] += 1
            continue
        if not _KEY.fullmatch(key) or (asked is not None and key not in asked):
            left_out[_UNKNOWN] += 1
            continue
        name = asked[key] if asked is not None else "batch"
        cache.keep_completion(key, name=name, model=str(completion.get("model", "")), completion=completion)
        taken += 1
    return Taken(taken, dict(left_out))


def _asked(requests: Path) -> dict[str, str]:
    """The task of each request by its key; raises DataUnreadable."""
    found: dict[str, str] = {}
    try:
        for line in filter(bytes.strip, requests.read_bytes().splitlines()):
            told = json.loads(line)
            form = told["body"].get("response_format") or {}
            found[told["custom_id"]] = form.get("json_schema", {}).get("name", "text")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as exc:
        raise DataUnreadable(f"{requests} is no file of requests: {exc!r}") from exc
    return found


def _answer(line: bytes) -> tuple[str, dict[str, Any]]:
    """The key and the completion of a line; raises ValueError with the reason that it has none, to be counted by."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise ValueError("lines that are no JSON") from exc
    response = told.get("response") if isinstance(told, dict) else None
    if not isinstance(response, dict):
        raise ValueError("lines without a response")
    if response.get("status_code") != 200 or told.get("error"):
        raise ValueError(f"errors (status {response.get('status_code')})")
    if not isinstance(response.get("body"), dict) or "choices" not in response["body"]:
        raise ValueError("lines without a completion")
    return str(told.get("custom_id")), response["body"]
