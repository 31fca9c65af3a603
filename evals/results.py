"""Raw results on disk: JSON Lines that are appended as questions are answered, and found again by the next run."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import memsvc
from evals.asking import Line
from evals.configs import Config, fingerprint
from evals.errors import EvaluationFailed

# Raised when a line comes to mean something else, so that earlier ones are not taken for it.
_FORM = 1
_PACKAGE = Path(memsvc.__file__).parent


@dataclass(frozen=True, slots=True)
class Identity:
    """What a result is the result of; results of another identity are never mixed with it.

    `code` is the checksum of memsvc's files, or the URL of the service that was asked.
    """

    data_set: str
    sha256: str
    config: dict[str, Any]
    code: str
    llm: str | None = None

    def content(self) -> Line:
        """The identity for machines."""
        return {
            "data_set": self.data_set,
            "sha256": self.sha256,
            "config": self.config,
            "code": self.code,
            "llm": self.llm,
            "form": _FORM,
        }

    @property
    def stem(self) -> str:
        """What its files are called, without the ending."""
        return f"{self.data_set}-{self.config['name']}-{fingerprint(self.content())}"


class ResultFile:
    """The raw lines of one identity. A line that a crash cut off is dropped; two runs cannot write at once."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        self.identity = identity
        self.path = folder / f"{identity.stem}.jsonl"
        self.cases: dict[str, Line] = {}
        self.haystacks: dict[str, Line] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.replaced = None if self.path.exists() else _what_changed(folder, identity)
        self._file = self.path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            self._file.close()
            raise EvaluationFailed(
                f"Another run is writing to {self.path}; wait for it, or give another --out."
            ) from exc
        self._read()

    def add(self, line: Line) -> None:
        """Append a line; it is in the file when this returns."""
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        self._keep(line)

    def has(self, case_id: str) -> bool:
        """Whether a case is answered; one whose LLM call failed is worth another try."""
        line = self.cases.get(case_id)
        return line is not None and "reading" not in line and not (line.get("answered") or {}).get("skipped")

    def waits(self, case_id: str) -> bool:
        """Whether a case was recalled, and only waits to be read and judged."""
        return "reading" in self.cases.get(case_id, {})

    def close(self) -> None:
        """Let another run have it."""
        self._file.close()

    def _read(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._file.truncate(len(whole))
        for line in lines_of(whole):
            self._keep(line)
        self._file.seek(0, os.SEEK_END)
        if not whole:
            self.add({"header": self.identity.content()})

    def _keep(self, line: Line) -> None:
        if "case" in line:
            self.cases[line["case"]] = line
        elif "of_haystack" in line:
            self.haystacks[line["of_haystack"]] = line


def lines_of(content: bytes) -> list[Line]:
    """The lines of a file of raw results, without a last one that was cut off."""
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines() if line.strip()]


def cases_of(path: Path) -> dict[str, Line]:
    """The lines of cases in a file of raw results, by case; none when there is no such file."""
    if not path.is_file():
        return {}
    return {line["case"]: line for line in lines_of(path.read_bytes()) if "case" in line}


def tuned_as(config: Config) -> dict[str, Any]:
    """What a config changes, with the checksums of the files that it names: a model trained anew is another one."""
    paths = {name: Path(value) for name, value in config.settings.items() if isinstance(value, str) and "/" in value}
    files = {name: checksum_of(path) for name, path in paths.items() if path.exists()}
    return {"name": config.name, "baseline": config.baseline, "settings": config.settings, "files": files}


def code_checksum() -> str:
    """The checksum of every file of the memsvc package: a change that is not committed is another code."""
    return checksum_of(_PACKAGE)


def checksum_of(path: Path) -> str:
    """The checksum of a file, or of all in a folder with their names."""
    digest = hashlib.sha256()
    found = [path] if path.is_file() else (each for each in path.rglob("*") if each.is_file())
    for each in sorted(each for each in found if "__pycache__" not in each.parts):
        digest.update(f"{each.relative_to(path)}\0{each.stat().st_size}\0".encode())
        with each.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def commit() -> tuple[str | None, bool | None]:
    """The git commit that memsvc stands at, and whether there are changes beside it; None where git knows nothing."""
    head = _git("rev-parse", "HEAD")
    return head, None if head is None else bool(_git("status", "--porcelain"))


def _git(*arguments: str) -> str | None:
    program = shutil.which("git")
    if program is None:
        return None
    done = subprocess.run([program, "-C", str(_PACKAGE), *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() if done.returncode == 0 else None


def _what_changed(folder: Path, identity: Identity) -> str | None:
    """In words, why the newest earlier result of this config and data set is not used; None when there is none."""
    earlier = sorted(
        folder.glob(f"{identity.data_set}-{identity.config['name']}-????????????.jsonl"),
        key=lambda path: path.stat().st_mtime,
    )
    if not earlier:
        return None
    found = lines_of(earlier[-1].read_bytes())
    before = found[0].get("header", {}) if found else {}
    words = {
        "sha256": "the data",
        "config": "the config",
        "code": "memsvc's code",
        "llm": "the LLM",
        "form": "the form of results",
    }
    changed = [word for name, word in words.items() if before.get(name) != identity.content()[name]]
    return f"{' and '.join(changed)} changed since {earlier[-1].name}"
