"""Traffic: only of named interfaces, across restarts and boots, priced per GB, separate from the hourly price."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from epochcost.agent.agent_settings import AgentSettings
from epochcost.agent.egress import GB, MOST_NAMES, EgressAccount
from epochcost.agent.meter import Meter
from epochcost.agent.meter_inputs import Inputs, Quote
from epochcost.agent.snapshot import Snapshot
from epochcost.gpus.host.host_source import HostSource
from epochcost.ledger import Ledger
from epochcost.model import HostReading, Node, PriceStep
from epochcost.prices.configured import ConfiguredPrice
from epochcost.prices.extras import parse_charged, parse_extras
from epochcost.prices.quote import PriceTerms
from epochcost.prices.remote_terms import parse_terms
from epochcost.settings import SettingsError, load

START = 1_795_000_000.0
BY_GB = {"egress": 0.09}
NET = """Inter-|   Receive                            |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0
  eth0: 5000 1 0 0 0 0 0 0 {eth0} 1 0 0 0 0 0 0
  eth1: 7000 1 0 0 0 0 0 0 {eth1} 1 0 0 0 0 0 0
"""


def quote(**by_gb: float) -> Quote:
    terms = PriceTerms(usd_per_gb=by_gb)
    return Quote((PriceStep(-math.inf, 3.0),), None, "listed", START, START, terms)


def tick(meter: Meter, at: float, sent_bytes: int | None, price_quote: Quote | None) -> Snapshot:
    counts = {} if sent_bytes is None else {"eth1": sent_bytes}
    host = HostReading(START + at, 0.5, sent_bytes_by_interface=counts)
    return meter.tick(START + at, Inputs(has_gpus=False, host=host, quote=price_quote))


def started_meter(booted: float = 3600.0) -> Meter:
    meter = Meter(Ledger(), Node("n"))
    meter.begin_boot(START, START - booted, [])
    return meter


def test_bytes_sent_since_the_first_reading_are_charged_per_gb_and_not_per_hour() -> None:
    meter, price_quote = started_meter(), quote(egress=0.09)
    tick(meter, 1, 50 * GB, price_quote)
    snapshot = tick(meter, 2, 52 * GB, price_quote)
    assert snapshot.node.terms.egress_bytes == {"eth1": 2 * GB}
    assert snapshot.node.terms.egress_usd == {"egress": pytest.approx(0.18)}
    assert math.fsum(snapshot.node.totals.cost_usd.values()) == pytest.approx(2 * 3.0 / 3600)


def test_on_a_freshly_booted_machine_all_traffic_since_boot_counts() -> None:
    snapshot = tick(started_meter(booted=60.0), 1, 3 * GB, quote(egress=0.09))
    assert snapshot.node.terms.egress_usd == {"egress": pytest.approx(0.27)}


def test_without_an_interface_nothing_is_shown() -> None:
    snapshot = tick(started_meter(), 1, None, quote(egress=0.09))
    assert snapshot.node.terms.egress_bytes == {}
    assert snapshot.node.terms.egress_usd == {}


def test_bytes_without_a_price_are_shown_and_charged_once_it_is_known() -> None:
    meter = started_meter()
    tick(meter, 1, 0, None)
    unpriced = tick(meter, 2, GB, None)
    assert unpriced.node.terms.egress_bytes == {"eth1": GB}
    assert unpriced.node.terms.egress_usd == {}
    assert tick(meter, 3, 2 * GB, quote(egress=0.09)).node.terms.egress_usd == {"egress": pytest.approx(0.18)}


def test_it_continues_across_a_restart_and_a_boot() -> None:
    meter, price_quote = started_meter(), quote(egress=1.0)
    tick(meter, 1, 0, price_quote)
    tick(meter, 2, 10 * GB, price_quote)
    state = json.loads(json.dumps(meter.state()))
    again = started_meter()
    again.take(again.restored(state, START + 60))
    assert tick(again, 60, 12 * GB, price_quote).node.terms.egress_bytes == {"eth1": 12 * GB}, "2 GB while it was away"
    other_boot = started_meter()
    other_boot.take(other_boot.restored(json.loads(json.dumps(again.state())), START + 100))
    other_boot.begin_boot(START + 100, START - 5000, [])
    assert tick(other_boot, 120, 13 * GB, price_quote).node.terms.egress_bytes == {"eth1": 25 * GB}, (
        "all since its boot"
    )


def test_a_recreated_interface_counts_from_zero() -> None:
    account = EgressAccount()
    account.add({"eth1": 10}, BY_GB)
    account.add({"eth1": 4}, BY_GB)
    account.add({"eth1": 4, "eth2": 3}, BY_GB)
    assert account.sent == {"eth1": 4, "eth2": 3}


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"before": {"eth1": -1}, "sent": {}, "usd": {}, "unpriced": 0},
        {"before": {}, "sent": {"eth1": 1.5}, "usd": {}, "unpriced": 0},
        {"before": {}, "sent": {}, "usd": {"egress": "much"}, "unpriced": 0},
        {"before": {}, "sent": {}, "usd": {"egress": float("nan")}, "unpriced": 0},
        {"before": [], "sent": {}, "usd": {}, "unpriced": 0},
        {"before": {str(n): n for n in range(100)}, "sent": {}, "usd": {}, "unpriced": 0},
    ],
)
def test_an_impossible_state_is_rejected(state: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        EgressAccount.restored(state)


def test_only_named_interfaces_are_read(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "stat").write_text("cpu 1 0 1 9 0 0 0 0 0 0\n")
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable: 50 kB\n")
    (tmp_path / "net/dev").write_text(NET.format(eth0=11, eth1=22))
    read = HostSource(tmp_path, tmp_path, ("eth1", "gone0")).read(START)
    assert read.sent_bytes_by_interface == {"eth1": 22}
    assert HostSource(tmp_path, tmp_path).read(START).sent_bytes_by_interface == {}


def test_a_configured_price_per_gb_is_not_part_of_the_hourly_price() -> None:
    extras = parse_charged("egress=0.09/gb, address=0.005/hour")
    node_price = ConfiguredPrice(Node("n"), 2.0, extras).fetch(START)
    assert node_price.price is not None
    assert node_price.price.usd_per_hour == pytest.approx(2.005)
    assert node_price.terms.usd_per_gb == {"egress": 0.09}


def test_the_poller_provides_the_price_per_gb() -> None:
    (extra,) = parse_extras({"name": "egress", "usd-per-gb": 0.09, "charged": True})
    assert extra.counted
    raw = {"usd_per_hour": 3.0, "extras": [{"name": "egress", "usd_per_hour": None, "charged": True, "unit": "gb",
                                            "usd_per_unit": 0.09, "quantity": 0.0, "now": True}]}  # fmt: skip
    assert parse_terms(raw, "aws").usd_per_gb == {"egress": 0.09}
    assert parse_terms({**raw, "extras": [{**raw["extras"][0], "charged": False}]}, "aws").usd_per_gb == {}  # type: ignore[index, dict-item]


@pytest.mark.parametrize("bad", ["eth0/..", "a b", "-x", "x" * 16])
def test_an_invalid_interface_name_is_rejected(bad: str) -> None:
    with pytest.raises(SettingsError, match=r"node\.egress-interfaces"):
        load(AgentSettings, "agent", {"node.egress-interfaces": bad}, {})


def test_a_price_per_gb_requires_interfaces_to_count() -> None:
    flags = {"price.usd-per-hour": "2", "price.extras": "egress=0.09/gb"}
    with pytest.raises(SettingsError, match="name the interfaces to count"):
        load(AgentSettings, "agent", flags, {})
    assert load(AgentSettings, "agent", {**flags, "node.egress-interfaces": "ens5"}, {}).price_extras[0].counted


def test_traffic_whose_name_changes_with_each_response_is_charged_and_can_be_saved() -> None:
    account = EgressAccount()
    account.add({"eth1": 0}, {})
    for n in range(1, 201):
        account.add({"eth1": n * GB}, {f"name {n}": 0.01})
    assert math.fsum(account.usd.values()) == pytest.approx(2.0)
    assert len(account.usd) == MOST_NAMES
    assert EgressAccount.restored(json.loads(json.dumps(account.state()))).usd == account.usd
