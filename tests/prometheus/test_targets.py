"""The scrape configuration: one file for a machine by itself and for docker-compose."""

from __future__ import annotations

import pytest
import yaml
from tests.prometheus.rule_files import PROMETHEUS_DIR

CONFIG = yaml.safe_load((PROMETHEUS_DIR / "prometheus.yml").read_text())
FILES = ("agents", "prices", "alertmanagers")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("folder", ["targets", "targets/compose"])
def test_each_kind_of_target_has_a_file_in_both_setups(folder: str, name: str) -> None:
    groups = yaml.safe_load((PROMETHEUS_DIR / folder / f"{name}.yml").read_text())
    hosts = {target.rpartition(":")[0] for group in groups for target in group["targets"]}
    assert hosts == ({"127.0.0.1"} if folder == "targets" else {name.rstrip("s") if name != "prices" else name})


def test_jobs_keep_the_names_that_the_alerts_look_for() -> None:
    assert [job["job_name"] for job in CONFIG["scrape_configs"]] == ["epochcost-agent", "epochcost-prices"]


def test_the_tests_of_the_rules_are_not_loaded_as_rules() -> None:
    assert CONFIG["rule_files"] == ["rules/*.yml"]


@pytest.mark.parametrize("kind", ["ec2_sd_configs", "gce_sd_configs", "kubernetes_sd_configs", "static_configs"])
def test_discovery_of_each_kind_is_there_to_uncomment(kind: str) -> None:
    text = (PROMETHEUS_DIR / "prometheus.yml").read_text()
    assert f"    # {kind}:" in text


def test_every_commented_block_is_valid_when_uncommented(tmp_path) -> None:
    text = (PROMETHEUS_DIR / "prometheus.yml").read_text()
    blocks = _commented_blocks(text)
    assert len(blocks) == 5
    for block in blocks:
        assert isinstance(yaml.safe_load(block), dict)


def _commented_blocks(text: str) -> list[str]:
    """Runs of `    # key: ...` lines, without their mark; sentences between them are left out."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("    # ") and (blocks[-1] or line.rstrip().endswith((":", "https"))) and "." not in line[:9]:
            blocks[-1].append(line.removeprefix("    # "))
        else:
            blocks.append([])
    return ["\n".join(block) for block in blocks if block]
