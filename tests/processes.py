"""Processes of memsvc: started, listened to and ended by their ids."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from http.client import HTTPConnection
from types import TracebackType
from typing import IO
from urllib.parse import urlsplit

START_S = 90.0
END_S = 90.0


class Process:
    """`python -m memsvc …` as a process of its own; leaving the `with` block ends it, if nothing else has.

    The environment's own MEMSVC_* variables are not handed on: settings come from `env` alone. Only the folder of
    converted encoders is shared, so that not every process with a fresh data folder converts one.
    """

    def __init__(self, *args: str, env: Mapping[str, str], module: str = "memsvc") -> None:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("MEMSVC_") or name == "MEMSVC_ENCODER_DIR"
        }
        self._popen = subprocess.Popen(
            [sys.executable, "-m", module, *args],
            env={**inherited, **env},
            cwd=tempfile.gettempdir(),  # A `.env` of the folder that the tests run in would be read.
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        self._said = threading.Condition()
        self._lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._readers = [
            threading.Thread(target=self._read, args=(stream, self._lines[name]), daemon=True)
            for name, stream in (("stdout", self._popen.stdout), ("stderr", self._popen.stderr))
        ]
        for reader in self._readers:
            reader.start()

    @classmethod
    def start(cls, *args: str, env: Mapping[str, str], module: str = "memsvc") -> "Process":
        """Start a command of memsvc, or of a module that wraps it, and return at once."""
        return cls(*args, env=env, module=module)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    @property
    def stdout_text(self) -> str:
        """All that it printed so far."""
        return self._text("stdout")

    @property
    def stderr_text(self) -> str:
        """All that it logged so far; whole once the process has ended."""
        return self._text("stderr")

    def line_with(self, text: str, *, within_s: float = START_S) -> str:
        """The first line, printed or logged, that holds the text; waits for it while the process lives."""
        deadline = time.monotonic() + within_s
        with self._said:
            while True:
                is_over = not any(reader.is_alive() for reader in self._readers)
                found = [line for lines in self._lines.values() for line in lines if text in line]
                if found:
                    return found[0]
                if is_over or time.monotonic() > deadline:
                    raise AssertionError(f"no line with {text!r} from process {self.pid}:\n{self._everything()}")
                self._said.wait(0.1)

    def url(self, *, within_s: float = START_S) -> str:
        """The address that `serve` prints, once it answers there."""
        url = self.line_with("http://", within_s=within_s).split()[-1]
        deadline = time.monotonic() + within_s
        while not _answers(url):
            if not self.is_running or time.monotonic() > deadline:
                raise AssertionError(f"process {self.pid} does not answer on {url}:\n{self._everything()}")
            time.sleep(0.01)
        return url

    def ended(self, *, within_s: float = END_S) -> int:
        """The exit status, once the process has ended by itself; one that does not end is killed, and fails."""
        try:
            status = self._popen.wait(within_s)
        except subprocess.TimeoutExpired as exc:
            self.kill()
            raise AssertionError(f"process {self.pid} did not end:\n{self._everything()}") from exc
        self._let_go()
        return status

    def stop(self, *, within_s: float = END_S) -> int:
        """Send SIGTERM; the exit status."""
        self._popen.terminate()
        return self.ended(within_s=within_s)

    def kill(self) -> None:
        """Send SIGKILL and wait until the process is gone."""
        self._popen.kill()
        self._popen.wait()
        self._let_go()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.is_running:
            self.kill()
        else:
            self._let_go()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            with self._said:
                lines.append(line.rstrip("\n"))
                self._said.notify_all()

    def _let_go(self) -> None:
        for reader in self._readers:
            reader.join()
        for stream in (self._popen.stdout, self._popen.stderr):
            if stream is not None:
                stream.close()

    def _text(self, name: str) -> str:
        with self._said:
            return "\n".join(self._lines[name])

    def _everything(self) -> str:
        return "\n".join(line for lines in self._lines.values() for line in lines)


def _answers(url: str) -> bool:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=END_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
