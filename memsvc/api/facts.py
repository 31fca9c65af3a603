"""Facts on the wire."""

from dataclasses import replace
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response

from memsvc.api.cursors import cursor_of, row_place_of
from memsvc.api.deps import Cases, ReadingCaller, ReadingOwner, WritingCaller, WritingOwner
from memsvc.api.fact_schemas import FactChangeIn, FactIn, FactOut, FactsOut, FactWithHistoryOut, ForgottenOut
from memsvc.api.schemas import Instant, in_zone
from memsvc.errors import FactNotFound, Invalid
from memsvc.facts import Fact
from memsvc.intervals import AsOf

router = APIRouter(prefix="/v1/users/{user_id}/facts", tags=["facts"])

_Name = Annotated[str | None, Query(max_length=255, pattern="^[^\\x00]*$")]


@router.get("")
def facts(
    cases: Cases,
    owner: ReadingOwner,
    caller: ReadingCaller,
    kind: _Name = None,
    speaker: _Name = None,
    valid_at: Instant | None = None,
    recorded_at: Instant | None = None,
    from_: Annotated[Instant | None, Query(alias="from")] = None,
    to: Instant | None = None,
    include: Literal["superseded"] | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
) -> FactsOut:
    """The facts that hold at `valid_at`, as far as they were on record at `recorded_at`; both are now if not given."""
    zone = caller.time_zone
    found = cases.reader.facts(
        owner,
        AsOf(in_zone(valid_at, "valid_at", zone), in_zone(recorded_at, "recorded_at", zone)),
        kind=kind,
        speaker=speaker,
        start=in_zone(from_, "from", zone),
        end=in_zone(to, "to", zone),
        superseded=include == "superseded",
        after=row_place_of(cursor),
        limit=limit + 1,
    )
    page = found[:limit]
    next_cursor = cursor_of(page[-1].valid_at, str(page[-1].fact_id)) if len(found) > limit else None
    return FactsOut(facts=[FactOut.of(fact) for fact in page], next_cursor=next_cursor)


@router.post("", status_code=201, responses={200: {"model": FactWithHistoryOut, "description": "It was known"}})
def tell(
    cases: Cases, owner: WritingOwner, caller: WritingCaller, body: FactIn, response: Response
) -> FactWithHistoryOut:
    """Add a fact: it may end what it excludes, or be merged into what says it too, which then comes back with 200."""
    told = cases.curator.tell(owner, body.told(cases.localizer.of(owner), caller.time_zone))
    response.status_code = 201 if told.is_new else 200
    return FactWithHistoryOut.of_record(told)


@router.get("/{fact_id}")
def fact(cases: Cases, owner: ReadingOwner, fact_id: str) -> FactWithHistoryOut:
    """A fact, where it was said, and all that was ever believed of it."""
    return FactWithHistoryOut.of_record(cases.curator.fact(owner, _row(fact_id)))


@router.patch("/{fact_id}")
def change(
    cases: Cases, owner: WritingOwner, caller: WritingCaller, fact_id: str, body: FactChangeIn
) -> FactWithHistoryOut:
    """Change what a fact says, or when it holds; its sources stay, and its history tells what it said before."""
    values = body.values(cases.localizer.of(owner), caller.time_zone)

    def changed(before: Fact) -> Fact:
        after = replace(before, **values)
        if after.invalid_at is not None and after.invalid_at < after.valid_at:
            raise Invalid("A fact cannot end before it began.", (("invalid_at", "must not be before valid_at"),))
        return after

    return FactWithHistoryOut.of_record(cases.curator.change(owner, _row(fact_id), changed))


@router.delete("/{fact_id}")
def forget(cases: Cases, owner: WritingOwner, fact_id: str) -> ForgottenOut:
    """Delete a fact for good, with what says the same; its turns stay. What it had ended holds again."""
    return ForgottenOut(fact_id=str(cases.curator.forget(owner, _row(fact_id)).fact_id))


@router.post("/{fact_id}/restore")
def restore(cases: Cases, owner: WritingOwner, fact_id: str) -> FactWithHistoryOut:
    """Undo what ended a fact, or what merged it into another."""
    return FactWithHistoryOut.of_record(cases.curator.restore(owner, _row(fact_id)))


def _row(fact_id: str) -> UUID:
    try:
        return UUID(fact_id)
    except ValueError as exc:
        raise FactNotFound(fact_id) from exc
