"""The demonstration: a history recorded over HTTP, then eight questions to it."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from memsvc.errors import Unavailable

SHOWN = 4
_START_S = 120.0


class DemoFailed(Unavailable):
    """The service did not start, or did not answer as it should."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A question with what recall gave back for it."""

    question: dict[str, Any]
    answer: dict[str, Any]


def history() -> dict[str, Any]:
    """The shipped history: a user, its sessions and eight questions with their evidence."""
    loaded: dict[str, Any] = json.loads((files(__package__) / "history.json").read_text("utf-8"))
    return loaded


def run(*, url: str | None = None, api_key: str | None = None) -> int:
    """Record the history and ask the questions, at a running service or at one started for this; 0 when all went well.

    Raises DemoFailed.
    """
    console = Console()
    if url is not None:
        show(url, console, api_key=api_key)
        return 0
    with tempfile.TemporaryDirectory(prefix="memsvc-demo-") as folder, _started(folder, console) as own:
        show(own, console)
    return 0


def show(url: str, console: Console, *, api_key: str | None = None) -> list[Answered]:
    """Record the history at a service and print what it answers."""
    told = history()
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=90) as client:
            _record(client, told, console)
            answered = [_ask(client, told["user_id"], question) for question in told["questions"]]
    except httpx.HTTPStatusError as exc:
        refusal = exc.response
        raise DemoFailed(f"The service at {url} refuses ({refusal.status_code}): {_detail(refusal)}") from exc
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as exc:
        raise DemoFailed(f"The service at {url} does not answer as it should: {exc}") from exc
    for number, item in enumerate(answered, 1):
        _print(number, item, console)
    return answered


def _detail(refusal: httpx.Response) -> str:
    try:
        detail = str(refusal.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return refusal.reason_phrase
    return f"{detail} Give one with --api-key." if refusal.status_code == 401 else detail


def _record(client: httpx.Client, told: dict[str, Any], console: Console) -> None:
    sessions = told["sessions"]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    begun = time.perf_counter()
    with Progress(*columns, console=console) as progress:
        for session in progress.track(sessions, description="Recording sessions"):
            path = f"/v1/users/{told['user_id']}/sessions/{session['session_id']}"
            body = {name: value for name, value in session.items() if name != "session_id"}
            client.put(path, json=body).raise_for_status()
        recorded = time.perf_counter() - begun
        for session in progress.track(sessions, description="Waiting for the index"):
            path = f"/v1/users/{told['user_id']}/sessions/{session['session_id']}"
            body = {name: value for name, value in session.items() if name != "session_id"}
            done = client.put(path, json=body, params={"wait": "indexed", "wait_s": 60})
            done.raise_for_status()
            if not done.json()["status"]["indexed"]:
                raise DemoFailed(f"Session {session['session_id']} was not indexed within a minute.")
    turns = sum(len(session["turns"]) for session in sessions)
    indexed = time.perf_counter() - begun
    console.print(
        f"{len(sessions)} sessions, {turns} turns: on disk after {recorded:.1f} s, indexed after {indexed:.1f} s"
    )


def _ask(client: httpx.Client, user_id: str, question: dict[str, Any]) -> Answered:
    body = {"query": question["query"], "asked_at": question["asked_at"], "unit": "turn", "limit": 10}
    answer = client.post(f"/v1/users/{user_id}/recall", json=body)
    answer.raise_for_status()
    return Answered(question, answer.json())


def _print(number: int, item: Answered, console: Console) -> None:
    took = item.answer["took_ms"]["total"]
    table = Table(title_justify="left", show_edge=False, pad_edge=False, expand=True)
    table.title = Text(
        f"\n{number}. {item.question['query']}  ({item.question['kind'].replace('_', ' ')})", style="bold"
    )
    table.add_column("date", no_wrap=True)
    table.add_column("speaker", no_wrap=True)
    table.add_column(f"evidence ({took:.0f} ms)", ratio=1)
    wanted = {(place["session_id"], place["turn_id"]) for place in item.question["evidence"]}
    for place in item.answer["evidence"][:SHOWN]:
        turn = place["turns"][0]
        mark = "✓ " if (place["session_id"], turn["turn_id"]) in wanted else "  "
        table.add_row(turn["said_at"][:10], turn["speaker"], Text(mark + _short(turn["text"])))
    console.print(table)
    console.print(Text(f"   A reader would say: {item.question['answer']}", style="dim"))


def _short(text: str, length: int = 220) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"


@contextmanager
def _started(folder: str, console: Console) -> Iterator[str]:
    """A service of its own, in a temporary folder, on a free port."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("MEMSVC_")}
    environment = {**own, "MEMSVC_DATA_DIR": folder, "MEMSVC_LOG_LEVEL": "WARNING"}
    command = [sys.executable, "-m", "memsvc", "serve", "--port", "0"]
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        with console.status("Starting memsvc"):
            url = _announced(process)
            _wait_until_ready(url, process)
        console.print(f"Started in {time.perf_counter() - begun:.1f} s, in a temporary folder, without a key: {url}")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def _announced(process: "subprocess.Popen[str]") -> str:
    line = process.stdout.readline() if process.stdout else ""
    if "http://" not in line:
        raise DemoFailed("The service did not start; its reason stands above.")
    return line[line.index("http://") :].strip()


def _wait_until_ready(url: str, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise DemoFailed("The service did not become ready; its reason stands above.")
