"""Nodes, subjects, samples and events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "meta",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "nodes",
        sa.Column("id", _id, primary_key=True),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("machine_id", sa.String(256), nullable=False),
        sa.Column("boot_id", sa.String(256), nullable=False),
        sa.Column("agent_version", sa.String(64), nullable=False),
        sa.Column("method", sa.String(32), nullable=False),
        sa.Column("interval_ms", sa.Integer, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("first_seen_ms", sa.BigInteger, nullable=False),
        sa.Column("last_seen_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("name", name="nodes_name_key"),
    )
    op.create_table(
        "subjects",
        sa.Column("id", _id, primary_key=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("key", sa.String(256), nullable=False),
        sa.Column("node_id", sa.BigInteger, nullable=False),
        sa.Column("parent_id", sa.BigInteger, nullable=True),
        sa.Column("subject_index", sa.BigInteger, nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("first_seen_ms", sa.BigInteger, nullable=False),
        sa.Column("last_seen_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("kind", "key", name="subjects_kind_key_key"),
    )
    op.create_index("subjects_node_id", "subjects", ["node_id"])
    op.create_table(
        "samples",
        sa.Column("subject_id", sa.BigInteger, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("span_ms", sa.Integer, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("subject_id", "start", name="samples_pkey"),
    )
    op.create_index(
        "samples_to_merge",
        "samples",
        ["start", "subject_id"],
        sqlite_where=sa.text("span_ms = 60000"),
        postgresql_where=sa.text("span_ms = 60000"),
    )
    op.create_table(
        "events",
        sa.Column("subject_id", sa.BigInteger, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        sa.Column("node_id", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("code", sa.BigInteger, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint(
            "subject_id", "time_ms", "node_id", "epoch", "seq", "ordinal", name="events_pkey"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("events_time", "events", ["time_ms"])
    op.create_index("events_node_time", "events", ["node_id", "time_ms"])
    op.create_table(
        "health_histories",
        sa.Column("subject_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("document", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    for table in ("health_histories", "events", "samples", "subjects", "nodes", "meta"):
        op.drop_table(table)
