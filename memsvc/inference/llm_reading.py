"""Pure: what a language model answers: a completion, the one JSON object in its text, and its fit to a schema."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

Check = Callable[[dict[str, Any]], None]

# A brace in prose, as in {so}, begins no JSON. What looks like JSON and is broken is never skipped for a part of it:
# the empty list in an answer that broke off would read as an empty answer.
_START = re.compile(r'\{\s*["}]|\[\s*[\[{"\]]')
_THOUGHT = re.compile(r"\s*<think(?:ing)?>")
_THOUGHT_END = re.compile(r"</think(?:ing)?>")
_KEEPS_NOT = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens that an endpoint counted."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. Where it has no text, `problem` says why; `usage` is None where the endpoint counts no tokens."""

    text: str
    problem: str | None = None
    is_cut_off: bool = False
    usage: Usage | None = None


def completion_of(body: Mapping[str, Any]) -> Completion:
    """The completion in an answer's body, however little of one it is."""
    usage = _usage(body.get("usage"))
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return Completion("", "it has no choice", usage=usage)
    text = message.get("content")
    is_cut_off = choice.get("finish_reason") == "length"
    if message.get("refusal") or choice.get("finish_reason") == "content_filter":
        return Completion("", "it is a refusal", is_cut_off, usage)
    if text is not None and not isinstance(text, str):
        return Completion("", "its content is no text", is_cut_off, usage)
    if not text or not text.strip():
        return Completion("", "it is empty", is_cut_off, usage)
    return Completion(text, None, is_cut_off, usage)


def read(completion: Completion, schema: Mapping[str, Any], check: Check | None) -> dict[str, Any]:
    """The object that was asked for; raises ValueError with what is wrong, which quotes nothing of the answer."""
    if completion.problem is not None:
        raise ValueError(completion.problem)
    held = _wrapped(_value(completion.text), schema)
    if not isinstance(held, dict):
        raise ValueError("it is no JSON object")
    found: dict[str, Any] = fitted(held, schema)
    if check is not None:
        check(found)
    return found


def fitted(value: Any, schema: Mapping[str, Any], at: str = "it") -> Any:
    """The value without the keys that the schema does not know; raises ValueError where it does not fit.

    Of JSON Schema this knows type, enum, minimum, maximum, items, maxItems, properties, required and
    additionalProperties: false.
    """
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    if kinds and not any(_is(value, kind) for kind in kinds):
        raise ValueError(f"{at} is not of type {' or '.join(kinds)}")
    if "enum" in schema and value not in schema["enum"]:
        raise ValueError(f"{at} is not one of {json.dumps(schema['enum'])}")
    if isinstance(value, dict):
        return _fitted_object(value, schema, at)
    if isinstance(value, list):
        return _fitted_list(value, schema, at)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _fitted_number(value, schema, at, is_integer="integer" in kinds)
    if isinstance(value, str) and _KEEPS_NOT.search(value):
        raise ValueError(f"{at} has characters that no database keeps")
    return value


def _fitted_object(value: dict[str, Any], schema: Mapping[str, Any], at: str) -> dict[str, Any]:
    known = schema.get("properties", {})
    if missing := [name for name in schema.get("required", ()) if name not in value]:
        raise ValueError(f"{at} lacks {', '.join(missing)}")
    is_closed = schema.get("additionalProperties") is False
    kept = {name: inner for name, inner in value.items() if name in known or not is_closed}
    # What the schema does not know has no name here: it may be a user's word.
    return {
        name: fitted(inner, known.get(name, {}), f"{at}.{name}" if name in known else f"a key of {at}")
        for name, inner in kept.items()
    }


def _fitted_list(value: list[Any], schema: Mapping[str, Any], at: str) -> list[Any]:
    if len(value) > schema.get("maxItems", math.inf):
        raise ValueError(f"{at} has more than {schema['maxItems']} items")
    return [fitted(inner, schema.get("items", {}), f"{at}[{number}]") for number, inner in enumerate(value)]


def _fitted_number(value: float, schema: Mapping[str, Any], at: str, *, is_integer: bool) -> float:
    if not schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf):
        raise ValueError(f"{at} is not between {schema.get('minimum', 'any')} and {schema.get('maximum', 'any')}")
    return int(value) if is_integer and isinstance(value, float) and value.is_integer() else value


def _is(value: Any, kind: str) -> bool:
    if kind in {"integer", "number"}:
        if isinstance(value, float):
            return math.isfinite(value) and (kind == "number" or value.is_integer())
        return isinstance(value, int) and not isinstance(value, bool)
    kinds: dict[str, type] = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    return isinstance(value, kinds[kind])


def _wrapped(value: Any, schema: Mapping[str, Any]) -> Any:
    """A bare list as the object whose only property it is."""
    properties = schema.get("properties", {})
    if not isinstance(value, list) or len(properties) != 1:
        return value
    ((name, inner),) = properties.items()
    return {name: value} if inner.get("type") == "array" else value


def _value(text: str) -> Any:
    """The one JSON value in a text, with thoughts before it and prose or a fence around it; raises ValueError."""
    try:
        return _DECODER.decode(text)
    except RecursionError as exc:
        raise ValueError("it is nested too deeply") from exc
    except ValueError:
        pass
    try:
        values = list(_values(_without_thoughts(text)))
    except RecursionError as exc:
        raise ValueError("it is nested too deeply") from exc
    if len(values) != 1:
        raise ValueError("it has more than one JSON value" if values else "it has no JSON object")
    return values[0]


def _without_thoughts(text: str) -> str:
    end = _THOUGHT_END.search(text)
    if end is None and _THOUGHT.match(text):
        raise ValueError("it has thoughts only")
    # The templates of some models open the thought themselves, so that only its end is in the answer.
    return text[end.end() :] if end is not None else text


def _values(text: str) -> Iterator[Any]:
    position = 0
    while found := _START.search(text, position):
        try:
            value, position = _DECODER.raw_decode(text, found.start())
        except json.JSONDecodeError as exc:
            raise ValueError(f"it is broken JSON ({exc})") from exc
        yield value


def _usage(told: Any) -> Usage | None:
    counts = [told.get(name) for name in ("prompt_tokens", "completion_tokens")] if isinstance(told, dict) else []
    whole = [count for count in counts if isinstance(count, int) and not isinstance(count, bool) and count >= 0]
    return Usage(*whole) if len(whole) == 2 else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it has {constant}, which is no JSON")


# Line breaks within a string are no JSON either, but small models write them, and nothing is lost by reading them.
_DECODER = json.JSONDecoder(parse_constant=_refuse, strict=False)
