"""Pure: what a language model is asked: a question, and the request bodies that endpoints of different age take."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

Message = Mapping[str, str]

_NAMES_FORM = re.compile(r"response_?format|json_schema|json_object|structured|grammar|schema|requested param", re.I)
_NAMES_ELSE = re.compile(r"max_(completion_)?tokens|temperature|context", re.I)


@dataclass(frozen=True, slots=True)
class Question:
    """What one ask sends to one model; `name` is the task."""

    model: str
    messages: tuple[Message, ...]
    name: str
    schema: Mapping[str, Any]
    max_tokens: int

    @property
    def key(self) -> str:
        """Under which the answer is kept."""
        return request_key(self.model, self.messages, name=self.name, schema=self.schema, max_tokens=self.max_tokens)

    @property
    def characters(self) -> int:
        """About how many characters the model reads."""
        return sum(len(message["content"]) for message in self.messages) + len(_canonical(self.schema))


class Form(StrEnum):
    """How an endpoint is told which JSON to answer with, the strictest first."""

    SCHEMA = "json_schema"
    OBJECT = "json_object"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Dialect:
    """What an endpoint takes in a request: the form, the name of the limit of tokens, and whether a temperature."""

    form: Form = Form.SCHEMA
    limit: str = "max_tokens"
    has_temperature: bool = True


def request_key(
    model: str, messages: Sequence[Message], *, name: str, schema: Mapping[str, Any], max_tokens: int
) -> str:
    """The SHA-256 of all that an answer depends on; the dialect found does not belong to it."""
    asked = _canonical([model, [dict(message) for message in messages], name, schema, max_tokens])
    return hashlib.sha256(asked.encode()).hexdigest()


def body_of(question: Question, dialect: Dialect) -> dict[str, Any]:
    """The body of a request for a chat completion."""
    body: dict[str, Any] = {"model": question.model, "messages": _messages(question, dialect.form)}
    if dialect.has_temperature:
        body["temperature"] = 0
    body[dialect.limit] = question.max_tokens
    if dialect.form is Form.SCHEMA:
        form = {"name": question.name, "schema": question.schema, "strict": True}
        body["response_format"] = {"type": Form.SCHEMA.value, "json_schema": form}
    elif dialect.form is Form.OBJECT:
        body["response_format"] = {"type": Form.OBJECT.value}
    return body


def milder(dialect: Dialect, status: int, said: str) -> Dialect | None:
    """What may be taken where a dialect was refused with these words; None where that is not what was refused."""
    if status == 400 and dialect.limit == "max_tokens" and "max_tokens" in said:
        return replace(dialect, limit="max_completion_tokens")
    if status == 400 and dialect.has_temperature and "temperature" in said:
        return replace(dialect, has_temperature=False)
    if dialect.form is Form.PLAIN or not _refuses_form(status, said):
        return None
    return replace(dialect, form=Form.OBJECT if dialect.form is Form.SCHEMA else Form.PLAIN)


def repaired(question: Question, answered: str, reason: str) -> Question:
    """The question again, after the answer that will not do and what is wrong with it."""
    # Some endpoints refuse an empty message, and some models two messages of one role in a row.
    bad = {"role": "assistant", "content": answered or "(nothing)"}
    wrong = f"That is not what was asked for: {reason}. {_told(question.schema)}"
    return replace(question, messages=(*question.messages, bad, {"role": "user", "content": wrong}))


def _refuses_form(status: int, said: str) -> bool:
    # Old endpoints refuse what they do not know without naming it; a 404 mostly means the model or the path.
    if status == 404 or _NAMES_ELSE.search(said):
        return _NAMES_FORM.search(said) is not None and status in {400, 404, 422, 501}
    return status in {400, 422, 501}


def _messages(question: Question, form: Form) -> list[Message]:
    messages = list(question.messages)
    if form is Form.SCHEMA:
        return messages
    told = _told(question.schema)
    if messages and messages[0]["role"] == "system":
        return [{"role": "system", "content": f"{messages[0]['content']}\n{told}"}, *messages[1:]]
    return [{"role": "system", "content": told}, *messages]


def _told(schema: Mapping[str, Any]) -> str:
    return f"Answer with one JSON object, and nothing else, that fits this JSON Schema:\n{_canonical(schema)}"


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
