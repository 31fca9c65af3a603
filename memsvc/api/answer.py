"""Answers on the wire, whole or as a stream of events."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from memsvc.api.answers import EvidenceOut, RecallOut
from memsvc.api.deps import Cases, ReadingCaller, ReadingOwner
from memsvc.api.errors import told
from memsvc.api.recall import query_of
from memsvc.api.schemas import RecallIn
from memsvc.errors import MemsvcError
from memsvc.memory.answering import Answer

router = APIRouter(prefix="/v1/users/{user_id}/answer", tags=["recall"])


class CitationOut(BaseModel):
    """Words of a turn that an answer rests on; they stand there."""

    session_id: str
    turn_id: str
    quote: str


class NoteOut(BaseModel):
    """What the reader noted of a turn."""

    session_id: str
    turn_id: str
    note: str


class AnswerUsageOut(BaseModel):
    """What the answer took; nothing, where there was no evidence to read."""

    model: str | None
    calls: int
    prompt_tokens: int
    completion_tokens: int
    estimated: bool


class AnswerOut(BaseModel):
    """An answer with what it rests on.

    `result` is what code reckoned, if anything was to be; `dropped_citations` counts quotes that were not where the
    reader said. An answer without any that is, is an abstention.
    """

    answer: str
    abstained: bool
    citations: list[CitationOut]
    notes: list[NoteOut]
    result: str | None
    dropped_citations: int
    evidence: list[EvidenceOut]
    usage: AnswerUsageOut

    @classmethod
    def of(cls, answer: Answer, *, explain: bool) -> "AnswerOut":
        """From the value."""
        spent = answer.spent
        return cls(
            answer=answer.text,
            abstained=answer.abstained,
            citations=[CitationOut.model_validate(cited, from_attributes=True) for cited in answer.citations],
            notes=[NoteOut(session_id=n.session_id, turn_id=n.turn_id, note=n.text) for n in answer.notes],
            result=answer.result,
            dropped_citations=answer.dropped,
            evidence=[EvidenceOut.of(item, explain=explain) for item in answer.found.evidence],
            usage=AnswerUsageOut(
                model=spent.model if spent else None,
                calls=spent.calls if spent else 0,
                prompt_tokens=spent.prompt_tokens if spent else 0,
                completion_tokens=spent.completion_tokens if spent else 0,
                estimated=spent.is_estimated if spent else False,
            ),
        )


_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "An answer, or its events"}
}


@router.post("", response_model=AnswerOut, responses=_STREAM)
def answer(
    cases: Cases,
    owner: ReadingOwner,
    caller: ReadingCaller,
    body: RecallIn,
    stream: Annotated[bool, Query(description="server-sent events: `evidence`, then `answer` or `error`")] = False,
) -> AnswerOut | StreamingResponse:
    """An answer out of memory, with verified citations, or an abstention; 503 without a language model."""
    query = query_of(body, caller.time_zone)
    found = cases.answerer.recall(owner, query)

    def events() -> Iterator[str]:
        yield _event("evidence", RecallOut.of(found, explain=body.explain).model_dump(mode="json", by_alias=True))
        try:
            read = cases.answerer.read(owner, query, found)
        except MemsvcError as exc:
            yield _event("error", told(exc))
        else:
            yield _event("answer", AnswerOut.of(read, explain=body.explain).model_dump(mode="json", by_alias=True))

    if stream:
        return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
    return AnswerOut.of(cases.answerer.read(owner, query, found), explain=body.explain)


def _event(name: str, content: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(content, ensure_ascii=True)}\n\n"
