"""Who held which GPU in each hour."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "process_usage",
        sa.Column("subject_id", sa.BigInteger, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("node_id", sa.BigInteger, nullable=False),
        sa.Column("run", sa.BigInteger, nullable=False),
        sa.Column("user_name", sa.String(256), nullable=False),
        sa.Column("job", sa.String(256), nullable=False),
        sa.Column("held_seconds", sa.Double, nullable=False),
        sa.Column("measured_seconds", sa.Double, nullable=False),
        sa.Column("used_seconds", sa.Double, nullable=True),
        sa.Column("energy_joules", sa.Double, nullable=True),
        sa.Column("memory_bytes", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint(
            "subject_id", "start", "node_id", "run", "user_name", "job", name="process_usage_pkey"
        ),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("process_usage")
