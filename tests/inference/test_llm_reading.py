"""What a language model says, read as the object that was asked for."""

from typing import Any

import pytest

from memsvc.inference.llm_reading import Completion, fitted, read

FACTS: dict[str, Any] = {
    "type": "object",
    "properties": {"facts": {"type": "array", "items": {"type": "object"}, "maxItems": 2}},
    "required": ["facts"],
    "additionalProperties": False,
}
GOOD = '{"facts": [{"text": "a"}]}'
HELD = {"facts": [{"text": "a"}]}


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```",
        f"Sure! Here it is:\n```json\n{GOOD}\n```\nI hope this helps.",
        f"{GOOD} I hope this helps {{really}}.",
        f"As you asked {{so}} [1]: {GOOD}",
        f"<think>Is it {{}} or {GOOD}?</think>{GOOD}",
        f"Is it {GOOD}?</think>\n\n{GOOD}",
        f"<thinking>hm</thinking>\n```json\n{GOOD}\n```",
        '[{"text": "a"}]',
        '```json\n[{"text": "a"}]\n```',
        f"\ufeff{GOOD}",
    ],
    ids=[
        "alone", "in a fence", "in a bare fence", "in a fence and prose", "before prose", "after prose",
        "after a thought", "after a thought without its beginning", "after a thought in a fence", "a list",
        "a list in a fence", "after a byte order mark",
    ],
)  # fmt: skip
def test_object_is_found(text: str) -> None:
    assert read(Completion(text), FACTS, None) == HELD


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nothing", "it has no JSON object"),
        ("null", "it is no JSON object"),
        ("3", "it is no JSON object"),
        ('"facts"', "it is no JSON object"),
        ('{"facts": [], "x": "cut', "it is broken JSON"),
        ('[{"text": "a"}, {"te', "it is broken JSON"),
        (f"{GOOD}\n{GOOD}", "it has more than one JSON value"),
        (f"<think>{GOOD}", "it has thoughts only"),
        ('{"facts": [{"score": NaN}]}', "it has NaN, which is no JSON"),
        ('{"facts": ' + "[" * 200_000, "it is nested too deeply|it is broken JSON"),
        ('{"facts": [{}, {}, {}]}', "it.facts has more than 2 items"),
        ('{"facts": [{"text": "\\u0000"}]}', r"a key of it.facts\[0\] has characters that no database keeps"),
        ('{"facts": [{"text": "\\ud800"}]}', "has characters that no database keeps"),
        ('{"facts": null}', "it.facts is not of type array"),
        ("{}", "it lacks facts"),
    ],
    ids=[
        "prose", "null", "a number", "a text", "cut after an empty list", "a cut list", "two objects", "thoughts only",
        "not a number", "endless nesting", "too many", "a null character", "half a character", "null for a list",
        "an empty object",
    ],
)  # fmt: skip
def test_what_is_no_answer_never_reads_as_one(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read(Completion(text), FACTS, None)


def test_line_breaks_within_a_text_are_read() -> None:
    assert read(Completion('{"facts": [{"text": "a\nb"}]}'), FACTS, None) == {"facts": [{"text": "a\nb"}]}


def test_list_is_not_an_object_that_has_more_than_it() -> None:
    two = {"type": "object", "properties": {"a": {"type": "array"}, "b": {"type": "array"}}}

    with pytest.raises(ValueError, match="it is no JSON object"):
        read(Completion("[]"), two, None)


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (3, {"type": "integer", "minimum": 1, "maximum": 3}),
        (10**400, {"type": "integer"}),
        (0.5, {"type": "number", "minimum": 0}),
        (None, {"type": ["string", "null"]}),
        ("a", {"type": ["string", "null"], "enum": ["a", None]}),
        (True, {"type": "boolean"}),
        ([1, "a"], {"type": "array"}),
        ({"a": 1}, {"type": "object"}),
        ({"a": {"b": [1]}}, {}),
    ],
    ids=str,
)
def test_value_that_fits_is_as_it_was(value: object, schema: dict[str, Any]) -> None:
    assert fitted(value, schema) == value


@pytest.mark.parametrize(
    ("value", "schema", "reason"),
    [
        ("3", {"type": "integer"}, "it is not of type integer"),
        (3.5, {"type": "integer"}, "it is not of type integer"),
        (True, {"type": "integer"}, "it is not of type integer"),
        (False, {"type": "number"}, "it is not of type number"),
        (float("inf"), {"type": "number"}, "it is not of type number"),
        (1, {"type": ["string", "null"]}, "it is not of type string or null"),
        (4, {"type": "integer", "maximum": 3}, "it is not between any and 3"),
        (-0.1, {"type": "number", "minimum": 0, "maximum": 1}, "it is not between 0 and 1"),
        ("c", {"type": "string", "enum": ["a", "b"]}, 'it is not one of ["a", "b"]'),
        ({}, {"type": "object", "required": ["a", "b"]}, "it lacks a, b"),
        ({"a": [{"b": 1}]}, {"properties": {"a": {"items": {"properties": {"b": {"type": "null"}}}}}}, "it.a[0].b is"),
    ],
    ids=str,
)
def test_value_that_does_not_fit_is_told_by_its_place(value: object, schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 (the message is compared below, brackets and all)
        fitted(value, schema)

    assert str(raised.value).startswith(reason)


def test_whole_number_with_a_point_becomes_an_integer() -> None:
    found = fitted(3.0, {"type": "integer"})

    assert isinstance(found, int)


def test_unknown_keys_are_dropped_where_the_schema_is_closed_and_kept_where_it_is_not() -> None:
    closed = {"properties": {"a": {}}, "additionalProperties": False}

    assert fitted({"a": 1, "b": 2}, closed) == {"a": 1}
    assert fitted({"a": 1, "b": 2}, {"properties": {"a": {}}}) == {"a": 1, "b": 2}
