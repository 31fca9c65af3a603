"""Texts that repeat what may begin a time are read in time that grows as they do."""

import pytest

from memsvc import temporal
from memsvc.temporal.words import Token, Tokens
from tests.temporal import SAID_AT


class CountedTokens(Tokens):
    """Tokens that count how often one is looked at."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.looks = 0

    def __getitem__(self, place: int) -> Token:
        self.looks += 1
        return super().__getitem__(place)


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[CountedTokens]:
    """The texts that are read in the test."""
    read: list[CountedTokens] = []

    def counted(text: str) -> CountedTokens:
        read.append(CountedTokens(text))
        return read[-1]

    monkeypatch.setattr(temporal, "Tokens", counted)
    return read


@pytest.mark.parametrize(
    "part",
    [
        "1 day ",
        "the first of the ",
        "on the first of ",
        "5/5/",
        "2021-",
        "2021 ",
        "8:30 ",
        "8 to ",
        "from 1 to ",
        "for 7 hours from ",
        "the ",
        "the end of ",
        "mid-",
        "May ",
        "May 5 ",
        "3 May to ",
        "Monday the ",
        "Friday, ",
        "Christmas ",
        "a week before ",
        "the day before ",
        "the week before the week before ",
        "two days after ",
        "first Monday of the last week of ",
        "last week between Friday and ",
        "5 May 2021 the next day ",
        "one hundred and ",
        "twenty ",
        "since ",
        "'",
        "9",
    ],
)
def test_twice_the_text_takes_twice_the_looks_at_its_words(part: str, texts: list[CountedTokens]) -> None:
    for count in (200, 400):
        temporal.find(part * count, reference=SAID_AT, prefer="tense")

    once, twice = (each.looks for each in texts)
    assert 0 < twice <= 2.1 * once
