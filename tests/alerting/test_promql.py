"""The default rules for Prometheus: made from ours, and sound by promtool's word."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from gpufleet.alerting.rules.defaults import default_rules
from gpufleet.alerting.rules.promql import prometheus_rules
from gpufleet.hub.alert_names import alert_schema

FILE = Path(__file__).resolve().parents[2] / "dashboards" / "prometheus-rules.yml"
GPU = 'node="a",gpu="0",gpu_uuid="GPU-a",gpu_name="H100"'
LABELS = {"node": "a", "gpu": "0", "gpu_uuid": "GPU-a", "gpu_name": "H100"}

promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (prometheus)")


def test_the_file_is_made_of_the_default_rules() -> None:
    made = prometheus_rules(default_rules(alert_schema()), alert_schema())
    assert FILE.read_text(encoding="utf-8") == made, "run scripts/prometheus-rules"


def test_what_is_left_out_is_named() -> None:
    text = FILE.read_text(encoding="utf-8")
    there = {rule["alert"] for g in yaml.safe_load(text)["groups"] for rule in g["rules"]}
    for rule in default_rules(alert_schema()).rules:
        assert rule.name in there or f"#   {rule.name}: " in text
    assert "GpufleetHubDown" in there


@promtool
def test_promtool_finds_the_file_sound() -> None:
    run = subprocess.run(
        ["promtool", "check", "rules", str(FILE)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


@promtool
def test_promtool_fires_what_ours_fire(tmp_path: Path) -> None:
    series = {
        f"gpufleet_gpu_temperature_celsius{{{GPU}}}": "85x20",
        f'gpufleet_gpu_fault{{{GPU},state="lost"}}': "1x20",
        'gpufleet_node_up{node="b"}': "0x20",
        f'gpufleet_gpu_xid_last_seen_timestamp_seconds{{{GPU},code="79"}}': "1x20",
        'up{job="gpufleet",instance="hub"}': "0x20",
    }
    wanted = (
        ("GpuHot", "4m", None),
        ("GpuHot", "6m", {**LABELS, "severity": "warning"}),
        ("GpuLost", "1m", {**LABELS, "state": "lost", "severity": "critical"}),
        ("AgentDown", "2m", {"node": "b", "severity": "critical"}),
        ("GpuXidCritical", "1m", {**LABELS, "severity": "critical"}),
        ("GpufleetHubDown", "3m", {"job": "gpufleet", "instance": "hub", "severity": "critical"}),
    )
    rules = {
        rule["alert"]: rule
        for group in yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    }
    tests = []
    for name, at, labels in wanted:
        expected = []
        if labels is not None:
            state = {"alertname": name, "alertstate": "firing", **labels}
            pairs = ",".join(f'{key}="{value}"' for key, value in state.items())
            expected = [{"labels": f"ALERTS{{{pairs}}}", "value": 1}]
        assert name in rules
        expr = f'ALERTS{{alertname="{name}",alertstate="firing"}}'
        tests.append({"expr": expr, "eval_time": at, "exp_samples": expected})
    document = {
        "rule_files": [str(FILE)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": s, "values": v} for s, v in series.items()],
                "promql_expr_test": tests,
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(document))
    run = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
