"""Token vectors: which shape the live index has, and the token ids of indexed turns, for their rarity.

Revision ID: 0002
Revises: 0001
Created: 2026-11-22

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic.
revision: str = "0002"
down_revision: str | Sequence[str] | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TERMS = "each turn's distinct token ids, 4 bytes each, one turn after the other"


def upgrade() -> None:
    """Upgrade schema."""
    op.add_column("rounds", sa.Column("terms", sa.LargeBinary(), nullable=True, comment=TERMS))
    op.add_column("live_index", sa.Column("token_dimension", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("live_index", sa.Column("form", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("live_index", sa.Column("variant", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Downgrade schema."""
    op.drop_column("live_index", "variant")
    op.drop_column("live_index", "form")
    op.drop_column("live_index", "token_dimension")
    op.drop_column("rounds", "terms")
