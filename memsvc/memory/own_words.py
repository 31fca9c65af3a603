"""Pure: the sentences that a turn's speaker wrote there and then, without what was pasted, quoted or played."""

import re
from collections.abc import Iterator

Span = tuple[int, int]

# A turn longer than this holds a paste; what is the speaker's own frames it, so far from either end.
LONG = 1500
FRAME = 600
_GAP = "\n\n"
# A line that breaks off this far out was wrapped, if the next goes on in small letters.
_WRAPPED = 50
# What follows a task that speaks of "the text below" is that text, from this length on.
_SHORTEST_PASTE = 150
_NOWHERE = -9
# So much of a line shows what it is.
_HEAD = 200

_SENTENCE_END = re.compile(r"""(?<=[.!?…])(?:\s+|["'”)\]]{1,3}\s+(?![a-z]))""")
_TITLES = frozenset(
    ["dr", "mr", "mrs", "ms", "prof", "st", "mt", "vs", "approx", "dept", "inc", "ltd", "jr", "sr", "etc", "e.g", "i.e"]
)
_LONGEST_TITLE = 8
_GOES_ON = re.compile(r"(?!(?:i|im|i'm|i've|we|my|our)\b)[a-z]")

_FENCE = re.compile(r"\s*(?:```|~~~)")
_ITEM = re.compile(r"\s*(?:[-*•+–]|\d{1,3}[.)]|[a-z]\))\s+")  # noqa: RUF001
_LABEL = re.compile(r"\s*\*{0,2}[A-Z][\w'-]*(?: [\w'-]+){0,3}\*{0,2} ?:(?!\S)")
_REMARK = re.compile(
    r"\s*(?:note|ps|p\.s\.|context|background|fyi|btw|update|edit|about me|reminder|(?:quick |one )?question) ?:\s*",
    re.I,
)
_MACHINE = re.compile(
    r"^\s*(?:[\[(]?\d{4}-\d\d-\d\d[T ]\d\d:|[\[(]?\d{1,2}:\d\d(?::\d\d)?[\])]? |\d{1,2}/\d{1,2}/\d{2,4},? \d{1,2}:\d\d"
    r"|def |class |import |from \w+ import|#include|return |SELECT |Traceback|File \"|\||>)"
    r"|\b(?:INFO|ERROR|DEBUG|WARN|WARNING|FATAL)\b|-->|=>|==|</|/>|\(\)|[{};]\s*$|\t|\|[^|]*\|"
)
_PLACEHOLDER = re.compile(r"\[[A-Za-z][A-Za-z '/]{1,40}\]|\{\{|\{[a-z_ ]{2,30}\}|<[A-Za-z_ ]{2,30}>|____|\bXXX")
_HEADER = re.compile(r"\s*(?:subject|from|to|cc|sent) ?: ?\S", re.I)
_SALUTATION = re.compile(r"\s*(?:dear .{1,60}|(?:hi|hello|hey)\b.{0,40}[,:])\s*$", re.I)
_SIGN_OFF = re.compile(
    r"\s*(?:(?:best|kind|warm)(?: \w+){0,2}|regards|sincerely|yours(?: \w+){0,2}|cheers|respectfully),?\s*$", re.I
)
_COURTESY = (
    r"(?:please|pls|can you|could you|would you|help me|i want you to|i'd like you to|i need you to|now|hi|hello)"
)
_TASK = re.compile(
    rf"\s*(?:{_COURTESY},? ){{0,4}}(?:"
    r"re-?write|rephrase|reword|paraphrase|proof-?read|summari[sz]e|translate|correct|edit|improve|fix|analy[sz]e|"
    r"review|check|grade|continue|complete|finish|convert|format|classify|extract|shorten|expand|polish|answer|"
    r"respond|reply|refine|revise|write|make|turn|read|consider|given|here is|here's|this is|explain|describe|create|"
    r"generate|using)\b",
    re.I,
)
_TASK_COLON = re.compile(r"[^\n:]{0,150}:(?=\s|$)")
_OF_A_TEXT = re.compile(
    r"\b(?:this|these|following|below|above|text|passage|paragraph|e-?mail|essay|article|story|letter)\b", re.I
)
_ROLE = re.compile(
    r"\s*(?:(?:please|now|hi|hello|let's|for this conversation|from now on),? ){0,3}(?:act (?:as|like)\b|pretend\b|"
    r"role-?play|(?:i want|i need|i'd like|i would like) you to (?:act|play|pretend|be|role)\b"
    r"|imagine (?:that )?you|ignore (?:all |any )?(?:previous|prior)|assume the role|play the role|your role is"
    r"|you (?:are going to|will|shall|must) (?:act|play|be|pretend)\b|write\b.{0,60}\b(?:first person|monologue|diary)"
    r"|you are (?:now )?(?:an? |the )?(?:\w+ ){0,3}(?:expert|assistant|bot|ai|writer|teacher|tutor|coach|"
    r"character)\b)",
    re.I,
)
_QUOTED = re.compile(r'"[^"\n]{1,400}"|“[^”\n]{1,400}”|`[^`\n]{1,200}`|https?://\S+')
_PLAIN = str.maketrans({"’": "'", "‘": "'", "\u00a0": " "})  # noqa: RUF001


def covered(text: str) -> str:
    """The text with plain apostrophes, its quotations and links made illegible; every offset stays."""
    return _QUOTED.sub(lambda found: _crossed_out(found[0]), text.translate(_PLAIN))


