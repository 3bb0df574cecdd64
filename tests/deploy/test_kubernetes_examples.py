"""Training runs on Kubernetes: valid pods, metered by two lines of environment and a volume."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from tests.deploy.conftest import ROOT, Render
from tests.deploy.test_chart import container, of_kind

EXAMPLES = ROOT / "examples" / "kubernetes"
FILES = sorted(EXAMPLES.glob("*.yaml"))
CHART_PODS = ("agent.profile=owners", "agent.events.mode=pods")


def pods(document: object) -> Iterator[dict[str, Any]]:
    """Every pod specification in it, at its kind's path."""
    if isinstance(document, dict):
        if isinstance(document.get("containers"), list):
            yield document
        else:
            for value in document.values():
                yield from pods(value)
    elif isinstance(document, list):
        for value in document:
            yield from pods(value)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_its_pods_are_valid_and_training_runs_report_into_a_volume_of_the_pod(file: Path) -> None:
    document = yaml.safe_load(file.read_text())
    if document["apiVersion"] in {"v1", "batch/v1"}:
        kubernetes_validate.validate(document, "1.35", strict=True)
    specs = list(pods(document))
    for spec in specs:
        complete = {**spec, "containers": [{"image": "from-the-runtime", **c} for c in spec["containers"]]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": complete}
        kubernetes_validate.validate(pod, "1.35", strict=True)
    metered = [spec for spec in specs if any(v["name"] == "epochcost" for v in spec.get("volumes", []))]
    assert metered
    for spec in metered:
        assert all("emptyDir" in volume for volume in spec["volumes"])
        mounts = [m for c in spec["containers"] for m in c["volumeMounts"]]
        assert {"name": "epochcost", "mountPath": "/var/run/epochcost"} in mounts
    assert "EPOCHCOST_DIR" in file.read_text()


def test_the_chart_reads_each_pods_own_volume_under_the_examples_name(render: Render) -> None:
    documents = render(CHART_PODS)
    agent = container(documents, "DaemonSet")
    environment = {e["name"]: e.get("value") for e in agent["env"]}
    assert environment["EPOCHCOST_EVENTS_USER_DIRS"] == (
        "/var/lib/kubelet/pods/*/volumes/kubernetes.io~empty-dir/epochcost"
    )
    assert agent["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["DAC_OVERRIDE"]}
    mounts = {m["mountPath"]: m for m in agent["volumeMounts"]}
    assert mounts["/var/lib/kubelet/pods"]["mountPropagation"] == "HostToContainer"
    assert mounts["/var/log/pods"]["readOnly"]
    (daemon,) = of_kind(documents, "DaemonSet")
    for version in ("1.27", "1.37"):
        kubernetes_validate.validate(daemon, version, strict=True)


def test_pods_mode_without_its_rights_is_rejected(helm) -> None:  # type: ignore[no-untyped-def]
    completed: subprocess.CompletedProcess[str] = helm(
        "template", "rel", str(ROOT / "deploy" / "helm" / "epochcost"), "--set", "agent.events.mode=pods"
    )
    assert completed.returncode != 0
    assert "agent.profile=owners" in completed.stderr
