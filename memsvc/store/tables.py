"""The schema: portable types, named constraints, every row owned by a workspace and a user."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UTCDateTime(TypeDecorator[datetime]):
    """An aware instant, kept in UTC. Naive values are refused; SQLite, which keeps no zone, gets it back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """To UTC; raises ValueError for a naive value."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"a naive time cannot be stored: {value!r}")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Aware, in UTC."""
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


Json = JSON().with_variant(JSONB(), "postgresql")

workspaces = Table(
    "workspaces",
    metadata,
    Column("workspace", Text, primary_key=True),
    Column("time_zone", Text),
    Column("created_at", UTCDateTime, nullable=False),
    Column("daily_tokens", BigInteger, comment="of language models; none is no limit of its own"),
    Column("guidelines", Text, nullable=False, server_default=""),
    Column("kinds", Json, comment="kinds of facts beside the usual ones, each with a sentence about it"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("prefix", Text, primary_key=True),
    Column("workspace", Text, ForeignKey("workspaces.workspace", ondelete="CASCADE"), nullable=False, index=True),
    Column("secret_hash", Text, nullable=False),
    Column("scopes", Json, nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("revoked_at", UTCDateTime),
)

users = Table(
    "users",
    metadata,
    Column("workspace", Text, ForeignKey("workspaces.workspace", ondelete="CASCADE"), nullable=False),
    Column("user_id", Text, nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("time_zone", Text),
    Column("week_start", Integer, nullable=False, server_default="0"),
    Column("language", Text, nullable=False, server_default="en"),
    Column("ledger", Integer, nullable=False, server_default="0", comment="how often the user's facts were written"),
    PrimaryKeyConstraint("workspace", "user_id"),
)


def _owned(*more: Any) -> list[Any]:
    """The columns and constraint that name a row's owner."""
    return [
        Column("workspace", Text, nullable=False),
        Column("user_id", Text, nullable=False),
        ForeignKeyConstraint(["workspace", "user_id"], ["users.workspace", "users.user_id"], ondelete="CASCADE"),
        *more,
    ]


sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    *_owned(
        Column("session_id", Text, nullable=False),
        Column("started_at", UTCDateTime, nullable=False),
        Column("started_offset", Integer, nullable=False, comment="minutes east of UTC, as the caller gave it"),
        Column("recorded_at", UTCDateTime, nullable=False),
        Column("turn_count", Integer, nullable=False),
        Column("round_count", Integer, nullable=False),
        Column("metadata", Json, nullable=False),
    ),
    UniqueConstraint("workspace", "user_id", "session_id"),
    Index(None, "workspace", "user_id", "started_at"),
)

rounds = Table(
    "rounds",
    metadata,
    Column("id", Uuid, primary_key=True),
    *_owned(
        Column("session_row", Uuid, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
        Column("first_position", Integer, nullable=False),
        Column("revision", Integer, nullable=False, comment="how many turns it has"),
        Column("said_at", UTCDateTime, nullable=False),
        Column("recorded_at", UTCDateTime, nullable=False),
        Column("indexed_at", UTCDateTime),
        Column("key_count", Integer, nullable=False, default=0),
        Column("terms", LargeBinary, comment="each turn's distinct token ids, 4 bytes each, one turn after the other"),
        Column("drawn", Integer, nullable=False, server_default="0", comment="how many of its turns were extracted"),
        Column("drawn_by", Text, comment="by the model or by the rules"),
    ),
    UniqueConstraint("session_row", "first_position"),
    Index(None, "workspace", "user_id"),
    Index("ix_rounds_unindexed", "workspace", "user_id", "session_row", sqlite_where=text("indexed_at IS NULL"),
          postgresql_where=text("indexed_at IS NULL")),
)  # fmt: skip

turns = Table(
    "turns",
    metadata,
    Column("id", Uuid, primary_key=True),
    *_owned(
        Column("session_row", Uuid, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
        Column("round_row", Uuid, ForeignKey("rounds.id", ondelete="CASCADE"), nullable=False, index=True),
        Column("position", Integer, nullable=False),
        Column("turn_id", Text, nullable=False),
        Column("role", Text, nullable=False),
        Column("speaker", Text, nullable=False),
        Column("text", Text, nullable=False),
        Column("captions", Json, nullable=False),
        Column("said_at", UTCDateTime, nullable=False),
        Column("said_offset", Integer, nullable=False, comment="minutes east of UTC, as the caller gave it"),
        Column("recorded_at", UTCDateTime, nullable=False),
        Column(
            "said_weekday", Integer,
            comment="of saying, on the user's wall clock, from Monday, 0; known once it is indexed",
        ),
        Column("said_minute", Integer, comment="of the day of saying, on the user's wall clock"),
    ),
    UniqueConstraint("session_row", "position"),
    UniqueConstraint("session_row", "turn_id"),
    CheckConstraint("role IN ('user', 'assistant', 'system', 'tool')", name="role"),
    Index(None, "workspace", "user_id", "said_at"),
    Index(None, "workspace", "user_id", "round_row"),
)  # fmt: skip

turn_times = Table(
    "turn_times",
    metadata,
    Column("id", Uuid, primary_key=True),
    *_owned(
        Column("session_row", Uuid, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False, index=True),
        Column("round_row", Uuid, ForeignKey("rounds.id", ondelete="CASCADE"), nullable=False, index=True),
        Column("turn_row", Uuid, ForeignKey("turns.id", ondelete="CASCADE"), nullable=False, index=True),
        Column("first", Integer, nullable=False),
        Column("last", Integer, nullable=False, comment="the offset behind the last character"),
        Column("event_from", UTCDateTime),
        Column("event_to", UTCDateTime),
        Column("from_offset", Integer, nullable=False, comment="seconds east of UTC"),
        Column("to_offset", Integer, nullable=False, comment="seconds east of UTC"),
        Column("precision", Text, nullable=False),
        Column("is_relative", Boolean, nullable=False),
        Column("sorts_at", UTCDateTime, nullable=False, comment="where it stands on a timeline"),
    ),
    Index(None, "workspace", "user_id", "sorts_at"),
)

facts = Table(
    "facts",
    metadata,
    Column("id", Uuid, primary_key=True),
    *_owned(
        Column("session_row", Uuid, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False, index=True),
        Column("round_row", Uuid, ForeignKey("rounds.id", ondelete="CASCADE"), nullable=False, index=True),
        Column("turn_id", Text, nullable=False),
        Column("position", Integer, nullable=False, comment="of its turn in the session"),
        Column("text", Text, nullable=False),
        Column("plain", Text, nullable=False, comment="its words alone: equal for what says the same"),
        Column("kind", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("subject_key", Text, nullable=False, comment="the subject, whatever its case"),
        Column("speaker", Text, nullable=False),
        Column("slot", Text),
        Column("value", Text),
        Column("quote", Text, nullable=False),
        Column("first", Integer, nullable=False, comment="the offset of the quote in what its turn says"),
        Column("last", Integer, nullable=False, comment="the offset behind the quote"),
        Column("said_at", UTCDateTime, nullable=False),
        Column("when_said", Text, comment="the words that tell its time"),
        Column("event_from", UTCDateTime),
        Column("event_to", UTCDateTime),
        Column("from_offset", Integer, nullable=False, comment="seconds east of UTC"),
        Column("to_offset", Integer, nullable=False, comment="seconds east of UTC"),
        Column("event_precision", Text),
        Column("reading", Text, comment="who read its time: the rules or the model"),
        Column("told_at", UTCDateTime, nullable=False, comment="when it became valid, by its own words"),
        Column("ends_at", UTCDateTime, comment="when it ended, where somebody has told that"),
        Column("valid_at", UTCDateTime, nullable=False),
        Column("invalid_at", UTCDateTime),
        Column("recorded_at", UTCDateTime, nullable=False),
        Column("expired_at", UTCDateTime),
        Column("superseded_by", Uuid),
        Column("merged_into", Uuid, index=True),
        Column("confidence", Float),
        Column("source", Text, nullable=False),
        Column("trust", Text, nullable=False),
        Column("extractor", Text, nullable=False),
        Column("vector", LargeBinary, comment="its sentence vector in float16, to compare statements by"),
        Column("indexed_at", UTCDateTime),
        Column("gone_at", UTCDateTime, comment="when it was forgotten or replaced; its words are gone too"),
    ),
    CheckConstraint("source IN ('llm', 'rules', 'api')", name="source"),
    CheckConstraint("trust IN ('user', 'assistant', 'tool')", name="trust"),
    Index(None, "workspace", "user_id", "valid_at"),
    Index(None, "workspace", "user_id", "subject_key"),
    Index("ix_facts_unindexed", "session_row", sqlite_where=text("indexed_at IS NULL"),
          postgresql_where=text("indexed_at IS NULL")),
)  # fmt: skip

fact_bonds = Table(
    "fact_bonds",
    metadata,
    Column("id", Uuid, primary_key=True),
    *_owned(
        Column("one", Uuid, ForeignKey("facts.id", ondelete="CASCADE"), nullable=False, index=True),
        Column("other", Uuid, ForeignKey("facts.id", ondelete="CASCADE"), nullable=False, index=True),
        Column("bond", Text, nullable=False),
        Column("decided_by", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("recorded_at", UTCDateTime, nullable=False),
        Column("undone_at", UTCDateTime),
    ),
    CheckConstraint("bond IN ('same', 'excludes', 'corrects')", name="bond"),
    Index(None, "workspace", "user_id"),
)

fact_changes = Table(
    "fact_changes",
    metadata,
    Column("id", Uuid, primary_key=True),
    *_owned(
        Column("fact_id", Uuid, ForeignKey("facts.id", ondelete="CASCADE"), nullable=False, index=True),
        Column("at", UTCDateTime, nullable=False),
        Column("until", UTCDateTime, comment="when it was next changed: what stands here was believed until then"),
        Column("valid_at", UTCDateTime, nullable=False),
        Column("invalid_at", UTCDateTime),
        Column("superseded_by", Uuid),
        Column("merged_into", Uuid),
        Column("reason", Text, nullable=False),
        Column("decided_by", Text, nullable=False),
    ),
    Index(None, "workspace", "user_id", "at"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Uuid, primary_key=True),
    *_owned(
        Column("session_row", Uuid, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False, index=True),
        Column("turn_id", Text),
        Column("fact_id", Uuid, comment="none for what was rejected"),
        Column("text", Text, nullable=False),
        Column("kind", Text),
        Column("action", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("decided_by", Text, nullable=False),
        Column("others", Json, nullable=False, comment="the facts that it was merged into, or that it ended"),
        Column("decided_at", UTCDateTime, nullable=False),
        Column("position", Integer, nullable=False),
    ),
    CheckConstraint("action IN ('add', 'merge', 'update', 'invalidate', 'none', 'reject')", name="action"),
    Index(None, "workspace", "user_id"),
)

usage = Table(
    "usage",
    metadata,
    Column("workspace", Text, ForeignKey("workspaces.workspace", ondelete="CASCADE"), nullable=False),
    Column("day", Text, nullable=False, comment="of UTC, like 2024-03-01"),
    Column("operation", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("estimated_calls", BigInteger, nullable=False, comment="calls whose tokens were counted here"),
    Column("cached_calls", BigInteger, nullable=False, comment="asks that the cache answered"),
    PrimaryKeyConstraint("workspace", "day", "operation", "model"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("workspace", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("subject", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", UTCDateTime, nullable=False),
    Column("lease", Uuid),
    Column("owed_at", UTCDateTime, nullable=False),
    Column("failed_at", UTCDateTime),
    Column("error", Text),
    Index(None, "subject"),
    CheckConstraint("kind IN ('index', 'extract')", name="kind"),
    Index("ix_outbox_due", "due_at", sqlite_where=text("failed_at IS NULL"),
          postgresql_where=text("failed_at IS NULL")),
    Index(None, "workspace", "failed_at"),
)  # fmt: skip

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    *_owned(
        Column("key", Text, nullable=False),
        Column("fingerprint", Text, nullable=False),
        Column("answer", Json, nullable=False),
        Column("created_at", UTCDateTime, nullable=False, index=True),
    ),
    PrimaryKeyConstraint("workspace", "user_id", "key"),
)

live_index = Table(
    "live_index",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("encoder", Text, nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("token_dimension", Integer, nullable=False, server_default="0"),
    Column("form", Integer, nullable=False, server_default="1"),
    Column("variant", Text, nullable=False, server_default=""),
    Column("swapped_at", UTCDateTime, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
