"""The wire's requests, with their names and limits."""

import json
import math
import re
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
)

from memsvc.domain import Draft, Role, Unit
from memsvc.errors import Invalid
from memsvc.intervals import AsOf, Mode, On, Precision, Window

MAX_METADATA_CHARS = 16_384
_MAX_METADATA_DEPTH = 8
_NUMBER = re.compile(r"\s*[+-]?[\d_]*\.?[\d_]*\s*")
_NOT_IN_A_NAME = frozenset({"Cc", "Cs", "Zl", "Zp"})


def check_id(value: str) -> str:
    """An id: 1 to 255 printable characters."""
    if not 1 <= len(value) <= 255:
        raise ValueError("must have 1 to 255 characters")
    if not value.isprintable() or "\ufffd" in value:
        raise ValueError("must consist of printable characters")
    return value


def _check_text(value: str) -> str:
    if "\x00" in value:
        raise ValueError("contains a NUL character, which cannot be stored")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            raise ValueError("contains an unpaired surrogate, which is no character") from exc
    return value


def _check_speaker(value: str) -> str:
    if not 1 <= len(value) <= 255:
        raise ValueError("must have 1 to 255 characters")
    if not value.strip():
        raise ValueError("must not be blank")
    if any(unicodedata.category(char) in _NOT_IN_A_NAME for char in value):
        raise ValueError("must not contain control characters or line breaks")
    return value


def _check_metadata(value: dict[str, Any]) -> dict[str, Any]:
    _walk(value, depth=0)
    if len(json.dumps(value)) > MAX_METADATA_CHARS:
        raise ValueError(f"is longer than {MAX_METADATA_CHARS} characters of JSON")
    return value


