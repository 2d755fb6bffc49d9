"""The alerts, by Prometheus itself: each fires on series that it is for, and none on those of a good day."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.k8s.conftest import K8S

CASES = Path(__file__).parent / "alerts.yml"
RULES = K8S / "components" / "service-monitor" / "rules.yaml"


def test_every_alert_fires_and_keeps_still(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on this machine: apt-get install prometheus")
    groups = yaml.safe_load(RULES.read_text())["spec"]["groups"]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
    cases = yaml.safe_load(CASES.read_text())
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(cases | {"rule_files": ["rules.yml"]}))
    done = subprocess.run(
        [promtool, "test", "rules", "cases.yml"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    checked = [case for test in cases["tests"] for case in test["alert_rule_test"]]
    fire = {case["alertname"] for case in checked if case.get("exp_alerts")}
    still = {case["alertname"] for case in checked if not case.get("exp_alerts")}
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    assert fire == still == alerts
