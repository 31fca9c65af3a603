"""Time on the wire: instants, events, windows and plans."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from memsvc.intervals import Expression, Mode, On, Precision, Window
from memsvc.plans import Plan


def rfc3339(value: datetime) -> str:
    """An instant with its zone; `Z` for UTC."""
    return value.isoformat().removesuffix("+00:00") + ("Z" if value.utcoffset() == UTC.utcoffset(None) else "")


Moment = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]


class EventOut(BaseModel):
    """A time, half-open and as exact as `precision` says: dates for days and more, else date-times; null is open."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: str | None = Field(serialization_alias="from")
    to: str | None
    precision: Precision

    @classmethod
    def between(cls, start: datetime | None, end: datetime | None, precision: Precision) -> "EventOut":
        """From its ends."""
        return cls(**_event_fields(start, end, precision))


class TimeOut(EventOut):
    """An expression of time in a turn's text: its words, the offsets they stand at, and the time they name."""

    text: str
    start: int
    end: int
    relative: bool

    @classmethod
    def of(cls, expression: Expression) -> "TimeOut":
        """From the value."""
        start, end = expression.span
        words = {"text": expression.text, "start": start, "end": end, "relative": expression.is_relative}
        return cls(**words, **_event_fields(expression.start, expression.end, expression.precision))


class WindowOut(BaseModel):
    """The interval that was used."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: Moment | None = Field(serialization_alias="from")
    to: Moment | None
    precision: Precision
    source: Literal["caller", "query", "llm"]
    mode: Mode
    on: On
    text: str | None

    @classmethod
    def of(cls, window: Window) -> "WindowOut":
        """From the value."""
        return cls(
            from_=window.start,
            to=window.end,
            precision=window.precision,
            source=window.source,
            mode=window.mode,
            on=window.on,
            text=window.text,
        )


class PlanOut(BaseModel):
    """What the query's words ask of order and place in time, by the rules that were applied; null is not asked for.

    `sessions` are the first and last ordinal, negative ones from the end; `weekdays` count from Monday, 0; `minutes` of
    the day; `count` is the number of conversations, where that is asked for.
    """

    sessions: tuple[int, int] | None
    weekdays: list[int]
    minutes: tuple[int, int] | None
    window: WindowOut | None
    role: str | None
    speaker: str | None
    after: str | None
    before: str | None
    alternatives: list[str]
    picks: Literal["first", "last"] | None
    about: str
    count: int | None

    @classmethod
    def of(cls, plan: Plan, count: int | None) -> "PlanOut":
        """From the value."""
        return cls(
            sessions=plan.sessions,
            weekdays=sorted(plan.weekdays),
            minutes=plan.minutes,
            window=plan.window and WindowOut.of(plan.window),
            role=plan.role,
            speaker=plan.speaker,
            after=plan.after,
            before=plan.before,
            alternatives=list(plan.alternatives),
            picks=plan.picks,
            about=plan.about,
            count=count,
        )


def _event_fields(start: datetime | None, end: datetime | None, precision: Precision) -> dict[str, Any]:
    """Days and longer units are told by dates, as long as they begin and end at midnight."""
    are_dates = all(at is None or (at.hour, at.minute, at.second) == (0, 0, 0) for at in (start, end))
    told = [at and (at.date().isoformat() if are_dates else rfc3339(at)) for at in (start, end)]
    return {"from_": told[0], "to": told[1], "precision": precision}
