"""The default rules, shipped with the package."""

from __future__ import annotations

from importlib.resources import files

from gpufleet.alerting.rules.file import read_rules
from gpufleet.alerting.rules.rule import RuleSet
from gpufleet.alerting.rules.schema import Schema

SOURCE = "the default rules"


def default_text() -> str:
    """The file as it is shipped."""
    return files("gpufleet.alerting.rules").joinpath("defaults.yml").read_text(encoding="utf-8")


def default_rules(schema: Schema) -> RuleSet:
    """The default rules; they need the catalogue's names and ``process_count``."""
    return read_rules(default_text(), schema, SOURCE)
