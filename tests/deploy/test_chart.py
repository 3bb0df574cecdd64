"""The Helm chart: valid for every supported Kubernetes, rules and dashboards as in the files, minimal rights."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from tests.deploy.conftest import CHART, ROOT, Render

PROFILES = {
    "minimal": (),
    "owners": ("agent.profile=owners", "agent.hostPID=true"),
    "everything": (
        "agent.profile=owners", "cluster=eu-1", "image.digest=sha256:" + "0" * 64, "monitoring.scrape=serviceMonitor",
        "monitoring.labels.release=kps", "networkPolicy.enabled=true", "podDisruptionBudget.enabled=true",
        "prices.replicas=2", "prices.persistence.enabled=false", "prices.credentialsSecret=aws",
        "prices.keysSecret=keys",
        "monitoring.alertmanagerConfig.enabled=true", "monitoring.alertmanagerConfig.receiver.name=team",
        'agent.settings={"gpus.source":"nvml","price.usd-per-hour":2.5}',
        "agent.priorityClassName=system-node-critical",
    ),
    "agents alone": (
        "prices.enabled=false", "prices.externalUrl=https://prices.example:10836", "agent.events.mode=none",
    ),
    "annotations": ("monitoring.scrape=annotations", "dashboards.enabled=false", "monitoring.rules.enabled=false"),
}  # fmt: skip
KUBERNETES = ["1.27", "1.29", "1.31", "1.33", "1.35", "1.37"]
CUSTOM = {"PodMonitor", "ServiceMonitor", "PrometheusRule", "AlertmanagerConfig"}


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] == kind]


def container(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (document,) = of_kind(documents, kind)
    (only,) = document["spec"]["template"]["spec"]["containers"]
    return dict(only)


def test_helm_lint_finds_nothing(helm) -> None:
    completed = helm("lint", "--strict", str(CHART))
    assert completed.returncode == 0, completed.stdout + completed.stderr


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_object_is_valid_against_the_strict_schema(render: Render, profile: str, version: str) -> None:
    documents = render(PROFILES[profile], f"{version}.0")
    checked = [document for document in documents if document["kind"] not in CUSTOM]
    for document in checked:
        kubernetes_validate.validate(document, version, strict=True)
    assert checked


def test_the_rules_are_those_of_the_files_and_promtool_accepts_them(render: Render, tmp_path: Path) -> None:
    rendered = of_kind(render(), "PrometheusRule")
    files = sorted((ROOT / "prometheus" / "rules").glob("*.yml"))
    by_name = {document["metadata"]["name"].removeprefix("rel-epochcost-"): document for document in rendered}
    assert sorted(by_name) == sorted(file.stem.removeprefix("epochcost-") for file in files)
    for file in files:
        spec = by_name[file.stem.removeprefix("epochcost-")]["spec"]
        assert spec["groups"] == yaml.safe_load(file.read_text())["groups"]
        (tmp_path / file.name).write_text(yaml.safe_dump(spec))
    paths = map(str, sorted(tmp_path.glob("*.yml")))
    completed = subprocess.run(["promtool", "check", "rules", *paths], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_a_threshold_and_grafanas_address_are_values_and_nothing_else_changes(render: Render) -> None:
    plain = {d["metadata"]["name"]: d for d in of_kind(render(), "PrometheusRule")}
    values = (
        "monitoring.rules.thresholds.critical_usd_per_hour=7",
        "monitoring.rules.grafanaUrl=https://grafana.example",
    )
    customized = {d["metadata"]["name"]: d for d in of_kind(render(values), "PrometheusRule")}
    differing = []
    for name, document in plain.items():
        for before, after in zip(document["spec"]["groups"], customized[name]["spec"]["groups"], strict=True):
            differing += [(b, a) for b, a in zip(before["rules"], after["rules"], strict=True) if b != a]
    ((_, limit),) = [pair for pair in differing if pair[1]["record"].startswith("epochcost:threshold:")]
    assert (limit["record"], limit["expr"]) == ("epochcost:threshold:critical_usd_per_hour", "vector(7)")
    ((_, link),) = [pair for pair in differing if not pair[1]["record"].startswith("epochcost:threshold:")]
    assert link["labels"]["url"] == "https://grafana.example"


def test_the_dashboards_are_those_of_the_files(render: Render) -> None:
    maps = [d for d in of_kind(render(), "ConfigMap") if "-dashboard-" in d["metadata"]["name"]]
    dashboards = {name: json.loads(text) for d in maps for name, text in d["data"].items()}
    files = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
    assert dashboards == {f"epochcost-{file.name}": json.loads(file.read_text()) for file in files}
    assert all(d["metadata"]["labels"]["grafana_dashboard"] == "1" for d in maps)


def test_the_minimal_agent_is_unprivileged_and_sees_no_other_process(render: Render) -> None:
    documents = render()
    (daemon,) = of_kind(documents, "DaemonSet")
    pod = daemon["spec"]["template"]["spec"]
    assert not pod["hostPID"]
    assert not pod.get("hostNetwork")
    assert pod["securityContext"]["runAsNonRoot"]
    assert container(documents, "DaemonSet")["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    (role,) = of_kind(documents, "ClusterRole")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]
    assert {"epochcost.io"}.isdisjoint({d["apiVersion"] for d in documents})
    assert [v["name"] for v in pod["volumes"]] == ["state", "tmp", "events"]


def test_owners_reads_the_kubelets_socket_and_adds_no_rights_in_the_api(render: Render) -> None:
    documents = render(PROFILES["owners"])
    (daemon,) = of_kind(documents, "DaemonSet")
    pod = daemon["spec"]["template"]["spec"]
    assert pod["hostPID"]
    assert "pod-resources" in [v["name"] for v in pod["volumes"]]
    (role,) = of_kind(documents, "ClusterRole")
    assert role["rules"][0]["verbs"] == ["get"]


def test_hami_is_read_where_it_is_enabled_and_needs_the_right_to_list_pods(render: Render) -> None:
    documents = render((*PROFILES["owners"], "agent.hami=true"))
    (role,) = of_kind(documents, "ClusterRole")
    assert role["rules"][1] == {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    environment = {e["name"]: e.get("value") for e in container(documents, "DaemonSet")["env"]}
    assert environment["EPOCHCOST_OWNERS_HAMI"] == "true"


def test_settings_become_environment_variables_of_the_program(render: Render) -> None:
    documents = render(('agent.settings={"node.share":"per-gpu","sample.interval":"2s"}',))
    environment = {e["name"]: e.get("value") for e in container(documents, "DaemonSet")["env"]}
    assert environment["EPOCHCOST_NODE_SHARE"] == "per-gpu"
    assert environment["EPOCHCOST_SAMPLE_INTERVAL"] == "2s"
    assert environment["EPOCHCOST_PRICES_URL"] == "http://rel-epochcost-prices.monitoring.svc:10836"
    help_text = subprocess.run(
        [shutil.which("epochcost") or "epochcost", "agent", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for name in (n for n in environment if n.startswith("EPOCHCOST_")):
        assert name in help_text


def test_grouping_and_inhibitions_are_those_of_the_file(render: Render) -> None:
    (config,) = of_kind(render(PROFILES["everything"]), "AlertmanagerConfig")
    file = yaml.safe_load((ROOT / "prometheus" / "alertmanager.yml").read_text())
    route = config["spec"]["route"]
    assert route["groupBy"] == file["route"]["group_by"]
    assert len(route["routes"]) == len(file["route"]["routes"])
    assert len(config["spec"]["inhibitRules"]) == len(file["inhibit_rules"])

    def text(matchers: list[dict[str, str]]) -> list[str]:
        return [f'{m["name"]}{m["matchType"]}"{m["value"]}"' for m in matchers]

    for rendered, rule in zip(config["spec"]["inhibitRules"], file["inhibit_rules"], strict=True):
        assert text(rendered["sourceMatch"]) == rule["source_matchers"]
        assert text(rendered["targetMatch"]) == rule["target_matchers"]
        assert rendered["equal"] == rule["equal"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("agent.profil=owners", "profil"),
        ("agent.profile=root", "agent"),
        ("agent.hostPID=true", "agent.profile=owners"),
        ("prices.replicas=2", "persistence"),
        ("monitoring.rules.thresholds.critical=7", "critical_usd_per_hour"),
        ("monitoring.rules.thresholds.critical_usd_per_hour=-1", "critical_usd_per_hour"),
        ("monitoring.interval=often", "interval"),
        ("agent.events.hostPath=relative", "hostPath"),
        ("monitoring.alertmanagerConfig.enabled=true", "receiver"),
        ("image.digest=latest", "digest"),
    ],
)
def test_the_error_names_a_wrong_value(helm, value: str, message: str) -> None:
    completed = helm("template", "rel", str(CHART), "--set", value)
    assert completed.returncode != 0
    assert message in completed.stderr


def test_the_chart_holds_no_copy_of_rules_dashboards_or_routes() -> None:
    assert {name: (CHART / name).is_symlink() for name in ("rules", "dashboards", "alertmanager.yml")} == {
        "rules": True, "dashboards": True, "alertmanager.yml": True,
    }  # fmt: skip


def test_the_packaged_chart_needs_no_checkout(helm, tmp_path: Path) -> None:
    assert helm("package", str(CHART), "-d", str(tmp_path)).returncode == 0
    (packed,) = tmp_path.glob("*.tgz")
    completed = helm("template", "rel", str(packed), "-n", "monitoring")
    assert completed.returncode == 0, completed.stderr
    kinds = [d["kind"] for d in yaml.safe_load_all(completed.stdout) if d]
    assert kinds.count("PrometheusRule") == len(list((ROOT / "prometheus" / "rules").glob("*.yml")))
