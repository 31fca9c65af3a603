"""Facts: statements with their sources, the bonds between them, what was believed when, decisions, and what it cost.

Revision ID: 0004
Revises: 0003
Created: 2026-11-22

"""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

# revision identifiers, used by Alembic.
revision: str = "0004"
down_revision: str | Sequence[str] | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
INSTANT = sa.DateTime(timezone=True)

# The columns that the first schema's table had.
FIRST: dict[str, sa.types.TypeEngine[Any]] = {
    **dict.fromkeys(("id", "session_row", "round_row", "superseded_by"), sa.Uuid()),
    **dict.fromkeys(
        ("workspace", "user_id", "text", "kind", "speaker", "event_precision", "source", "trust"), sa.Text()
    ),
    **dict.fromkeys(("event_from", "event_to", "valid_at", "invalid_at", "recorded_at", "expired_at"), INSTANT),
    "confidence": sa.Float(),
}
ADDED: dict[str, sa.types.TypeEngine[Any]] = {"said_at": INSTANT, "told_at": INSTANT}


def upgrade() -> None:
    """Upgrade schema."""
    op.add_column("workspaces", sa.Column("daily_tokens", sa.BigInteger(), nullable=True,
                                          comment="of language models; none is no limit of its own"))  # fmt: skip
    op.add_column("workspaces", sa.Column("guidelines", sa.Text(), nullable=False, server_default=""))
    op.add_column("workspaces", sa.Column("kinds", JSON, nullable=True,
                                          comment="kinds of facts beside the usual ones, each with a sentence about it",
                  ))  # fmt: skip
    op.add_column("users", sa.Column("ledger", sa.Integer(), nullable=False, server_default="0",
                                     comment="how often the user's facts were written"))  # fmt: skip
    op.add_column("rounds", sa.Column("drawn", sa.Integer(), nullable=False, server_default="0",
                                      comment="how many of its turns were extracted"))  # fmt: skip
    op.add_column("rounds", sa.Column("drawn_by", sa.Text(), nullable=True, comment="by the model or by the rules"))
    _replace_facts(_create_facts, _grown)
    _create_bonds()
    _create_changes()
    _create_decisions()
    _create_usage()
    with op.batch_alter_table("outbox") as batch:
        batch.drop_constraint(op.f("ck_outbox_kind"), type_="check")
        batch.create_check_constraint(op.f("ck_outbox_kind"), "kind IN ('index', 'extract')")


def downgrade() -> None:
    """Downgrade schema."""
    op.execute("DELETE FROM outbox WHERE kind = 'extract'")
    with op.batch_alter_table("outbox") as batch:
        batch.drop_constraint(op.f("ck_outbox_kind"), type_="check")
        batch.create_check_constraint(op.f("ck_outbox_kind"), "kind IN ('index')")
    for table in ("usage", "decisions", "fact_changes", "fact_bonds"):
        op.drop_table(table)
    _replace_facts(_create_first_facts, lambda row: row)
    for table, columns in (
        ("rounds", ("drawn_by", "drawn")),
        ("users", ("ledger",)),
        ("workspaces", ("kinds", "guidelines", "daily_tokens")),
    ):
        with op.batch_alter_table(table) as batch:
            for column in columns:
                batch.drop_column(column)


