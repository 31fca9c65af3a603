"""Expressions of time in other languages than English; said on a Wednesday, 14 June 2023."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsvc.intervals import Precision
from memsvc.temporal import find, languages
from tests.temporal import DAY, MINUTE, MONTH, SAID_AT, WEEK, instant

READ = ("de", "fr", "es", "zh")


@pytest.mark.parametrize(
    ("language", "text", "words", "start", "end", "precision"),
    [
        ("de", "Was habe ich gestern gekauft?", "gestern", "2023-06-13", "2023-06-14", DAY),
        ("de", "Wir trafen uns 3. Mai 2023.", "3. Mai 2023", "2023-05-03", "2023-05-04", DAY),
        ("de", "Letzte Woche war ich krank.", "Letzte Woche", "2023-06-05", "2023-06-12", WEEK),
        ("de", "Mai 2022 war warm.", "Mai 2022", "2022-05-01", "2022-06-01", MONTH),
        ("de", "Es war gestern 12:30.", "gestern 12:30", "2023-06-13T12:30", "2023-06-13T12:31", MINUTE),
        ("fr", "Je l'ai vu hier.", "hier", "2023-06-13", "2023-06-14", DAY),
        ("fr", "C'était 3 mai 2023.", "3 mai 2023", "2023-05-03", "2023-05-04", DAY),
        ("es", "Lo vi ayer.", "ayer", "2023-06-13", "2023-06-14", DAY),
        ("es", "Fue el 3 de mayo de 2023.", "3 de mayo de 2023", "2023-05-03", "2023-05-04", DAY),
        ("zh", "我昨天去了公园。", "昨天", "2023-06-13", "2023-06-14", DAY),
        ("zh", "上周", "上周", "2023-06-05", "2023-06-12", WEEK),
        ("zh", "2022年5月", "2022年5月", "2022-05-01", "2022-06-01", MONTH),
    ],
)
def test_expression_is_found_where_it_stands(
    language: str, text: str, words: str, start: str, end: str, precision: Precision
) -> None:
    (found,) = find(text, reference=SAID_AT, language=language)

    assert (found.text, text[slice(*found.span)]) == (words, words)
    assert (found.start, found.end, found.precision) == (instant(start), instant(end), precision)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("de", "Danke!"),
        ("de", "so ist das"),
        ("de", "Der Marsch war lang."),
        ("fr", "rien du tout"),
        ("es", "no sé nada"),
        ("zh", "谢谢你"),
        *((language, "") for language in READ),
    ],
)
def test_text_that_names_no_time_has_no_expressions(language: str, text: str) -> None:
    found = find(text, reference=SAID_AT, language=language)

    assert found == []


@pytest.mark.parametrize(
    ("language", "is_known"),
    [("en", True), ("de", True), ("fr", True), ("es", True), ("zh", True), ("xx", False), ("tlh", False), ("", False)],
)
def test_codes_of_languages_are_known_or_not(language: str, is_known: bool) -> None:
    found = languages.is_known(language)

    assert found is is_known


digits = st.integers(0, 10**9).map(str)
spoken = st.lists(
    st.sampled_from(["gestern", "vor", "hier", "ayer", "昨天", "年", "月", "Mai", "mayo", "12:61", ".", "/", "-"])
    | digits,
    max_size=8,
).map(" ".join)


@settings(max_examples=60)
@given(st.text(max_size=40) | spoken, st.sampled_from(READ), st.datetimes().map(lambda at: at.replace(tzinfo=UTC)))
def test_any_text_is_read_without_an_exception(text: str, language: str, said_at: datetime) -> None:
    found = find(text, reference=said_at, language=language)

    assert [text[slice(*each.span)] for each in found] == [each.text for each in found]
    edges = [edge for each in found for edge in each.span]
    assert edges == sorted(edges)
    assert all(each.start < each.end for each in found if each.start and each.end)
