"""The schema: what is kept in SQL, on SQLite and on PostgreSQL alike.

History tables (``samples``, ``minutes``, ``hours``, ``events``) can be partitioned and distributed
later without change: their primary keys begin with subject_id and hold the time, ids are bigint,
there are no foreign keys, triggers or further unique keys, and a subject's id never changes.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
    true,
)

from gpufleet.hub.store.rollup import BITS, NUMBERS, ROLLUPS

MINUTE_MS = 60_000
HOUR_MS = 3_600_000

metadata = MetaData()

_id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers only INTEGER keys by itself

meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
"""Facts of this database; ``instance`` is a UUID made with it."""

lease = Table(
    "lease",
    metadata,
    Column("name", String(16), nullable=False, server_default="hub"),
    Column("epoch", BigInteger, nullable=False),
    Column("holder", String(64), nullable=False),
    Column("renewals", BigInteger, nullable=False),
    Column("renewed_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("name", "epoch", name="lease_pkey"),
)
"""One row: which hub writes (lease.py)."""

nodes = Table(
    "nodes",
    metadata,
    Column("id", _id, primary_key=True),
    Column("name", String(256), nullable=False),
    Column("labels", JSON, nullable=False),
    Column("machine_id", String(256), nullable=False),
    Column("boot_id", String(256), nullable=False),
    Column("agent_version", String(64), nullable=False),
    Column("method", String(32), nullable=False),
    Column("interval_ms", Integer, nullable=False),
    Column("facts", JSON, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("last_seen_ms", BigInteger, nullable=False),
    UniqueConstraint("name", name="nodes_name_key"),
)
"""Nodes by name. (epoch, seq): everything the node recorded up to there is committed."""

subjects = Table(
    "subjects",
    metadata,
    Column("id", _id, primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("key", String(256), nullable=False),
    Column("node_id", BigInteger, nullable=False),
    Column("parent_id", BigInteger, nullable=True),
    Column("subject_index", BigInteger, nullable=False),
    Column("name", String(256), nullable=False),
    Column("facts", JSON, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("last_seen_ms", BigInteger, nullable=False),
    Column("present", Boolean, nullable=False, server_default=true()),
    UniqueConstraint("kind", "key", name="subjects_kind_key_key"),
    Index("subjects_node_id", "node_id"),
)
"""GPUs, MIG devices and nodes; a GPU that moves changes its node_id.

``present``: it is in its node's newest inventory.
"""

samples = Table(
    "samples",
    metadata,
    Column("subject_id", BigInteger, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("span_ms", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("subject_id", "start", name="samples_pkey"),
    Index(
        "samples_to_merge",
        "start",
        "subject_id",
        sqlite_where=text("span_ms = 60000"),
        postgresql_where=text("span_ms = 60000"),
    ),
)
"""Chunks (codec.py) of every tick in [start, start + span_ms): a minute's, later an hour's.

``start`` is a multiple of the span. The first minute of an hour and the hour share their key.
"""


def _rollups(name: str) -> Table:
    """Wide columns first: so PostgreSQL pads nothing."""
    return Table(
        name,
        metadata,
        Column("subject_id", BigInteger, nullable=False),
        Column("start", BigInteger, nullable=False),
        *(Column(f"{metric.name}_{part}", Double, nullable=True) for metric, part in NUMBERS),
        *(Column(f"{metric.name}_bits", BigInteger, nullable=True) for metric in BITS),
        Column("n", Integer, nullable=False),
        *(Column(f"{metric.name}_n", Integer, nullable=False) for metric in ROLLUPS),
        PrimaryKeyConstraint("subject_id", "start", name=f"{name}_pkey"),
        sqlite_with_rowid=False,
    )


minutes = _rollups("minutes")
"""What the samples of each subject and minute say (rollup.py); never written but from samples."""

hours = _rollups("hours")
"""The same of hours, from the time on when an hour's chunks are merged."""