def _replace_facts(create: Callable[[], None], changed: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Write the table anew, with the rows it has: hardly any, since nothing has written facts before."""
    connection = op.get_bind()
    old = sa.table("facts", *(sa.column(name, kind) for name, kind in FIRST.items()))
    rows = [changed(dict(row)) for row in connection.execute(sa.select(old)).mappings()]
    op.drop_table("facts")
    create()
    if rows:
        kinds = {**dict.fromkeys(rows[0]), **FIRST, **ADDED}
        new = sa.table("facts", *(sa.column(name, kinds[name]) for name in rows[0]))
        connection.execute(new.insert(), rows)


def _grown(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the first schema had it, with what is new: where it was said was not kept."""
    new = {
        "turn_id": "",
        "position": 0,
        "plain": row["text"].casefold(),
        "subject": row["speaker"],
        "subject_key": row["speaker"].casefold(),
        "quote": "",
        "first": 0,
        "last": 0,
        "said_at": row["valid_at"],
        "from_offset": 0,
        "to_offset": 0,
        "told_at": row["valid_at"],
        "extractor": "",
    }
    return {**row, **new}


def _owned(table: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace", "user_id"],
            ["users.workspace", "users.user_id"],
            name=f"fk_{table}_workspace_user_id_users",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    ]


def _row(table: str, column: str, of: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{of}.id"], name=f"fk_{table}_{column}_{of}", ondelete="CASCADE")


def _create_facts() -> None:
    op.create_table(
        "facts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("session_row", sa.Uuid(), nullable=False),
        sa.Column("round_row", sa.Uuid(), nullable=False),
        sa.Column("turn_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, comment="of its turn in the session"),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("plain", sa.Text(), nullable=False, comment="its words alone: equal for what says the same"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("subject_key", sa.Text(), nullable=False, comment="the subject, whatever its case"),
        sa.Column("speaker", sa.Text(), nullable=False),
        sa.Column("slot", sa.Text(), nullable=True),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("quote", sa.Text(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False, comment="the offset of the quote in what its turn says"),
        sa.Column("last", sa.Integer(), nullable=False, comment="the offset behind the quote"),
        sa.Column("said_at", INSTANT, nullable=False),
        sa.Column("when_said", sa.Text(), nullable=True, comment="the words that tell its time"),
        sa.Column("event_from", INSTANT, nullable=True),
        sa.Column("event_to", INSTANT, nullable=True),
        sa.Column("from_offset", sa.Integer(), nullable=False, comment="seconds east of UTC"),
        sa.Column("to_offset", sa.Integer(), nullable=False, comment="seconds east of UTC"),
        sa.Column("event_precision", sa.Text(), nullable=True),
        sa.Column("reading", sa.Text(), nullable=True, comment="who read its time: the rules or the model"),
        sa.Column("told_at", INSTANT, nullable=False, comment="when it became valid, by its own words"),
        sa.Column("ends_at", INSTANT, nullable=True, comment="when it ended, where somebody has told that"),
        sa.Column("valid_at", INSTANT, nullable=False),
        sa.Column("invalid_at", INSTANT, nullable=True),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.Column("expired_at", INSTANT, nullable=True),
        sa.Column("superseded_by", sa.Uuid(), nullable=True),
        sa.Column("merged_into", sa.Uuid(), nullable=True),
        sa.Column("confidence", sa.Float(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("trust", sa.Text(), nullable=False),
        sa.Column("extractor", sa.Text(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=True,
                  comment="its sentence vector in float16, to compare statements by"),
        sa.Column("indexed_at", INSTANT, nullable=True),
        sa.Column("gone_at", INSTANT, nullable=True,
                  comment="when it was forgotten or replaced; its words are gone too"),
        sa.CheckConstraint("source IN ('llm', 'rules', 'api')", name=op.f("ck_facts_source")),
        sa.CheckConstraint("trust IN ('user', 'assistant', 'tool')", name=op.f("ck_facts_trust")),
        _row("facts", "session_row", "sessions"),
        _row("facts", "round_row", "rounds"),
        *_owned("facts"),
    )  # fmt: skip
    for column in ("session_row", "round_row", "merged_into"):
        op.create_index(f"ix_facts_{column}", "facts", [column])
    op.create_index("ix_facts_workspace_user_id_valid_at", "facts", ["workspace", "user_id", "valid_at"])
    op.create_index("ix_facts_workspace_user_id_subject_key", "facts", ["workspace", "user_id", "subject_key"])
    waiting = sa.text("indexed_at IS NULL")
    op.create_index("ix_facts_unindexed", "facts", ["session_row"], sqlite_where=waiting, postgresql_where=waiting)


def _create_bonds() -> None:
    op.create_table(
        "fact_bonds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("one", sa.Uuid(), nullable=False),
        sa.Column("other", sa.Uuid(), nullable=False),
        sa.Column("bond", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.Column("undone_at", INSTANT, nullable=True),
        sa.CheckConstraint("bond IN ('same', 'excludes', 'corrects')", name=op.f("ck_fact_bonds_bond")),
        _row("fact_bonds", "one", "facts"),
        _row("fact_bonds", "other", "facts"),
        *_owned("fact_bonds"),
    )
    for column in ("one", "other"):
        op.create_index(f"ix_fact_bonds_{column}", "fact_bonds", [column])
    op.create_index("ix_fact_bonds_workspace_user_id", "fact_bonds", ["workspace", "user_id"])


def _create_changes() -> None:
    op.create_table(
        "fact_changes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("fact_id", sa.Uuid(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("until", INSTANT, nullable=True,
                  comment="when it was next changed: what stands here was believed until then"),
        sa.Column("valid_at", INSTANT, nullable=False),
        sa.Column("invalid_at", INSTANT, nullable=True),
        sa.Column("superseded_by", sa.Uuid(), nullable=True),
        sa.Column("merged_into", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        _row("fact_changes", "fact_id", "facts"),
        *_owned("fact_changes"),
    )  # fmt: skip
    op.create_index("ix_fact_changes_fact_id", "fact_changes", ["fact_id"])
    op.create_index("ix_fact_changes_workspace_user_id_at", "fact_changes", ["workspace", "user_id", "at"])


def _create_decisions() -> None:
    actions = "action IN ('add', 'merge', 'update', 'invalidate', 'none', 'reject')"
    op.create_table(
        "decisions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("session_row", sa.Uuid(), nullable=False),
        sa.Column("turn_id", sa.Text(), nullable=True),
        sa.Column("fact_id", sa.Uuid(), nullable=True, comment="none for what was rejected"),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("others", JSON, nullable=False, comment="the facts that it was merged into, or that it ended"),
        sa.Column("decided_at", INSTANT, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.CheckConstraint(actions, name=op.f("ck_decisions_action")),
        _row("decisions", "session_row", "sessions"),
        *_owned("decisions"),
    )
    op.create_index("ix_decisions_session_row", "decisions", ["session_row"])
    op.create_index("ix_decisions_workspace_user_id", "decisions", ["workspace", "user_id"])


def _create_usage() -> None:
    op.create_table(
        "usage",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False, comment="of UTC, like 2024-03-01"),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("estimated_calls", sa.BigInteger(), nullable=False, comment="calls whose tokens were counted here"),
        sa.Column("cached_calls", sa.BigInteger(), nullable=False, comment="asks that the cache answered"),
        sa.ForeignKeyConstraint(
            ["workspace"], ["workspaces.workspace"], name="fk_usage_workspace_workspaces", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("workspace", "day", "operation", "model", name="pk_usage"),
    )


def _create_first_facts() -> None:
    """The table as the first schema had it."""
    op.create_table(
        "facts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("session_row", sa.Uuid(), nullable=False),
        sa.Column("round_row", sa.Uuid(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("speaker", sa.Text(), nullable=False),
        sa.Column("event_from", INSTANT, nullable=True),
        sa.Column("event_to", INSTANT, nullable=True),
        sa.Column("event_precision", sa.Text(), nullable=True),
        sa.Column("valid_at", INSTANT, nullable=False),
        sa.Column("invalid_at", INSTANT, nullable=True),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.Column("expired_at", INSTANT, nullable=True),
        sa.Column("superseded_by", sa.Uuid(), nullable=True),
        sa.Column("confidence", sa.Float(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("trust", sa.Text(), nullable=False),
        sa.CheckConstraint("source IN ('llm', 'rules', 'api')", name=op.f("ck_facts_source")),
        sa.CheckConstraint("trust IN ('user', 'assistant', 'tool')", name=op.f("ck_facts_trust")),
        _row("facts", "session_row", "sessions"),
        _row("facts", "round_row", "rounds"),
        *_owned("facts"),
    )
    for column in ("session_row", "round_row"):
        op.create_index(f"ix_facts_{column}", "facts", [column])
    op.create_index("ix_facts_workspace_user_id_valid_at", "facts", ["workspace", "user_id", "valid_at"])
