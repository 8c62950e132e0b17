"""Workloads that only another store vouches for."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Adds the mark. What a store holds by now is its own: nothing could be imported by a command before."""
    op.add_column("workloads", sa.Column("imported", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    raise NotImplementedError("a store is not downgraded: put a backup in its place")
