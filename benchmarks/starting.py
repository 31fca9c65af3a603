"""Starting: `memsvc serve` to its first answers, and its memory, against a process that only loads the encoder."""

import json
import subprocess
import sys
import tempfile
from http.client import HTTPConnection
from time import perf_counter, sleep
from typing import Any
from urllib.parse import urlsplit

import psutil

from benchmarks.report import Figure, Report, p50
from benchmarks.texts import chats
from tests.processes import Process

_MIB = 2**20
_BARE = """
import sys
from pathlib import Path
from memsvc.inference.encoders import open_encoder
open_encoder(folder=Path(sys.argv[1])).encode(["What did I say?"])
print("encoded", flush=True)
input()
"""
_ON_TORCH = """
from memsvc.inference.encoders import PLAIN
from memsvc.inference.sentences import SentenceEncoder
SentenceEncoder(PLAIN).encode(["What did I say?"])
print("encoded", flush=True)
input()
"""


def measure(*, starts: int, sessions: int) -> Report:
    """Start the service on a fresh folder so many times, by turns with the bare encoder; then fill one and weigh it."""
    with tempfile.TemporaryDirectory(prefix="memsvc-bench-") as encoders:
        return _measured(encoders, starts=starts, sessions=sessions)


def _measured(encoders: str, *, starts: int, sessions: int) -> Report:
    on_torch = [_bare(encoders, _ON_TORCH) for _ in range(starts)]
    bare_s, healthy_s, recalled_s = [], [], []
    bare_mib, mib, filled_mib = [], [], []
    for _ in range(starts):
        seconds, weight = _bare(encoders)
        bare_s.append(seconds)
        bare_mib.append(weight)
        with tempfile.TemporaryDirectory(prefix="memsvc-bench-") as folder:
            begun = perf_counter()
            with Process.start("serve", "--port", "0", env=_env(folder, encoders)) as server:
                client = HTTPConnection(urlsplit(server.url()).netloc, timeout=120)
                healthy_s.append(perf_counter() - begun)
                _call(client, "POST", "/v1/users/ana/recall", {"query": "What did I say?"})
                recalled_s.append(perf_counter() - begun)
                mib.append(_resident_mib(server.pid))
                filled_mib.append(_weigh_filled(client, server.pid, sessions))
                client.close()
                server.stop()
    return Report(
        "start",
        "a process that loads the encoder, encodes one question and does nothing else",
        [
            Figure("serve to the first /healthz", p50(healthy_s), p50(bare_s), "s"),
            Figure("serve to the first recall", p50(recalled_s), p50(bare_s), "s"),
            Figure("resident after the first recall", p50(mib), p50(bare_mib), "MiB"),
            Figure(f"resident after {sessions} sessions", p50(filled_mib), p50(bare_mib), "MiB"),
        ],
        [
            f"medians of {starts} starts on a fresh folder, embedded database and index",
            f"the bare encoder: {p50(bare_s):.2f} s, {p50(bare_mib):.0f} MiB; the plain one by sentence-transformers, "
            f"on torch: {p50([seconds for seconds, _ in on_torch]):.2f} s, {p50([mib for _, mib in on_torch]):.0f} MiB",
        ],
    )


def _bare(encoders: str, script: str = _BARE) -> tuple[float, float]:
    """Seconds until the encoder has encoded, and the process's resident memory then."""
    begun = perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", script, encoders],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seconds, weight = perf_counter() - begun, _resident_mib(process.pid)
        process.communicate("\n")
    return seconds, weight


def _weigh_filled(client: HTTPConnection, pid: int, sessions: int) -> float:
    """Resident memory once so many sessions are indexed."""
    for chat in chats(sessions, users=10):
        turns = [{"role": draft.role.value, "text": draft.text} for draft in chat.drafts]
        path = f"/v1/users/{chat.user_id}/sessions/{chat.session_id}"
        _call(client, "PUT", path, {"started_at": chat.started_at.isoformat(), "turns": turns})
    while _call(client, "GET", "/readyz")["checks"]["backlog"]["due"]:
        sleep(0.2)
    return _resident_mib(pid)


def _call(client: HTTPConnection, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    client.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
    answer = client.getresponse()
    said = answer.read()
    if answer.status >= 400:
        raise RuntimeError(f"the service answered {answer.status}: {said!r}")
    found: dict[str, Any] = json.loads(said)
    return found


def _resident_mib(pid: int) -> float:
    resident: int = psutil.Process(pid).memory_info().rss
    return resident / _MIB


def _env(folder: str, encoders: str) -> dict[str, str]:
    return {"MEMSVC_DATA_DIR": folder, "MEMSVC_ENCODER_DIR": encoders, "MEMSVC_LOG_LEVEL": "WARNING"}
