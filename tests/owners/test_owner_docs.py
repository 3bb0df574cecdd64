"""The queries of docs/owners.md give the documented results, on a node with one full and one partitioned GPU."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "owners.md").read_text(encoding="utf-8")
QUERIES = [part.strip() for part in PAGE.split("```promql\n", 1)[1].split("```", 1)[0].split("\n\n")]

GPUS = {"0": "GPU-a", "1": "GPU-b", "1:0": "MIG-x", "1:1": "MIG-y"}
SERIES = [
    *(("gpu_readable", gpu, "", "1x10") for gpu in GPUS),
    ("gpu_mig_mode", "0", "", "0x10"),
    ("gpu_mig_mode", "1", "", "1x10"),
    ("gpu_mig_slice_ratio", "1:0", "", "0.25x10"),
    ("gpu_mig_slice_ratio", "1:1", "", "0.75x10"),
    ("gpu_owner_share_ratio", "0", 'owner_user="ann",owner_namespace="a"', "0.5x10"),
    ("gpu_owner_share_ratio", "0", 'owner_user="bob",owner_namespace="b"', "0.5x10"),
    (
        "gpu_owner_share_ratio",
        "1",
        'owner_user="ann",owner_namespace="a"',
        "1x10",
    ),  # the remainder beside the slices: nothing
    ("gpu_owner_share_ratio", "1:0", 'owner_user="ann",owner_namespace="a"', "1x10"),
    ("gpu_owner_share_ratio", "1:1", 'owner_user="bob",owner_namespace="b"', "1x10"),
    ("gpu_utilization_seconds_total", "0", "", "0+30x10"),
    ("gpu_utilization_seconds_total", "1:0", "", "0+60x10"),
]
EXPECTED = {
    "owner_namespace": {"a": 0.5 * 0.5 + 1.0, "b": 0.5 * 0.5},
    "owner_user": {"ann": 0.5 + 0.25, "bob": 0.5 + 0.75},
}


def series(name: str, gpu: str, labels: str, values: str) -> dict[str, str]:
    labels_text = f'epochcost_machine="n-1",gpu="{gpu}",uuid="{GPUS[gpu]}"' + (f",{labels}" if labels else "")
    return {"series": f"epochcost_{name}{{{labels_text}}}", "values": values}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.splitlines()[0])
def test_a_query_of_the_page_gives_the_documented_result(tmp_path: Path, query: str) -> None:
    label = query.partition("sum by (")[2].partition(")")[0]
    samples = [{"labels": f'{{{label}="{of}"}}', "value": value} for of, value in EXPECTED[label].items()]
    rule_test: dict[str, Any] = {
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [series(*row) for row in SERIES],
                "promql_expr_test": [{"expr": query, "eval_time": "10m", "exp_samples": samples}],
            }
        ],
    }
    (tmp_path / "story.yml").write_text(yaml.safe_dump(rule_test), encoding="utf-8")
    completed = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "story.yml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_the_page_has_its_queries() -> None:
    assert len(QUERIES) == len(EXPECTED)