def _crossed_out(words: str) -> str:
    """As many letters; a full stop before the closing mark still ends a sentence."""
    kept = 2 if len(words) > 2 and words[-2] in ".!?" and words[-1] in '"”' else 0
    return "x" * (len(words) - kept) + words[len(words) - kept :]


def frames(text: str) -> list[Span]:
    """The stretches of a text that its speaker may have written: all of it, or both ends of a long one.

    The ends are whole paragraphs, where there are any: one that reaches further is of the paste.
    """
    if len(text) <= LONG:
        return [(0, len(text))]
    head, tail = text.rfind(_GAP, 0, FRAME), text.find(_GAP, len(text) - FRAME)
    if head < 1:
        head = FRAME
    if tail < 0:
        tail = len(text) if _GAP in text else len(text) - FRAME
    return [(0, head), (tail, len(text))]


def sentences(text: str) -> Iterator[Span]:
    """The offsets of the speaker's own sentences, in order. Of a turn that gives out a role there are none."""
    if _ROLE.match(text):
        return
    allowed = frames(text)
    for first, last in _passages(text):
        for start, end in _cut(text, first, last):
            if any(begin <= start and end <= stop for begin, stop in allowed):
                yield start, end


def _cut(text: str, first: int, last: int) -> Iterator[Span]:
    """A passage's sentences, each without the spaces around it; a title's full stop ends none."""
    start = first
    for border in _SENTENCE_END.finditer(text, first, last):
        before = text[max(start, border.start() - _LONGEST_TITLE) : border.start()]
        if before[-1] == "." and _is_title(before, goes_on=text[border.end() : border.end() + 1].islower()):
            continue
        yield start, border.start() + len(border[0].rstrip())
        start = border.end()
    end = start + len(text[start:last].rstrip())
    if start < end:
        yield start, end


def _is_title(words: str, *, goes_on: bool) -> bool:
    """Whether a text ends with "Dr.", with an initial, or with "p.m." before small letters."""
    last = words.split()[-1].rstrip(".").lstrip("(\"'")
    is_initial = len(last) == 1 and last.isupper() and last != "I"
    return last.lower() in _TITLES or is_initial or (goes_on and "." in last)


def _passages(text: str) -> Iterator[Span]:
    """The stretches of lines that are the speaker's own; lines that were wrapped are one stretch."""
    passage: Span | None = None
    for first, last in _own_lines(text):
        if passage and _is_wrapped(text, passage, first):
            passage = (passage[0], last)
            continue
        if passage:
            yield passage
        passage = (first, last)
    if passage:
        yield passage


def _is_wrapped(text: str, passage: Span, first: int) -> bool:
    start, end = passage
    is_next = text[end:first] == "\n" and text[end - 1] not in ".!?…:"
    return is_next and end - max(start, text.rfind("\n", start, end)) > _WRAPPED and bool(_GOES_ON.match(text, first))


def _own_lines(text: str) -> Iterator[Span]:
    """The lines, or parts of lines, that are neither code, quotation, table, log, letter, form nor paste."""
    lines = [found.span() for found in re.finditer(r"[^\n]+", text[: _paste_begins(text)])]
    heads = [text[first : min(last, first + _HEAD)] for first, last in lines]
    is_script = sum(map(_is_labelled, heads)) > 1
    in_letter = _letters(heads)
    in_code = False
    for at, (first, last) in enumerate(lines):
        if _FENCE.match(heads[at]):
            in_code = not in_code
            continue
        if in_code or in_letter[at] or (is_script and _is_labelled(heads[at])):
            continue
        lead = _lead(heads[at], is_long=len(text) > LONG)
        if lead is not None and not _is_foreign(text[first:last]):
            yield first + lead, last


def _lead(head: str, *, is_long: bool) -> int | None:
    """How far into its line the speaker's own words begin; None if they are of a list that was pasted."""
    if item := _ITEM.match(head):
        return None if is_long else item.end()
    if remark := _REMARK.match(head):
        return remark.end()
    return len(head) - len(head.lstrip())


def _is_labelled(head: str) -> bool:
    return _LABEL.match(head) is not None and _REMARK.match(head) is None


def _is_foreign(line: str) -> bool:
    """Whether a line is of a machine, of a form, or a heading."""
    if _MACHINE.search(line) or _PLACEHOLDER.search(line):
        return True
    return line.isupper()


def _letters(heads: list[str]) -> list[bool]:
    """Which lines are of a letter: from its header or salutation on, to where it is signed."""
    signed = max((at for at, head in enumerate(heads) if _SIGN_OFF.match(head)), default=_NOWHERE)
    inside, marks = False, []
    for at, head in enumerate(heads):
        is_address = _SALUTATION.match(head) is not None and (at < signed or head.lower().lstrip().startswith("dear"))
        inside = (inside or is_address or _HEADER.match(head) is not None) and at != signed + 2
        marks.append(inside)
    return marks


def _paste_begins(text: str) -> int:
    """Where a text begins that a task was given about; the end if there is none."""
    for found in re.finditer(r"[^\n]+", text):
        head = text[found.start() : min(found.end(), found.start() + _HEAD)]
        if not (task := _TASK.match(head)):
            continue
        if colon := _TASK_COLON.match(head, task.end()):
            return found.start() + colon.end()
        if _OF_A_TEXT.search(head) and len(text) - found.end() > _SHORTEST_PASTE:
            return found.end()
    return len(text)
