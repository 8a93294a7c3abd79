"""Mail: the outbox, group episodes, flapping alerts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "email_groups",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("recipients", sa.JSON, nullable=False),
        sa.Column("opened_ms", sa.BigInteger, nullable=False),
        sa.Column("closed_ms", sa.BigInteger, nullable=True),
        sa.Column("document", sa.JSON, nullable=False),
    )
    op.create_index(
        "email_groups_open",
        "email_groups",
        ["id"],
        sqlite_where=sa.text("closed_ms IS NULL"),
        postgresql_where=sa.text("closed_ms IS NULL"),
    )
    op.create_table(
        "email_flaps",
        sa.Column("alertname", sa.String(64), nullable=False),
        sa.Column("subject_key", sa.String(256), nullable=False),
        sa.Column("last_ms", sa.BigInteger, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("alertname", "subject_key", name="email_flaps_pkey"),
    )
    op.create_table(
        "email_outbox",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("episode_id", sa.String(32), nullable=False),
        sa.Column("recipient", sa.String(320), nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("message_id", sa.String(128), nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("message", sa.LargeBinary, nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("first_ms", sa.BigInteger, nullable=False),
        sa.Column("next_ms", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("claim", sa.String(32), nullable=False),
        sa.Column("deferred_ms", sa.BigInteger, nullable=True),
        sa.Column("settled_ms", sa.BigInteger, nullable=True),
        sa.Column("error", sa.Text, nullable=False),
    )
    op.create_index("email_outbox_due", "email_outbox", ["state", "next_ms"])
    op.create_index("email_outbox_recipient", "email_outbox", ["recipient", "created_ms"])
    op.create_index("email_outbox_episode", "email_outbox", ["episode_id"])


def downgrade() -> None:
    for name in ("email_outbox", "email_flaps", "email_groups"):
        op.drop_table(name)
