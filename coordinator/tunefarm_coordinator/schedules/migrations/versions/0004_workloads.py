"""Workloads with their IR."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Creates the table. Workloads of before are added when a job meets them again."""
    op.create_table(
        "workloads",
        sa.Column("workload", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("flops", sa.Double(), nullable=False),
        sa.Column("module", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("shapes", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("workload", name="pk_workloads"),
    )
    op.create_index("ix_workloads_kind", "workloads", ["kind"])


def downgrade() -> None:
    raise NotImplementedError("a store is not downgraded: put a backup in its place")
