"""Who reported a fact, and facts that were taken back."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_FACTS: dict[str, list[tuple[str, sa.types.TypeEngine[Any], bool]]] = {
    "records": [
        ("record_id", sa.Text(), False),
        ("workload", sa.Text(), False),
        ("target_id", sa.Text(), False),
        ("identity", sa.Text(), False),
        ("device_fingerprint", sa.Text(), False),
        ("outcome", sa.Text(), False),
        ("median", sa.Double(), True),
        ("conditions", sa.Text(), False),
        ("project", sa.Text(), False),
        ("job_id", sa.Text(), False),
        ("task_name", sa.Text(), False),
        ("source", sa.Text(), False),
        ("created", sa.Double(), False),
    ],
    "verifications": [
        ("verification_id", sa.Text(), False),
        ("workload", sa.Text(), False),
        ("target_id", sa.Text(), False),
        ("identity", sa.Text(), False),
        ("device_fingerprint", sa.Text(), False),
        ("ok", sa.Boolean(), False),
        ("max_rel_error", sa.Double(), True),
        ("message", sa.Text(), False),
        ("job_id", sa.Text(), False),
        ("created", sa.Double(), False),
    ],
    "comparisons": [
        ("comparison_id", sa.Text(), False),
        ("workload", sa.Text(), False),
        ("target_id", sa.Text(), False),
        ("device_fingerprint", sa.Text(), False),
        ("results", sa.Text(), False),
        ("job_id", sa.Text(), False),
        ("created", sa.Double(), False),
    ],
}


def upgrade() -> None:
    """Adds the agents (of what is there by now nobody knows them) and the tables."""
    for table, columns in _FACTS.items():
        op.add_column(table, sa.Column("agent_id", sa.Text(), nullable=False, server_default=""))
        op.create_table(
            f"retracted_{table}",
            *(sa.Column(name, kind, nullable=nullable) for name, kind, nullable in columns),
            sa.Column("agent_id", sa.Text(), nullable=False),
            sa.Column("retracted", sa.Double(), nullable=False),
            sa.Column("reason", sa.Text(), nullable=False),
            sa.PrimaryKeyConstraint(columns[0][0], name=f"pk_retracted_{table}"),
        )


def downgrade() -> None:
    raise NotImplementedError("a store is not downgraded: put a backup in its place")
