"""Devices that drain, and what the reference kernel usually takes on each device."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Creates both tables."""
    op.create_table(
        "drained",
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("agent_id", "device_id", name="pk_drained"),
    )
    op.create_table(
        "calibrations",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_calibrations"),
        sa.UniqueConstraint("fingerprint", "reference", name="uq_calibrations_fingerprint_reference"),
    )


def downgrade() -> None:
    raise NotImplementedError("a store is not downgraded: put a backup in its place")
