"""A language model for the small chats: it draws, compares, reads and judges by plain rules, the same each time."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.llm import Body, completion

_TOLD = re.compile(r"^\[(\d+)[^\]]*\] Ben: (My (\w+) lives at the harbour now\.)", re.MULTILINE)
_PAIR = re.compile(r"^(\d+): S\d+ → S\d+$", re.MULTILINE)


def answered(body: Body) -> Body:
    """The completion that a request's body brings."""
    return completion(content_of(body))


def content_of(body: Body) -> str | Body:
    """What is said to a request: an object where JSON is wanted, else a text."""
    asked = body["messages"][-1]["content"]
    form = body.get("response_format")
    if form is None:
        return "Yes." if asked.endswith("Is the response correct?") else "It lives at the harbour."
    if form["json_schema"]["name"] == "extract":
        return {"statements": [_statement(*found) for found in _TOLD.findall(asked)]}
    return {"pairs": [{"pair": int(n), "relation": "independent", "reason": "two pets"} for n in _PAIR.findall(asked)]}


def batch_answer(request: Body) -> Body:
    """A line of a batch's output, to a line of its input."""
    response = {"status_code": 200, "request_id": "r", "body": answered(request["body"])}
    return {"id": "b", "custom_id": request["custom_id"], "response": response, "error": None}


def lines_of(path: Path) -> list[Body]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def write_lines(path: Path, lines: Sequence[Any]) -> Path:
    """Objects as JSON Lines, and texts as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8")
    return path


def _statement(turn: str, quote: str, animal: str) -> Body:
    unknown = dict.fromkeys(("slot", "value", "when", "from", "to"))
    text = f"The {animal} of Ben lives at the harbour."
    told = {"text": text, "kind": "fact", "subject": "Ben", "turn": int(turn), "quote": quote, "confidence": 0.9}
    return {**told, **unknown}
