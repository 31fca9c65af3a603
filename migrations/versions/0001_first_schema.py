"""The first schema: tenants, sessions, turns, rounds, facts and the outbox.

Revision ID: 0001
Revises:
Created: 2026-11-22

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

# revision identifiers, used by Alembic.
revision: str = "0001"
down_revision: str | Sequence[str] | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Upgrade schema."""
    op.create_table(
        "live_index",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("encoder", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("swapped_at", INSTANT, nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_live_index_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_index")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", INSTANT, nullable=False),
        sa.Column("lease", sa.Uuid(), nullable=True),
        sa.Column("owed_at", INSTANT, nullable=False),
        sa.Column("failed_at", INSTANT, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('index')", name=op.f("ck_outbox_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.create_index(
            "ix_outbox_due",
            ["due_at"],
            unique=False,
            sqlite_where=sa.text("failed_at IS NULL"),
            postgresql_where=sa.text("failed_at IS NULL"),
        )
        batch_op.create_index(batch_op.f("ix_outbox_subject"), ["subject"], unique=False)
        batch_op.create_index(batch_op.f("ix_outbox_workspace_failed_at"), ["workspace", "failed_at"], unique=False)

    op.create_table(
        "workspaces",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=True),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("workspace", name=op.f("pk_workspaces")),
    )
    op.create_table(
        "api_keys",
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("revoked_at", INSTANT, nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace"],
            ["workspaces.workspace"],
            name=op.f("fk_api_keys_workspace_workspaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("prefix", name=op.f("pk_api_keys")),
    )
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_keys_workspace"), ["workspace"], unique=False)

    op.create_table(
        "users",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace"],
            ["workspaces.workspace"],
            name=op.f("fk_users_workspace_workspaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace", "user_id", name=op.f("pk_users")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("answer", JSON, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace", "user_id"],
            ["users.workspace", "users.user_id"],
            name=op.f("fk_idempotency_keys_workspace_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace", "user_id", "key", name=op.f("pk_idempotency_keys")),
    )
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_idempotency_keys_created_at"), ["created_at"], unique=False)

    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column(
            "started_offset",
            sa.Integer(),
            nullable=False,
            comment="minutes east of UTC, as the caller gave it",
        ),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.Column("turn_count", sa.Integer(), nullable=False),
        sa.Column("round_count", sa.Integer(), nullable=False),
        sa.Column("metadata", JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace", "user_id"],
            ["users.workspace", "users.user_id"],
            name=op.f("fk_sessions_workspace_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint(
            "workspace", "user_id", "session_id", name=op.f("uq_sessions_workspace_user_id_session_id")
        ),
    )
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_sessions_workspace_user_id_started_at"),
            ["workspace", "user_id", "started_at"],
            unique=False,
        )

    op.create_table(
        "rounds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("session_row", sa.Uuid(), nullable=False),
        sa.Column("first_position", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False, comment="how many turns it has"),
        sa.Column("said_at", INSTANT, nullable=False),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.Column("indexed_at", INSTANT, nullable=True),
        sa.Column("key_count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_row"], ["sessions.id"], name=op.f("fk_rounds_session_row_sessions"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace", "user_id"],
            ["users.workspace", "users.user_id"],
            name=op.f("fk_rounds_workspace_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rounds")),
        sa.UniqueConstraint("session_row", "first_position", name=op.f("uq_rounds_session_row_first_position")),
    )
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.create_index(
            "ix_rounds_unindexed",
            ["workspace", "user_id", "session_row"],
            unique=False,
            sqlite_where=sa.text("indexed_at IS NULL"),
            postgresql_where=sa.text("indexed_at IS NULL"),
        )
        batch_op.create_index(batch_op.f("ix_rounds_workspace_user_id"), ["workspace", "user_id"], unique=False)

    op.create_table(
        "facts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
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
        sa.ForeignKeyConstraint(
            ["round_row"], ["rounds.id"], name=op.f("fk_facts_round_row_rounds"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["session_row"], ["sessions.id"], name=op.f("fk_facts_session_row_sessions"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace", "user_id"],
            ["users.workspace", "users.user_id"],
            name=op.f("fk_facts_workspace_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_facts")),
    )
    with op.batch_alter_table("facts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_facts_round_row"), ["round_row"], unique=False)
        batch_op.create_index(batch_op.f("ix_facts_session_row"), ["session_row"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_facts_workspace_user_id_valid_at"),
            ["workspace", "user_id", "valid_at"],
            unique=False,
        )

    op.create_table(
        "turns",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("session_row", sa.Uuid(), nullable=False),
        sa.Column("round_row", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("turn_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("speaker", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("captions", JSON, nullable=False),
        sa.Column("said_at", INSTANT, nullable=False),
        sa.Column("said_offset", sa.Integer(), nullable=False, comment="minutes east of UTC, as the caller gave it"),
        sa.CheckConstraint("role IN ('user', 'assistant', 'system', 'tool')", name=op.f("ck_turns_role")),
        sa.ForeignKeyConstraint(
            ["round_row"], ["rounds.id"], name=op.f("fk_turns_round_row_rounds"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["session_row"], ["sessions.id"], name=op.f("fk_turns_session_row_sessions"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace", "user_id"],
            ["users.workspace", "users.user_id"],
            name=op.f("fk_turns_workspace_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_turns")),
        sa.UniqueConstraint("session_row", "position", name=op.f("uq_turns_session_row_position")),
        sa.UniqueConstraint("session_row", "turn_id", name=op.f("uq_turns_session_row_turn_id")),
    )
    with op.batch_alter_table("turns", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_turns_round_row"), ["round_row"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_turns_workspace_user_id_round_row"), ["workspace", "user_id", "round_row"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_turns_workspace_user_id_said_at"),
            ["workspace", "user_id", "said_at"],
            unique=False,
        )


def downgrade() -> None:
    """Downgrade schema."""
    with op.batch_alter_table("turns", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_turns_workspace_user_id_said_at"))
        batch_op.drop_index(batch_op.f("ix_turns_workspace_user_id_round_row"))
        batch_op.drop_index(batch_op.f("ix_turns_round_row"))

    op.drop_table("turns")
    with op.batch_alter_table("facts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_facts_workspace_user_id_valid_at"))
        batch_op.drop_index(batch_op.f("ix_facts_session_row"))
        batch_op.drop_index(batch_op.f("ix_facts_round_row"))

    op.drop_table("facts")
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_rounds_workspace_user_id"))
        batch_op.drop_index(
            "ix_rounds_unindexed",
            sqlite_where=sa.text("indexed_at IS NULL"),
            postgresql_where=sa.text("indexed_at IS NULL"),
        )

    op.drop_table("rounds")
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sessions_workspace_user_id_started_at"))

    op.drop_table("sessions")
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_idempotency_keys_created_at"))

    op.drop_table("idempotency_keys")
    op.drop_table("users")
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_api_keys_workspace"))

    op.drop_table("api_keys")
    op.drop_table("workspaces")
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_outbox_workspace_failed_at"))
        batch_op.drop_index(batch_op.f("ix_outbox_subject"))
        batch_op.drop_index(
            "ix_outbox_due",
            sqlite_where=sa.text("failed_at IS NULL"),
            postgresql_where=sa.text("failed_at IS NULL"),
        )

    op.drop_table("outbox")
    op.drop_table("live_index")
