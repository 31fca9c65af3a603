"""Usage of language models, and how a workspace wants facts to be extracted, on the wire."""

import re
from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator, Field, StrictInt

from memsvc.api.deps import AdminCaller, Cases, ReadingCaller
from memsvc.api.schemas import Request, SpokenText
from memsvc.clock import utc_now
from memsvc.errors import Invalid, WorkspaceNotFound
from memsvc.store.usage import Used
from memsvc.store.workspaces import Extraction

router = APIRouter(tags=["operations"])

_DAYS = 30
_MOST_DAYS = 400
_KIND = "^[a-z][a-z0-9_-]{0,31}$"


def _only_a_date(value: object) -> object:
    # A number would be read as seconds since 1970.
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        raise ValueError("must be a date like 2024-03-01")
    return value


Day = Annotated[date, BeforeValidator(_only_a_date)]


class UsedOut(BaseModel):
    """Calls and tokens of one operation with one model on one day of UTC.

    `estimated_calls` are those whose tokens were counted here, `cached_calls` questions that the cache answered.
    """

    day: date
    operation: str
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    estimated_calls: int
    cached_calls: int

    @classmethod
    def of(cls, used: Used) -> "UsedOut":
        """From the value."""
        return cls.model_validate(used, from_attributes=True)


class TotalOut(BaseModel):
    """The sums of what is listed."""

    calls: int
    prompt_tokens: int
    completion_tokens: int


class UsageOut(BaseModel):
    """What a workspace used of language models, and what it may use a day; null is no limit."""

    usage: list[UsedOut]
    total: TotalOut
    daily_tokens: int | None
    used_today: int


class ExtractionOut(BaseModel):
    """How a workspace wants facts to be extracted."""

    workspace: str
    guidelines: str
    kinds: dict[str, str]
    daily_tokens: int | None


class ExtractionIn(Request):
    """What is to change; what is left out stays. `daily_tokens` null is the service's own limit, 0 none at all."""

    guidelines: SpokenText = Field("", max_length=4000)
    kinds: dict[Annotated[str, Field(pattern=_KIND)], Annotated[SpokenText, Field(min_length=1, max_length=200)]] = (
        Field(default_factory=dict, max_length=20)
    )
    daily_tokens: StrictInt | None = Field(None, ge=0, le=2**53)


@router.get("/v1/usage")
def usage(
    cases: Cases,
    caller: ReadingCaller,
    from_: Annotated[Day | None, Query(alias="from")] = None,
    to: Annotated[Day | None, Query(description="the last day, included")] = None,
) -> UsageOut:
    """Calls and tokens of the workspace by day, operation and model; of the last 30 days if not said."""
    last = to or utc_now().date()
    first = from_ or last - timedelta(days=min(_DAYS, (last - date.min).days))
    if first > last or (last - first).days > _MOST_DAYS:
        raise Invalid(f"Give from and to in order, at most {_MOST_DAYS} days apart.", (("from", "is out of range"),))
    found = cases.meter.used(caller.workspace, first, last)
    limit, today = cases.meter.budget(caller.workspace)
    return UsageOut(
        usage=[UsedOut.of(used) for used in found],
        total=TotalOut(
            calls=sum(used.calls for used in found),
            prompt_tokens=sum(used.prompt_tokens for used in found),
            completion_tokens=sum(used.completion_tokens for used in found),
        ),
        daily_tokens=limit,
        used_today=today,
    )


@router.get("/v1/workspaces/{workspace}")
def workspace(cases: Cases, caller: AdminCaller, workspace: str) -> ExtractionOut:
    """How the workspace wants facts to be extracted."""
    return _out(_own(caller.workspace, workspace), cases.gatekeeper.extraction(workspace))


@router.patch("/v1/workspaces/{workspace}")
def change(cases: Cases, caller: AdminCaller, workspace: str, body: ExtractionIn) -> ExtractionOut:
    """Change the guidelines, the kinds of facts, or the tokens a day; what is extracted from now on follows them."""
    given = body.model_dump(include=body.model_fields_set)
    return _out(_own(caller.workspace, workspace), cases.gatekeeper.change_extraction(workspace, given))


def _own(own: str, asked: str) -> str:
    if asked != own:
        raise WorkspaceNotFound(asked)
    return own


def _out(workspace: str, wanted: Extraction) -> ExtractionOut:
    return ExtractionOut(
        workspace=workspace, guidelines=wanted.guidelines, kinds=wanted.kinds, daily_tokens=wanted.daily_tokens
    )
