"""The table of the reference article, out of the real metrics of real agents, stored in a real Prometheus.

The agents' clocks are driven; what they export is scraped over HTTP every minute of that time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.driven_agent import T0, DrivenAgent, SimulatedMachine
from tests.grafana.simulated_prometheus import prometheus
from tests.report.stored import Sample, write
from tests.waiting import wait_for

from epochcost.poller.app import PollerApp
from epochcost.poller.poller_settings import PollerSettings
from epochcost.reports.report import Report, make
from epochcost.reports.report_settings import ReportSettings
from epochcost.reports.span import span
from epochcost.settings import load
from epochcost.store.store_access import connect

pytestmark = pytest.mark.stack
EPOCHS = 2
TABLE = {
    # instance type, batch size: $/h, seconds of an epoch, cents of an epoch exactly
    ("c4.8xlarge", "20"): (1.675, 1404, 65.325),
    ("g2.2xlarge", "20"): (0.65, 3779, 0.65 * 3779 / 36),
    ("p2.xlarge", "20"): (0.90, 428, 10.70),
    ("p2.xlarge", "100"): (0.90, 170, 4.25),
}


def trained(machine: SimulatedMachine, name: str, batch_size: str, epoch_seconds: int, url: str) -> Iterator[Sample]:
    """Samples scraped from an agent while two epochs are trained."""
    it = DrivenAgent(
        machine, node__name=f"{name}-{batch_size}", node__provider="aws", node__region="us-east-1",
        node__instance_type=name, node__purchase_option="on_demand", **({"prices__url": url} if url else {}),
    )  # fmt: skip
    if url:
        wait_for(it.ask_price, what="a price from the poller")
    it.run(1)
    run = f"{name}-{batch_size}"
    machine.write_event("start", experiment="char-lm", epochs=EPOCHS, batch_size=int(batch_size), run=run)
    machine.write_event("phase", phase="train", epoch=0, run=run)
    for k in range(1, EPOCHS + 1):
        for part in range(1, epoch_seconds // 60 + 1):
            it.run(60, every=10)
            machine.write_event("progress", epoch=k - 1 + 60 * part / epoch_seconds, run=run)
            yield from scraped(it, f"{run}:10835")
        it.run(epoch_seconds % 60 or 1e-3, every=10)
        machine.write_event("epoch_end", epoch=k, run=run)
    it.run(1)
    yield from scraped(it, f"{run}:10835")
    it.close()


def scraped(it: DrivenAgent, address: str) -> Iterator[Sample]:
    for (name, labels), value in it.scrape().items():
        yield it.machine.wall - T0, name, {"job": "epochcost-agent", "instance": address, **dict(labels)}, value


def poller_samples() -> Iterator[Sample]:
    """Samples of a price poller that the agents could not reach."""
    for name, (price, _, _) in {key[0]: row for key, row in TABLE.items()}.items():
        key = {"provider": "aws", "region": "us-east-1", "instance_type": name, "purchase_option": "on_demand"}
        for k in range(1, 8000 // 60):
            yield 60.0 * k, "epochcost_instance_price_usd_per_hour", {"job": "p", **key, "source": "listed"}, price


@pytest.fixture(scope="module", params=["agents with prices", "prices in the store only"])
def report(request, tmp_path_factory) -> Iterator[Report]:
    folder: Path = tmp_path_factory.mktemp("reference")
    options = {"web.listen-address": "127.0.0.1:0", "state.dir": str(folder / "prices"), "prices.sources": "listed"}
    poller = PollerApp(load(PollerSettings, "prices", options, {}))
    poller.start()
    url = f"http://127.0.0.1:{poller.port}" if request.param == "agents with prices" else ""
    try:
        samples = [] if url else list(poller_samples())
        for (name, batch), (_, epoch_seconds, _) in TABLE.items():
            samples += trained(SimulatedMachine(folder / f"{name}-{batch}"), name, batch, epoch_seconds, url)
    finally:
        poller.stop()
    write(folder / "data", samples, T0)
    with prometheus(folder / "data") as store_url:
        settings = ReportSettings(prometheus_url=store_url)
        between = span(str(T0 - 600), str(T0 + 7800), time.time())
        yield make(connect(settings), settings, between, time.time(), lambda *_: None)


def test_the_table_of_the_article_is_reproduced_from_exported_metrics(report):
    rows = {(row.instance_type, row.batch_size): row for row in report.groups}
    assert set(rows) == set(TABLE)
    for key, (usd_per_hour, epoch_seconds, cents) in TABLE.items():
        row = rows[key]
        assert row.epochs == EPOCHS
        assert row.seconds_per_epoch == pytest.approx(epoch_seconds, abs=0.01)
        assert row.usd_per_hour == pytest.approx(usd_per_hour, rel=1e-6)
        assert row.usd_per_epoch == pytest.approx(cents / 100, rel=1e-5)
        assert 25 * (row.seconds_per_epoch or 0) / 3600 == pytest.approx(25 * epoch_seconds / 3600, rel=1e-4)


def test_the_gpu_with_the_large_batch_alone_is_on_the_frontier(report):
    frontier = {(row.instance_type, row.batch_size) for row in report.groups if row.frontier}
    assert frontier == {("p2.xlarge", "100")}


def test_real_agents_are_not_labelled_simulated(report):
    assert not report.simulated