events = Table(
    "events",
    metadata,
    Column("subject_id", BigInteger, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("node_id", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("code", BigInteger, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", JSON, nullable=False),
    PrimaryKeyConstraint(
        "subject_id", "time_ms", "node_id", "epoch", "seq", "ordinal", name="events_pkey"
    ),
    Index("events_time", "time_ms"),
    Index("events_node_time", "node_id", "time_ms"),
    sqlite_with_rowid=False,
)
"""What happened, as the node (or the hub about the node) numbered it."""

process_usage = Table(
    "process_usage",
    metadata,
    Column("subject_id", BigInteger, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("node_id", BigInteger, nullable=False),
    Column("run", BigInteger, nullable=False),
    Column("user_name", String(256), nullable=False),
    Column("job", String(256), nullable=False),
    Column("held_seconds", Double, nullable=False),
    Column("measured_seconds", Double, nullable=False),
    Column("used_seconds", Double, nullable=True),
    Column("energy_joules", Double, nullable=True),
    Column("memory_bytes", BigInteger, nullable=True),
    PrimaryKeyConstraint(
        "subject_id", "start", "node_id", "run", "user_name", "job", name="process_usage_pkey"
    ),
    sqlite_with_rowid=False,
)
"""Who held a GPU in an hour, as one run of the hub saw it: absolute values, written anew."""

health_histories = Table(
    "health_histories",
    metadata,
    Column("subject_id", BigInteger, primary_key=True, autoincrement=False),
    Column("document", JSON, nullable=False),
)
"""What health remembers of a GPU that is not simply healthy: small, and rewritten as it changes."""


alert_states = Table(
    "alert_states",
    metadata,
    Column("rule", String(64), nullable=False),
    Column("subject_id", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("fired_ms", BigInteger, nullable=False),
    Column("good_since_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("value", Double, nullable=True),
    Column("peak", Double, nullable=True),
    Column("threshold", Double, nullable=True),
    Column("count", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    PrimaryKeyConstraint("rule", "subject_id", name="alert_states_pkey"),
)
"""Where a rule stands with a subject, unless it has long been well (gpufleet.alerting.engine)."""

alert_memories = Table(
    "alert_memories",
    metadata,
    Column("subject_id", BigInteger, primary_key=True, autoincrement=False),
    Column("document", JSON, nullable=False),
)
"""What the detector of power steps remembers of a GPU (gpufleet.alerting.power)."""

incidents = Table(
    "incidents",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("alertname", String(64), nullable=False),
    Column("rule_group", String(256), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("scope", String(8), nullable=False),
    Column("state", String(16), nullable=False),
    Column("node", String(256), nullable=False),
    Column("subject_id", BigInteger, nullable=False),
    Column("subject_key", String(256), nullable=False),
    Column("gpu_index", Integer, nullable=True),
    Column("gpu_name", String(256), nullable=False),
    Column("labels", JSON, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("fired_ms", BigInteger, nullable=False),
    Column("resolved_ms", BigInteger, nullable=True),
    Column("closed_ms", BigInteger, nullable=True),
    Column("last_sample_ms", BigInteger, nullable=True),
    Column("value", Double, nullable=True),
    Column("peak", Double, nullable=True),
    Column("threshold", Double, nullable=True),
    Column("comparison", String(4), nullable=False),
    Column("metric", String(64), nullable=False),
    Column("unit", String(16), nullable=False),
    Column("summary", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("advice", Text, nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("processes", JSON, nullable=False),
    Column("users", JSON, nullable=False),
    Column("count", Integer, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=True),
    Column("last_seen_ms", BigInteger, nullable=True),
    Column("acknowledged_by", String(128), nullable=False),
    Column("acknowledged_ms", BigInteger, nullable=True),
    Column("acknowledged_comment", Text, nullable=False),
    Column("closed_by", String(128), nullable=False),
    Column("closed_comment", Text, nullable=False),
    Column("for_ms", BigInteger, nullable=False),
    Column("repeat", Boolean, nullable=False),
    Index("incidents_fired_ms", "fired_ms"),
    Index("incidents_state", "state"),
)
"""One firing of one rule for one subject, until it resolves or is closed."""

notices = Table(
    "notices",
    metadata,
    Column("id", _id, primary_key=True),
    Column("incident_id", String(32), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("noted_ms", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    Column("by", String(128), nullable=False),
    Column("value", Double, nullable=True),
    Column("handled_ms", BigInteger, nullable=True),
    UniqueConstraint("incident_id", "kind", "time_ms", name="notices_key"),
    Index(
        "notices_unhandled",
        "id",
        sqlite_where=text("handled_ms IS NULL"),
        postgresql_where=text("handled_ms IS NULL"),
    ),
)
"""What happened to incidents: their history. ``handled_ms``: mail has dealt with it."""

silences = Table(
    "silences",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("matchers", JSON, nullable=False),
    Column("starts_ms", BigInteger, nullable=False),
    Column("ends_ms", BigInteger, nullable=False),
    Column("repeat", String(8), nullable=False),
    Column("author", String(128), nullable=False),
    Column("comment", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)
"""Silences and maintenance windows: they mute mail, never states."""

email_groups = Table(
    "email_groups",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("model", String(256), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("recipients", JSON, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("closed_ms", BigInteger, nullable=True),
    Column("document", JSON, nullable=False),
    Index(
        "email_groups_open",
        "id",
        sqlite_where=text("closed_ms IS NULL"),
        postgresql_where=text("closed_ms IS NULL"),
    ),
)
"""Episodes of alerts that share a thread of mail (gpufleet.alerting.notify.episode)."""

email_flaps = Table(
    "email_flaps",
    metadata,
    Column("alertname", String(64), nullable=False),
    Column("subject_key", String(256), nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("document", JSON, nullable=False),
    PrimaryKeyConstraint("alertname", "subject_key", name="email_flaps_pkey"),
)
"""How often single alerts came and went in the last half hour."""

email_outbox = Table(
    "email_outbox",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("episode_id", String(32), nullable=False),
    Column("recipient", String(320), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("subject", Text, nullable=False),
    Column("message_id", String(128), nullable=False),
    Column("content", JSON, nullable=False),
    Column("message", LargeBinary, nullable=True),
    Column("state", String(16), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("next_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("claim", String(32), nullable=False),
    Column("deferred_ms", BigInteger, nullable=True),
    Column("settled_ms", BigInteger, nullable=True),
    Column("error", Text, nullable=False),
    Index("email_outbox_due", "state", "next_ms"),
    Index("email_outbox_recipient", "recipient", "created_ms"),
    Index("email_outbox_episode", "episode_id"),
)
"""Mails, one row a recipient (outbox.py). The message goes away when it is sent."""
