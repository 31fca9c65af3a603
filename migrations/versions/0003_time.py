"""Time: how users tell it, when each turn was recorded and said on their wall clock, and the times that turns name.

Revision ID: 0003
Revises: 0002
Created: 2026-11-22

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic.
revision: str = "0003"
down_revision: str | Sequence[str] | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

WEEKDAY = "of saying, on the user's wall clock, from Monday, 0; known once it is indexed"
MINUTE = "of the day of saying, on the user's wall clock"


def upgrade() -> None:
    """Upgrade schema."""
    op.add_column("users", sa.Column("time_zone", sa.Text(), nullable=True))
    op.add_column("users", sa.Column("week_start", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("users", sa.Column("language", sa.Text(), nullable=False, server_default="en"))
    op.add_column("turns", sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("turns", sa.Column("said_weekday", sa.Integer(), nullable=True, comment=WEEKDAY))
    op.add_column("turns", sa.Column("said_minute", sa.Integer(), nullable=True, comment=MINUTE))
    # When a turn was recorded was not kept until now: a round's turns mostly came with its first.
    op.execute(
        "UPDATE turns SET recorded_at = (SELECT rounds.recorded_at FROM rounds WHERE rounds.id = turns.round_row)"
    )
    with op.batch_alter_table("turns") as batch:
        batch.alter_column("recorded_at", existing_type=sa.DateTime(timezone=True), nullable=False)
    op.create_table(
        "turn_times",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("session_row", sa.Uuid(), nullable=False),
        sa.Column("round_row", sa.Uuid(), nullable=False),
        sa.Column("turn_row", sa.Uuid(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False, comment="the offset behind the last character"),
        sa.Column("event_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("event_to", sa.DateTime(timezone=True), nullable=True),
        sa.Column("from_offset", sa.Integer(), nullable=False, comment="seconds east of UTC"),
        sa.Column("to_offset", sa.Integer(), nullable=False, comment="seconds east of UTC"),
        sa.Column("precision", sa.Text(), nullable=False),
        sa.Column("is_relative", sa.Boolean(), nullable=False),
        sa.Column("sorts_at", sa.DateTime(timezone=True), nullable=False, comment="where it stands on a timeline"),
        sa.ForeignKeyConstraint(
            ["workspace", "user_id"],
            ["users.workspace", "users.user_id"],
            name="fk_turn_times_workspace_user_id_users",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["session_row"], ["sessions.id"], name="fk_turn_times_session_row_sessions", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["round_row"], ["rounds.id"], name="fk_turn_times_round_row_rounds", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["turn_row"], ["turns.id"], name="fk_turn_times_turn_row_turns", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_turn_times"),
    )
    op.create_index("ix_turn_times_round_row", "turn_times", ["round_row"])
    op.create_index("ix_turn_times_session_row", "turn_times", ["session_row"])
    op.create_index("ix_turn_times_turn_row", "turn_times", ["turn_row"])
    op.create_index("ix_turn_times_workspace_user_id_sorts_at", "turn_times", ["workspace", "user_id", "sorts_at"])


def downgrade() -> None:
    """Downgrade schema."""
    op.drop_table("turn_times")
    with op.batch_alter_table("turns") as batch:
        batch.drop_column("said_minute")
        batch.drop_column("said_weekday")
        batch.drop_column("recorded_at")
    op.drop_column("users", "language")
    op.drop_column("users", "week_start")
    op.drop_column("users", "time_zone")
