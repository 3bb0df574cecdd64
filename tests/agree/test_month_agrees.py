"""A month of machines that live for half an hour, of outages and of late prices: its dollars equal the exact cost.

Real agents, whose time the test drives, are scraped every ten minutes; promtool evaluates the rules over their figures.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.agent.driven_agent import DrivenAgent, SimulatedMachine
from tests.prometheus.asserted_rules import PromtoolFiles, promtool_test
from tests.prometheus.rule_files import PROMETHEUS_DIR, RECORDINGS, series_used

from epochcost.agent.price_feed import PriceFeed
from epochcost.model import ClockReading, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.quote import NodePrice

pytestmark = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
STEP, HOUR, DAY = 600, 3600, 86400
MONTH = 31 * DAY
"""January 1970, in which promtool's time begins."""
WALL = 1_700_000_400.0
"""The clock of every machine when it boots: agents reject dates of 1970."""
FIGURES = re.compile(
    r"epochcost_(node_(?:info|seconds_total|cost_usd_total|provisional_cost_usd|unpriced_seconds|price_usd_per_hour))"
    r"(\{.*\}) (\S+)"
)
KEY = PriceKey("aws", "us-east-1", "us-east-1a", "sim.large", PurchaseOption.SPOT)
ASKED = {rule.name: rule.body["expr"] for rule in RECORDINGS}["cluster:epochcost_cost_usd:month"]
"""Sums up the whole month: evaluated where one looks, and not every ten minutes of it."""
CENT = 0.005


class Market:
    """A machine's price by seconds of its life, and when each price is published."""

    def __init__(self, steps: Mapping[float, float], told_s: float) -> None:
        self.steps, self.told_s, self.now = steps, told_s, 0.0

    def fetch(self, _: float) -> NodePrice:
        if self.now < self.told_s:
            raise OSError("the poller cannot be reached")
        ts = WALL + self.now
        steps = tuple(PriceStep(WALL + t, usd) for t, usd in self.steps.items() if t <= self.now)
        return NodePrice(Price(KEY, steps, "aws", ts), None, ClockReading(ts, exact=True))

    def bill(self, until: float) -> float:
        """Dollars of a lifetime, whenever its prices were published."""
        edges = [*self.steps, float("inf")]
        spans = zip(self.steps.values(), edges, edges[1:], strict=False)
        return sum(usd * max(0.0, min(b, until) - a) / HOUR for usd, a, b in spans)


@dataclass
class MonthMachine:
    """One machine of the month: its start (s), its duration, and its price."""

    name: str
    start: int
    stayed: int
    market: Market
    rows: dict[str, list[str]] = field(default_factory=dict)

    def live(self, home: Path) -> None:
        """Run its agent from its first second to its last, and scrape it."""
        machine = SimulatedMachine(home / self.name, wall=WALL, boot_ts=WALL - 7200)
        agent = DrivenAgent(machine, machine__name=self.name, node__name=self.name, node__instance_type="sim.large")
        agent.app.machine.prices = PriceFeed(self.market, 60.0, lambda: machine.wall, agent.app.clock.now)
        agent.ask_price()
        agent.app.sampling_loop.tick()
        for t in range(STEP, self.stayed + 1, STEP):
            agent.run(STEP, every=STEP)
            self.market.now = float(t)
            agent.ask_price()
            agent.app.sampling_loop.tick()
            for name, labels, value in FIGURES.findall(agent.metrics()):
                row = self.rows.setdefault(f"epochcost_{name}{labels}", [])
                row += ["_"] * (t // STEP - 1 - len(row)) + [value]
        agent.close()

    def series(self) -> Iterator[dict[str, str]]:
        first = self.start // STEP + 1
        for name, row in self.rows.items():
            values = ["_" if blind(self.start + (k + 1) * STEP) else value for k, value in enumerate(row)]
            yield {"series": name, "values": f"_x{first} {' '.join(values)} stale"}


BLIND = (
    (4 * DAY + 5 * HOUR + 10 * 60, 4 * DAY + 6 * HOUR + 10 * 60),
    (5 * DAY + 8 * HOUR - 600, 5 * DAY + 8 * HOUR + 600),
    (6 * DAY + 23 * HOUR, 7 * DAY + 2 * HOUR),
)
"""When nobody was scraped: for an hour, over a full hour, over midnight."""


def blind(t: float) -> bool:
    return any(begin <= t < end for begin, end in BLIND)


def fleet() -> list[MonthMachine]:
    """Half-hour machines through the whole month, and one of a week, whose price is published twelve hours late."""
    short = [
        MonthMachine(f"short-{n}", t, 1800, Market({0.0: 4.0 + n % 3, 900.0: 5.0 + n % 2}, 0.0))
        for n, t in enumerate(range(2 * HOUR + 1800, MONTH, 7 * HOUR))
        if not any(begin - HOUR < t < end for begin, end in BLIND)
    ]
    steady = Market({0.0: 10.0, 3 * DAY: 6.0, 5 * DAY + 3000: 12.0}, 12.0 * HOUR)
    return [*short, MonthMachine("steady", 2 * DAY, 8 * DAY, steady)]


def needed() -> list[dict[str, Any]]:
    """The rule groups that the month depends on, with only the rules needed."""
    by_name = {rule.name: rule.body["expr"] for rule in RECORDINGS}
    names, todo = set[str](), set(series_used(ASKED)) & by_name.keys()
    while todo:
        names |= todo
        todo = {name for one in todo for name in series_used(by_name[one]) if name in by_name} - names
    groups = []
    for stem in ("thresholds", "price", "cost", "budget"):
        for group in yaml.safe_load((PROMETHEUS_DIR / "rules" / f"epochcost-{stem}.yml").read_text())["groups"]:
            rules = [rule for rule in group["rules"] if rule.get("record") in names]
            groups += [{"name": group["name"], "rules": rules}] if rules else []
    assert {rule["record"] for group in groups for rule in group["rules"]} == names
    return groups


def test_month_to_date_is_the_exact_cost_to_the_cent(tmp_path: Path) -> None:
    machines = fleet()
    for machine in machines:
        machine.live(tmp_path / "machines")
    groups = needed()
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": groups}))
    looks = (2 * DAY + 10 * HOUR, 4 * DAY + 12 * HOUR, 5 * DAY + 9 * HOUR, 7 * DAY + 6 * HOUR, 20 * DAY, MONTH - HOUR)
    checks = []
    for at in looks:
        priced_machines = [m for m in machines if at - m.start >= m.market.told_s or m.name != "steady"]
        usd = sum(m.market.bill(min(m.stayed, at - m.start)) for m in priced_machines if m.start < at)
        checks.append((at, usd))
    document = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": f"{STEP}s",
        "group_eval_order": [group["name"] for group in groups],
        "tests": [
            {
                "interval": f"{STEP}s",
                "input_series": [line for machine in machines for line in machine.series()],
                "promql_expr_test": [
                    {
                        "expr": f"abs(({ASKED}) - {usd:.6f}) < bool {CENT}",
                        "eval_time": f"{at}s",
                        "exp_samples": [{"labels": "{}", "value": 1}],
                    }
                    for at, usd in checks
                ],
            }
        ],
    }
    (tmp_path / "month.yml").write_text(json.dumps(document))
    completed = promtool_test(PromtoolFiles(compacted=[tmp_path / "month.yml"]))
    assert completed.returncode == 0, completed.stderr[-3000:]
