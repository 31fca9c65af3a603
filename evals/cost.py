"""What extraction would ask of a language model, counted without one: calls and prompt tokens of every session."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from statistics import mean, median
from typing import Any
from uuid import UUID, uuid5

from evals import metrics
from evals.cases import Haystack, HaystackSession
from memsvc.domain import Role, Round, Turn
from memsvc.inference.llm_requests import Dialect, Question, body_of
from memsvc.memory import extraction
from memsvc.memory.dividing import CountTokens, joins
from memsvc.memory.extracting import TASK
from memsvc.memory.extraction import Guidance, Undrawn

# The prompt's tokens are to be less than so many times the session's own.
AIM = 1.3
_AGAIN = "sessions that were told before"
_NOTHING = "sessions of which nothing would be asked"
_ROWS = UUID("2b1de0a5-6f3c-4b41-9a52-4d0f6a1a70d7")


@dataclass(frozen=True, slots=True)
class SessionCost:
    """What one session takes: requests, the tokens of their messages and of their schemas, and the session's own."""

    calls: int
    prompt: int
    schema: int
    own: int

    @property
    def ratio(self) -> float:
        """Tokens of the messages for each of the session's own."""
        return self.prompt / self.own

    @property
    def ratio_with_schema(self) -> float:
        """The same with the JSON schema that goes with each request, for endpoints that count it as prompt."""
        return (self.prompt + self.schema) / self.own


@dataclass(frozen=True, slots=True)
class Counted:
    """The cost of each distinct session, and what was left out by reason."""

    sessions: tuple[SessionCost, ...]
    left_out: Mapping[str, int]


def count(haystacks: Iterable[Haystack], *, count_tokens: CountTokens, chunk_tokens: int) -> Counted:
    """Every session once, however many histories tell it: LongMemEval tells many in several."""
    told: set[bytes] = set()
    left_out: Counter[str] = Counter()
    costs: list[SessionCost] = []
    for haystack in haystacks:
        left_out.update(haystack.left_out)
        for session in haystack.sessions:
            wording = sha256(repr(session.turns).encode()).digest()
            if wording in told:
                left_out[_AGAIN] += 1
                continue
            told.add(wording)
            cost = cost_of(session, count_tokens=count_tokens, chunk_tokens=chunk_tokens)
            if cost.calls and cost.own:
                costs.append(cost)
            else:
                left_out[_NOTHING] += 1
    return Counted(tuple(costs), dict(left_out))


def cost_of(session: HaystackSession, *, count_tokens: CountTokens, chunk_tokens: int) -> SessionCost:
    """What the extraction of a session would send: its very messages, if no answer has to be repaired or is cut off."""
    turns = _turns(session)
    undrawn = [Undrawn(round_) for round_ in _rounds(turns)]
    chunks = extraction.chunks_of(undrawn, count_tokens=count_tokens, max_tokens=chunk_tokens)
    said = [message["content"] for chunk in chunks for message in extraction.messages_of(chunk, Guidance())]
    schema = count_tokens([_form()])[0] if chunks else 0
    own = sum(count_tokens([turn.said for turn in turns]))
    return SessionCost(len(chunks), sum(count_tokens(said)) if said else 0, len(chunks) * schema, own)


def figures(counted: Counted) -> dict[str, Any]:
    """Mean, median and 95th percentile over the sessions, and the sums of all."""
    sessions = counted.sessions
    calls, prompt, schema, own = (
        sum(getattr(each, name) for each in sessions) for name in ("calls", "prompt", "schema", "own")
    )
    return {
        "sessions": len(sessions),
        "a_session": {
            "calls": _spread([each.calls for each in sessions]),
            "own_tokens": _spread([each.own for each in sessions]),
            "prompt_tokens": _spread([each.prompt for each in sessions]),
            "ratio": _spread([each.ratio for each in sessions]),
            "ratio_with_schema": _spread([each.ratio_with_schema for each in sessions]),
        },
        "total": {
            "calls": calls,
            "own_tokens": own,
            "prompt_tokens": prompt,
            "schema_tokens": schema,
            "ratio": round(prompt / own, 4) if own else None,
            "ratio_with_schema": round((prompt + schema) / own, 4) if own else None,
        },
        "left_out": dict(counted.left_out),
    }


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    found = {"mean": mean(values), "median": median(values), "p95": metrics.quantile(values, 0.95)}
    return {name: round(value, 4) for name, value in found.items()}


def _form() -> str:
    """The part of a request that says which JSON is wanted."""
    question = Question("", (), TASK, extraction.schema_of(Guidance()), 0)
    return json.dumps(body_of(question, Dialect())["response_format"])


def _turns(session: HaystackSession) -> list[Turn]:
    return [
        Turn(
            turn_id=str(number),
            role=Role(turn.role),
            speaker=turn.speaker or turn.role,
            text=turn.text,
            said_at=session.started_at,
            captions=turn.captions,
        )
        for number, turn in enumerate(session.turns)
    ]


def _rounds(turns: Sequence[Turn]) -> list[Round]:
    """The rounds that a service would divide the session into."""
    divided: list[list[Turn]] = []
    for turn in turns:
        if divided and joins(divided[-1], turn):
            divided[-1].append(turn)
        else:
            divided.append([turn])
    starts = [sum(map(len, divided[:number])) for number in range(len(divided))]
    return [
        Round(
            row_id=uuid5(_ROWS, str(start)),
            session_row=_ROWS,
            session_id="",
            session_started_at=turns[0].said_at,
            first_position=start,
            turns=tuple(group),
            before=turns[start - 1] if start else None,
        )
        for start, group in zip(starts, divided, strict=True)
    ]
