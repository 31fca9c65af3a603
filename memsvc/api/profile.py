"""Profiles on the wire."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel

from memsvc.api.deps import Cases, ReadingOwner
from memsvc.api.fact_schemas import SourceOut
from memsvc.memory.profiling import Profile

router = APIRouter(prefix="/v1/users/{user_id}/profile", tags=["facts"])


class LineOut(BaseModel):
    """A line of a profile: a fact that holds now, and where it was said."""

    fact_id: str
    kind: str
    subject: str
    text: str
    sources: list[SourceOut]


class SentenceOut(BaseModel):
    """A sentence of the summary with the facts that it rests on."""

    text: str
    fact_ids: list[str]


class ProfileOut(BaseModel):
    """What holds now. `text` is the same, byte for byte, while nothing has changed."""

    lines: list[LineOut]
    text: str
    summary: list[SentenceOut] | None

    @classmethod
    def of(cls, profile: Profile) -> "ProfileOut":
        """From the value."""
        summary = profile.summary
        return cls(
            lines=[
                LineOut(
                    fact_id=str(line.fact.fact_id),
                    kind=line.fact.kind,
                    subject=line.fact.subject,
                    text=line.text,
                    sources=[SourceOut.of(source) for source in line.fact.sources],
                )
                for line in profile.lines
            ],
            text=profile.text,
            summary=summary
            and [SentenceOut(text=one.text, fact_ids=[str(fact.fact_id) for fact in one.facts]) for one in summary],
        )


@router.get(
    "", responses={304: {"description": "Nothing has changed since the ETag that was sent"}}, response_model=ProfileOut
)
def profile(
    cases: Cases,
    owner: ReadingOwner,
    response: Response,
    summary: Annotated[bool, Query(description="with a summary by the language model")] = False,
    if_none_match: Annotated[str | None, Header(max_length=2000)] = None,
) -> ProfileOut | Response:
    """The facts that hold now, by kind and subject, each with its sources, as lines and as one stable text."""
    found = cases.profiler.profile(owner, summary=summary)
    etag = f'"{found.etag}"'
    if if_none_match is not None and not summary and _matches(if_none_match, etag):
        return Response(status_code=304, headers={"ETag": etag})
    response.headers["ETag"] = etag
    return ProfileOut.of(found)


def _matches(sent: str, etag: str) -> bool:
    """Whether one of the tags that were sent is this one; a proxy may have weakened it."""
    tags = [tag.strip().removeprefix("W/") for tag in sent.split(",")]
    return etag in tags or "*" in tags
