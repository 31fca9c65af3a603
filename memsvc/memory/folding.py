"""Pure: items of evidence that say the same, word for word, become one."""

import re
from collections.abc import Sequence

from memsvc.domain import Turn

_WORD = re.compile(r"\w+")
# What is shorter ("Yes, thanks!") says too little to be called the same.
_LEAST_WORDS = 6

Signature = tuple[str, ...]


def signature_of(turns: Sequence[Turn]) -> Signature | None:
    """Who says which words, in their order; None for a few words.

    Case and punctuation do not count, everything else does: one word more ("will not marry") or in another place ("from
    Rome to Porto") may be the very thing that has changed since.
    """
    said = [(turn.speaker, _WORD.findall(turn.said.casefold())) for turn in turns]
    if sum(len(words) for _, words in said) < _LEAST_WORDS:
        return None
    return tuple(part for speaker, words in said for part in (f"{speaker}:", *words))