def _walk(value: Any, *, depth: int) -> None:
    if depth > _MAX_METADATA_DEPTH:
        raise ValueError(f"is nested deeper than {_MAX_METADATA_DEPTH} levels")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("contains a number that is not finite")
    elif isinstance(value, int) and abs(value) > 2**63:
        raise ValueError("contains an integer of more than 64 bits")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_text(key)
            _walk(inner, depth=depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _walk(inner, depth=depth + 1)


def _only_rfc3339(value: Any) -> Any:
    # A number, also one in a string, would be read as seconds since 1970, which is not what the wire says.
    if not isinstance(value, str) or (value.strip() and _NUMBER.fullmatch(value)):
        raise ValueError("must be a string like 2023-05-08T13:56:00Z")
    return value


def _check_instant(value: datetime) -> datetime:
    try:
        value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError as exc:
        raise ValueError("is outside the years 1 to 9999") from exc
    offset = value.utcoffset()
    if offset is not None and offset.total_seconds() % 60:
        raise ValueError("has a zone offset with seconds")
    return value


Id = Annotated[str, AfterValidator(check_id), Field(json_schema_extra={"minLength": 1, "maxLength": 255})]
Speaker = Annotated[str, AfterValidator(_check_speaker), Field(json_schema_extra={"minLength": 1, "maxLength": 255})]
SpokenText = Annotated[str, AfterValidator(_check_text)]
Metadata = Annotated[dict[str, Any], AfterValidator(_check_metadata)]
Instant = Annotated[datetime, BeforeValidator(_only_rfc3339), AfterValidator(_check_instant)]


class Request(BaseModel):
    """A request body: what it does not know it refuses, so that a misspelt field is not lost."""

    model_config = ConfigDict(extra="forbid")


class ImageIn(Request):
    """An image, as its caption tells it."""

    caption: SpokenText = Field(min_length=1)


class TurnIn(Request):
    """A turn as the caller sends it."""

    role: Role
    text: SpokenText
    turn_id: Id | None = None
    speaker: Speaker | None = None
    said_at: Instant | None = None
    images: list[ImageIn] = Field(default_factory=list, max_length=100)

    def draft(self, where: str, zone: str | None) -> Draft:
        """The turn as a value; raises Invalid for one that says nothing or a time without a zone."""
        captions = tuple(image.caption for image in self.images)
        if not any(words.strip() for words in (self.text, *captions)):
            raise Invalid("A turn says nothing: give it text or an image's caption.", ((f"{where}.text", "is empty"),))
        return Draft(
            role=self.role,
            text=self.text,
            turn_id=self.turn_id,
            speaker=self.speaker,
            said_at=in_zone(self.said_at, f"{where}.said_at", zone),
            captions=captions,
        )


class TurnsIn(Request):
    """Turns to append."""

    turns: list[TurnIn] = Field(min_length=1)
    metadata: Metadata | None = None

    def drafts(self, zone: str | None) -> list[Draft]:
        """The turns as values."""
        return [turn.draft(f"turns.{position}", zone) for position, turn in enumerate(self.turns)]


class SessionIn(TurnsIn):
    """A whole session."""

    started_at: Instant | None = None

    def start(self, zone: str | None) -> datetime | None:
        """When it began, as a value."""
        return in_zone(self.started_at, "started_at", zone)


class WindowIn(Request):
    """An interval, half-open: `from` included and `to` not. Without both, the one that the query speaks of is meant.

    `boost` ranks what lies in it higher, `filter` leaves out what does not, `off` takes no notice of time. `on` is what
    a filter looks at: when a turn was said, when what it tells of happened, or either.
    """

    from_: Instant | None = Field(None, alias="from")
    to: Instant | None = None
    mode: Mode = Mode.FILTER
    on: On = On.SAID

    def window(self, zone: str | None) -> Window:
        """The interval as a value; raises Invalid when it is empty."""
        start, end = in_zone(self.from_, "window.from", zone), in_zone(self.to, "window.to", zone)
        if start is not None and end is not None and start >= end:
            raise Invalid("The window is empty: from is not before to.", (("window.to", "must be after from"),))
        # A boost fades in units of what the window is true to: a caller's, to about its own length.
        is_boost = self.mode is Mode.BOOST
        precision = Precision.of(end - start) if is_boost and start and end else Precision.SECOND
        return Window(start, end, precision, self.mode, self.on)


class AsOfIn(Request):
    """The two clocks: what was true at `valid`, as far as it was on record at `recorded`; null is now."""

    valid: Instant | None = None
    recorded: Instant | None = None

    def as_of(self, zone: str | None) -> AsOf:
        """The instants as values."""
        return AsOf(in_zone(self.valid, "as_of.valid", zone), in_zone(self.recorded, "as_of.recorded", zone))


WEEK_STARTS = {"monday": 0, "saturday": 5, "sunday": 6}


class LocaleIn(Request):
    """How a user tells time; what is left out stays as it is."""

    time_zone: str | None = Field(
        None, max_length=64, description="like Europe/Berlin; null reads each turn in its own"
    )
    week_start: Literal["monday", "sunday", "saturday"] = "monday"
    language: str = Field("en", pattern="^[a-z]{2,3}(-[A-Za-z]{2,4})?$", description="ISO 639-1, like `de`")


class RecallIn(Request):
    """A question to memory."""

    query: SpokenText = Field(min_length=1, max_length=10_000)
    asked_at: Instant | None = None
    limit: StrictInt = Field(10, ge=1, le=100)
    unit: Unit = Unit.ROUND
    token_budget: StrictInt = Field(2000, ge=0, le=100_000)
    order: Literal["time", "rank"] = "time"
    window: WindowIn | None = None
    as_of: AsOfIn | None = None
    explain: StrictBool = False


def in_zone(value: datetime | None, field: str, zone: str | None) -> datetime | None:
    """An aware time; one without a zone is read in the workspace's, or refused when it has none."""
    if value is None or value.tzinfo is not None:
        return value
    if zone is None:
        raise Invalid(
            f"{field} has no time zone: write 2023-05-08T13:56:00Z, or set the workspace's zone with "
            "`memsvc workspaces set --time-zone`.",
            ((field, "has no time zone"),),
        )
    offset = value.replace(tzinfo=ZoneInfo(zone)).utcoffset() or timedelta()
    local = value.replace(tzinfo=timezone(timedelta(minutes=offset // timedelta(minutes=1))))
    try:
        return _check_instant(local)
    except ValueError as exc:
        raise Invalid(f"{field} {exc}.", ((field, str(exc)),)) from exc
