"""The systemd units: hardened, and consistent with the programs' flags."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml
from tests.deploy.conftest import ROOT

SYSTEMD = ROOT / "deploy" / "systemd"
UNITS = ["epochcost-agent.service", "epochcost-prices.service"]


@pytest.mark.parametrize("unit", UNITS)
def test_its_exposure_is_at_most_two_of_ten(unit: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(SYSTEMD / unit)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    (level,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", completed.stdout + completed.stderr)
    assert float(level) <= 2.0


@pytest.mark.parametrize("unit", UNITS)
def test_its_user_is_created_and_its_settings_are_the_packages(unit: str) -> None:
    text = (SYSTEMD / unit).read_text()
    (user,) = re.findall(r"^User=(\S+)", text, re.MULTILINE)
    assert re.search(rf"^u\s+{user}\s", (SYSTEMD / "epochcost.sysusers").read_text(), re.MULTILINE)
    assert "--config.file=/etc/epochcost/epochcost.yml" in text


def test_the_events_directory_is_made_at_each_boot_for_every_user_and_is_the_one_that_the_agent_reads() -> None:
    kind, path, mode, *_ = (SYSTEMD / "epochcost.tmpfiles").read_text().splitlines()[-1].split()
    assert (kind, mode) == ("d", "1777")
    assert yaml.safe_load((SYSTEMD / "epochcost.yml").read_text())["agent"]["events.dir"] == path
