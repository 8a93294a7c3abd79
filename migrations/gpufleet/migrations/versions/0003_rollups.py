"""Minutes and hours in plain columns."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NUMBERS = (
    "utilization_ratio_avg",
    "utilization_ratio_min",
    "utilization_ratio_max",
    "sm_active_ratio_avg",
    "sm_active_ratio_min",
    "sm_active_ratio_max",
    "memory_used_bytes_avg",
    "memory_used_bytes_min",
    "memory_used_bytes_max",
    "memory_used_ratio_avg",
    "memory_used_ratio_min",
    "memory_used_ratio_max",
    "temperature_celsius_avg",
    "temperature_celsius_min",
    "temperature_celsius_max",
    "memory_temperature_celsius_avg",
    "memory_temperature_celsius_min",
    "memory_temperature_celsius_max",
    "power_watts_avg",
    "power_watts_min",
    "power_watts_max",
    "energy_joules_total_last",
    "energy_joules_total_increase",
    "clock_sm_hertz_avg",
    "clock_sm_hertz_min",
    "clock_sm_hertz_max",
    "ecc_uncorrected_volatile_total_last",
    "ecc_uncorrected_volatile_total_increase",
    "throttle_reasons_active_seconds",
)
BITS = ("throttle_reasons_bits",)
COUNTS = (
    "utilization_ratio_n",
    "sm_active_ratio_n",
    "memory_used_bytes_n",
    "memory_used_ratio_n",
    "temperature_celsius_n",
    "memory_temperature_celsius_n",
    "power_watts_n",
    "energy_joules_total_n",
    "clock_sm_hertz_n",
    "ecc_uncorrected_volatile_total_n",
    "throttle_reasons_n",
)


def upgrade() -> None:
    for name in ("minutes", "hours"):
        op.create_table(
            name,
            sa.Column("subject_id", sa.BigInteger, nullable=False),
            sa.Column("start", sa.BigInteger, nullable=False),
            *(sa.Column(column, sa.Double, nullable=True) for column in NUMBERS),
            *(sa.Column(column, sa.BigInteger, nullable=True) for column in BITS),
            sa.Column("n", sa.Integer, nullable=False),
            *(sa.Column(column, sa.Integer, nullable=False) for column in COUNTS),
            sa.PrimaryKeyConstraint("subject_id", "start", name=f"{name}_pkey"),
            sqlite_with_rowid=False,
        )


def downgrade() -> None:
    for name in ("hours", "minutes"):
        op.drop_table(name)
