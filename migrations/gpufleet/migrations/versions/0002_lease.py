"""The lease by which one of several hubs writes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lease",
        sa.Column("name", sa.String(16), nullable=False, server_default="hub"),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("renewals", sa.BigInteger, nullable=False),
        sa.Column("renewed_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", "epoch", name="lease_pkey"),
    )
    op.execute(
        "INSERT INTO lease (name, epoch, holder, renewals, renewed_ms) VALUES ('hub', 0, '', 0, 0)"
    )


def downgrade() -> None:
    op.drop_table("lease")
