"""Pure: words that are quoted, found again in the turn that they were taken from."""

import re
import unicodedata

from memsvc.domain import Turn

# A letter may be told with its marks apart.
_WORD = re.compile(r"(?:\w|[\u0300-\u036f])+")
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")
_AROUND = ".,;:!?\"'()[]{}…“”‘’«»`*_"  # noqa: RUF001 (quotation marks)


def whole(turn: Turn) -> str:
    """What a quote may be taken from: the turn's text, and behind it a line for each image's caption."""
    return "\n".join([turn.text, *(f"[image: {caption}]" for caption in turn.captions)])


def plain(text: str) -> str:
    """The words of a text, without case and the punctuation around them: equal for what says the same, word for word.

    Signs that tell something ("C++", "-5 degrees", a thumb) stay.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(word for part in folded.split() if (word := part.strip(_AROUND))) or folded.strip()


def located(quote: str, text: str) -> tuple[int, int] | None:
    """The offsets of a quote in a text; None where its words do not stand there, one behind the other.

    Spaces, punctuation and case may differ, since models tidy what they copy; no word may.
    """
    quote = quote.strip()
    if not tells(quote):
        return None
    start = text.find(quote)
    while start >= 0:
        if not _cuts_a_word(text, start) and not _cuts_a_word(text, start + len(quote)):
            return start, start + len(quote)
        start = text.find(quote, start + 1)
    wanted = [_folded(word) for word in _WORD.findall(quote)]
    if not wanted:
        return None
    places = [(_folded(word[0]), word.start(), word.end()) for word in _WORD.finditer(text)]
    for first in range(len(places) - len(wanted) + 1):
        if all(places[first + step][0] == word for step, word in enumerate(wanted)):
            return places[first][1], places[first + len(wanted) - 1][2]
    return None


def _cuts_a_word(text: str, place: int) -> bool:
    """Whether a word or a number goes on at a place; scripts without spaces have no such borders."""
    return 0 < place < len(text) and all(_goes_on(char) for char in text[place - 1 : place + 1])


def _goes_on(char: str) -> bool:
    return char.isdigit() or char.lower() != char.upper()


def _folded(word: str) -> str:
    return unicodedata.normalize("NFKC", word).casefold()


def tells(text: str) -> bool:
    """Whether a text says anything: it has a letter, a number or a sign."""
    return any(unicodedata.category(char)[0] in "LNS" for char in text)


def sentence_around(text: str, first: int, last: int) -> tuple[int, int]:
    """The offsets of the sentence that a stretch of a text stands in, without the spaces around it."""
    start, end = 0, len(text)
    for border in _SENTENCE_END.finditer(text):
        if border.end() <= first:
            start = border.end()
        elif border.start() >= last:
            end = border.start()
            break
    while start < first and text[start].isspace():
        start += 1
    while end > last and text[end - 1].isspace():
        end -= 1
    return start, end
