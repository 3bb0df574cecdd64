"""Two clusters, each scraped by Prometheus in agent mode, one store with rules: the sums stay those of each cluster."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tests.agent.agent_process import AgentProcess
from tests.deploy.conftest import ROOT
from tests.waiting import wait_for

from epochcost.demo.programs import free_port

CONFIG = ROOT / "prometheus" / "examples" / "remote-write.yml"
USD_PER_HOUR = {"eu": 2.0, "us": 3.0}
INTERVAL = "2s"


@dataclass
class Store:
    """VictoriaMetrics, queried by PromQL."""

    url: str

    def by_cluster(self, expr: str) -> dict[str, float]:
        body = urllib.parse.urlencode({"query": expr, "nocache": "1"}).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/query", data=body, timeout=10) as response:
            result = json.load(response)["data"]["result"]
        return {series["metric"].get("cluster", ""): float(series["value"][1]) for series in result}


def address() -> str:
    return f"127.0.0.1:{free_port('127.0.0.1', 0)}"


def prometheus_agent(home: Path, cluster: str, agent: AgentProcess, store: str, replica: str) -> list[str | Path]:
    """The shipped example, with this test's addresses; and ``replica``, a label that is sometimes set by mistake."""
    config = yaml.safe_load(CONFIG.read_text())
    config["global"] |= {"scrape_interval": INTERVAL, "external_labels": {"cluster": cluster, "replica": replica}}
    config["scrape_configs"] = config["scrape_configs"][:1]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{agent.port}"]}]
    config["remote_write"][0] |= {"url": f"{store}/api/v1/write", "queue_config": {"batch_send_deadline": "1s"}}
    file = home / f"{cluster}-{replica}.yml"
    file.write_text(yaml.safe_dump(config))
    return [
        "prometheus", "--enable-feature=agent", f"--config.file={file}", f"--web.listen-address={address()}",
        f"--storage.agent.path={home / file.stem}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    if not all(map(shutil.which, ("prometheus", "victoria-metrics", "vmalert"))):
        pytest.skip("needs Debian's prometheus and victoria-metrics")
    home = tmp_path_factory.mktemp("remote-write")
    at = address()
    url = f"http://{at}"
    programs: dict[str, list[str | Path]] = {
        "store": ["victoria-metrics", f"-storageDataPath={home / 'data'}", f"-httpListenAddr={at}",
                  "-search.latencyOffset=0s"],
        "vmalert": ["vmalert", f"-rule={ROOT}/prometheus/rules/epochcost-*.yml", f"-datasource.url={url}",
                    f"-remoteWrite.url={url}", f"-remoteRead.url={url}", "-notifier.url=http://127.0.0.1:9",
                    f"-evaluationInterval={INTERVAL}", "-remoteWrite.flushInterval=500ms",
                    f"-httpListenAddr={address()}"],
    }  # fmt: skip
    with ExitStack() as ending:
        for cluster, usd in USD_PER_HOUR.items():
            folder = home / cluster
            folder.mkdir()
            agent = AgentProcess(folder, "--gpus.source=none", f"--price.usd-per-hour={usd}", "--machine.name=gpu-1")
            ending.callback(agent.end, 15)
            agent.up()
            for replica in ("a", "b") if cluster == "eu" else ("a",):
                programs[f"{cluster}-{replica}"] = prometheus_agent(home, cluster, agent, url, replica)
        for name, command in programs.items():
            log = ending.enter_context((home / f"{name}.log").open("w"))
            process = subprocess.Popen(command, stdout=log, stderr=log)
            ending.callback(process.wait, 20)
            ending.callback(process.terminate)
            if name == "store":
                wait_for(lambda: "listening" in (home / "store.log").read_text() or reachable(url), 30, "the store")
        yield Store(url)


def reachable(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def test_prices_of_two_clusters_are_summed_apart_though_machine_and_replicas_have_one_name(store: Store) -> None:
    expr = "sum by (cluster) (node:epochcost_price_usd_per_hour:unified)"
    wait_for(lambda: store.by_cluster(expr) == USD_PER_HOUR, 90, f"{expr} = {USD_PER_HOUR}", every=0.5)
    raw = "count by (cluster) (epochcost_node_price_usd_per_hour)"
    assert store.by_cluster(raw) == {"eu": 2, "us": 1}  # both replicas are stored, and count once


def test_dollars_an_hour_by_state_sum_to_the_bill_of_each_cluster(store: Store) -> None:
    expr = "sum by (cluster) (cluster_state:epochcost_cost_usd_per_hour:rate5m)"

    def settled() -> bool:
        dollars = store.by_cluster(expr)
        return dollars.keys() == USD_PER_HOUR.keys() and all(
            dollars[cluster] == pytest.approx(usd, rel=0.05) for cluster, usd in USD_PER_HOUR.items()
        )

    wait_for(settled, 120, f"{expr} near {USD_PER_HOUR}", every=1)


def test_the_example_names_a_cluster_and_no_replica_and_drops_nothing_that_rules_read() -> None:
    config = yaml.safe_load(CONFIG.read_text())
    assert list(config["global"]["external_labels"]) == ["cluster"]
    (keep,) = config["remote_write"][0]["write_relabel_configs"]
    assert keep == {"source_labels": ["__name__"], "regex": "epochcost_.+|up", "action": "keep"}


def test_promtool_accepts_the_example() -> None:
    completed = subprocess.run(
        ["promtool", "check", "config", "--agent", str(CONFIG)], capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
