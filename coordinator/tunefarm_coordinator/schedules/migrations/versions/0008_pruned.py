"""What pruned records counted, and which they were."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Adds the tables."""
    op.create_table(
        "pruned_scopes",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("workload", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=False),
        sa.Column("device_fingerprint", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("ending", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False, server_default=""),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["target_id"], ["targets.target_id"], name="fk_pruned_scopes_target_id_targets"),
        sa.PrimaryKeyConstraint("number", name="pk_pruned_scopes"),
    )
    op.create_index("ix_pruned_scopes_workload_target_id", "pruned_scopes", ["workload", "target_id"])
    op.create_table(
        "pruned",
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("scope", sa.Integer(), nullable=True),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("record", name="pk_pruned"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    raise NotImplementedError("a store is not downgraded: put a backup in its place")
