"""Small data of the published shapes, written for the tests, and what stands between a run and its service."""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def chat(name: str = "c1", *, sessions: int = 3) -> Json:
    """A chat in which the answer to question n is told at the second turn of session n, in words of its own."""
    animals = ["zebra", "yak", "xerus", "wombat", "vole"][:sessions]
    told = [
        {
            "date": f"2024-0{number}-05T10:00",
            "turns": [
                {"s": "Ana", "t": f"Morning, it is day {number} of rain again."},
                {"s": "Ben", "t": f"My {animal} lives at the harbour now.", "img": f"a {animal} at the sea"},
                {"s": "Ana", "t": "Fancy that!"},
            ],
        }
        for number, animal in enumerate(animals, 1)
    ]
    asked = [
        {"q": f"Where does the {animal} live?", "a": "at the harbour", "evidence": [f"{number}:2"], "type": "single"}
        for number, animal in enumerate(animals, 1)
    ]
    # The file's order is not that of time.
    return {"id": name, "speakers": ["Ana", "Ben"], "sessions": told[1:] + told[:1], "questions": _moved(asked)}


def _moved(asked: Sequence[Json]) -> list[Json]:
    """The questions' evidence, where session 1 stands last in the file."""
    last = len(asked)
    return [{**entry, "evidence": [f"{(number - 1) or last}:2"]} for number, entry in enumerate(asked, 1)]


def written(path: Path, found: Any) -> Path:
    """The data as a JSON array, or as JSON Lines for `.jsonl`, packed for `.gz`."""
    is_lines = ".jsonl" in path.suffixes
    text = "".join(json.dumps(entry) + "\n" for entry in found) if is_lines else json.dumps(found)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


class Watched:
    """An ASGI application that keeps every request: method, path with query, headers and body, as they came."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.requests: list[tuple[str, str, Mapping[bytes, bytes], bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bodies: list[bytes] = []

        async def kept() -> Any:
            message = await receive()
            bodies.append(message.get("body", b""))
            return message

        await self._app(scope, kept, send)
        path = scope["path"] + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
        self.requests.append((scope["method"], path, dict(scope["headers"]), b"".join(bodies)))

    def bodies(self, method: str, ending: str) -> list[Json]:
        """The JSON bodies of the requests with this method whose path ends like this."""
        return [json.loads(body) for how, path, _, body in self.requests if how == method and path.endswith(ending)]


def line(case: str = "q1", **changed: Any) -> Json:
    """A raw line of a case whose evidence, the turns (0, 0) and (1, 2), is at ranks 1 and 6."""
    ranking = [(0, 0), (2, 0), (2, 1), (3, 0), (3, 1), (1, 2)]
    whole = {"1000": False, "2000": True, "4000": True, "8000": True}
    return {
        "case": case,
        "haystack": "h1",
        "category": "single",
        "groups": ["all", "single"],
        "evidence": [(0, 0), (1, 2)],
        "evidence_sessions": [0, 1],
        "turns": ranking,
        "sessions": [2, 0, 3, 1],
        "contexts": {budget: {"tokens": int(budget) - 10, "whole": held} for budget, held in whole.items()},
        "ms": {"turn": [12.5, 10.0]},
        **changed,
    }
