"""Pure: whether a context holds all that the evidence says, read as a client reads it."""

from collections.abc import Iterable

from evals.cases import HaystackTurn


def holds(context: str, turns: Iterable[HaystackTurn]) -> bool:
    """Whether every turn's whole text and all its captions stand in the context.

    How a context is laid out is the service's affair: only the words count, with any white space between them, and no
    word may go on before the first or after the last.
    """
    text = _flat(context)
    return all(_stands_in(text, _flat(said)) for turn in turns for said in (turn.text, *turn.captions))


def approximate_tokens(text: str) -> int:
    """The usual rule of thumb for a text whose tokenizer is not known: four characters a token."""
    return -(-len(text) // 4)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _stands_in(text: str, said: str) -> bool:
    start = text.find(said)
    while said and start >= 0:
        end = start + len(said)
        if not _goes_on(text[start - 1 : start + 1] if start else "") and not _goes_on(text[end - 1 : end + 1]):
            return True
        start = text.find(said, start + 1)
    return not said


def _goes_on(border: str) -> bool:
    """Whether a word runs across a border of two characters."""
    return len(border) == 2 and border.isalnum()
