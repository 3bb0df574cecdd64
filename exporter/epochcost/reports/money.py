"""What runs and nodes cost: the agents' dollars, else their seconds times the prices that the store kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from epochcost.reports.history import IDENTITY, History, Member, NodeHistory, NodeKey
from epochcost.reports.tracks import Labels, Track, increments

HOUR_SECONDS = 3600.0
BY_AGENT, BY_PRICES = "agent", "prices"
UNSETTLED = "unsettled"
"""State of a run's dollars that may still change."""
Filled = list[tuple[float, bool] | None]
"""For each window a price ($/h) and whether it was stored for that very window; None where none was ever known."""
Offers = Callable[[Mapping[str, str]], list[Mapping[str, str]]]


@dataclass(slots=True)
class Money:
    """Dollars of one thing in the span.

    Attributes:
        windows: by window.
        states: by state.
        source: how they were computed: `BY_AGENT` or `BY_PRICES`.
        carried_seconds: of `BY_PRICES`, those priced by the nearest known price instead of one of their own time.
    """

    windows: dict[int, float]
    states: dict[str, float]
    source: str
    carried_seconds: float = 0.0

    @property
    def usd(self) -> float:
        """All of them."""
        return sum(self.windows.values())


@dataclass(slots=True)
class Prices:
    """What an hour of each node cost, and would have cost on demand, by window."""

    history: History
    _paid: dict[NodeKey, Filled] = field(default_factory=dict)
    _on_demand: dict[NodeKey, Filled] = field(default_factory=dict)

    def paid(self, key: NodeKey) -> Filled:
        """The agent's price, else the poller's for the zone, the region, or an owned machine of the type."""
        if key not in self._paid:
            self._paid[key] = self._filled(key, self.history.nodes[key].price, _offers)
        return self._paid[key]

    def on_demand(self, key: NodeKey) -> Filled:
        """The agent's on-demand price, else the poller's for the region."""
        if key not in self._on_demand:
            self._on_demand[key] = self._filled(key, self.history.nodes[key].on_demand, _on_demand_offers)
        return self._on_demand[key]

    def _filled(self, key: NodeKey, measured: Track, offers: Offers) -> Filled:
        node = self.history.nodes[key]
        usd_by_window = dict(measured.items())
        for index in range(self.history.span.steps + 1):
            if (
                index not in usd_by_window
                and (price := self._offered_price(key, offers(node.who(index)), index)) is not None
            ):
                usd_by_window[index] = price
        return _carried(usd_by_window, self.history.span.steps + 1)

    def _pollers(self, key: NodeKey) -> list[tuple[Labels, Track]]:
        """Offers in the machine's own cluster; if it has no poller, those of clusters without machines."""
        pollers = self.history.poller
        if key.context in pollers:
            return list(pollers[key.context].items())
        with_machines = {node.context for node in self.history.nodes}
        return [
            offer for context, offers in pollers.items() if context not in with_machines for offer in offers.items()
        ]

    def _offered_price(self, key: NodeKey, offers: list[Mapping[str, str]], index: int) -> float | None:
        for want in offers:
            fits = [t for labels, t in self._pollers(key) if want.items() <= dict(labels).items()]
            prices = [v for t in fits if (v := _value(t, index)) is not None]
            if prices:
                return max(prices)
        return None


def _offers(node_info: Mapping[str, str]) -> list[Mapping[str, str]]:
    """Which prices of the poller a node may take, the best first."""
    if not node_info.get("purchase_option"):
        return []
    owned = {name: node_info[name] for name in ("provider", "instance_type", "purchase_option")}
    regional = {name: node_info[name] for name in IDENTITY} | {"zone": ""}
    zonal = [{name: node_info[name] for name in IDENTITY}] if node_info["zone"] else []
    return [*zonal, regional, *([owned] if node_info["purchase_option"] == "owned" else [])]


def _on_demand_offers(node_info: Mapping[str, str]) -> list[Mapping[str, str]]:
    if not node_info.get("instance_type"):
        return []
    return [
        {name: node_info[name] for name in ("provider", "region", "instance_type")} | {"purchase_option": "on_demand"}
    ]


def _value(track: Track, index: int) -> float | None:
    at = index - track.first
    if not 0 <= at < len(track.values) or math.isnan(track.values[at]):
        return None
    return track.values[at]


def _carried(known: Mapping[int, float], length: int) -> Filled:
    """Fill gaps with the price before, and what is before the first with the first."""
    if not known:
        return [None] * length
    last = known[min(known)]
    filled: Filled = []
    for index in range(length):
        last = known.get(index, last)
        filled.append((last, index in known))
    return filled


def member_money(member: Member, prices: Filled, *, from_zero: bool) -> Money | None:
    """Dollars of a run on one node; None where no price is known."""
    if total := member.counters.get("run_cost_usd_total"):
        states = member_states(member, "run_state_cost_usd_total", total, from_zero=from_zero)
        by_state = {state: sum(grown.values()) for state, grown in states.items()}
        money = Money(increments(total, from_zero=from_zero), by_state, BY_AGENT)
        _add_unsettled(money, member.provisional, UNSETTLED, from_zero=from_zero)
        return money
    ran = member.counters.get("run_seconds_total")
    return integrated(member_states(member, "run_state_seconds_total", ran, from_zero=from_zero), prices)


def member_states(member: Member, metric: str, whole: Track | None, *, from_zero: bool) -> dict[str, dict[int, float]]:
    """Growth by state and window. A state is exported once it has come: one that comes after ``whole`` began at 0."""
    began = None if whole is None or not whole.values else whole.first
    return {
        state: increments(track, from_zero=from_zero or (began is not None and track.first > began))
        for (name, state), track in member.states.items()
        if name == metric
    }


def node_money(node: NodeHistory, prices: Filled, *, from_zero: bool) -> Money | None:
    """Dollars of a node; None where no price is known."""
    if node.dollars:
        money = _summed({s: increments(t, from_zero=from_zero) for s, t in node.dollars.items()}, BY_AGENT)
        for state, track in node.provisional.items():
            _add_unsettled(money, track, state, from_zero=from_zero)
        return money
    return integrated({s: increments(t, from_zero=from_zero) for s, t in node.seconds.items()}, prices)


def _add_unsettled(money: Money, provisional: Track, state: str, *, from_zero: bool) -> None:
    """Counters hold what is settled: what was not is added as of the end, less what was not as of the beginning."""
    if grown := unsettled(provisional, from_zero=from_zero):
        index = (provisional.last() or (0, 0.0))[0]
        money.windows[index] = money.windows.get(index, 0.0) + grown
        money.states[state] = money.states.get(state, 0.0) + grown


def unsettled(provisional: Track, *, from_zero: bool) -> float:
    """How many more dollars are not settled at the end than at the beginning."""
    known = [usd for _, usd in provisional.items()]
    return known[-1] - (0.0 if from_zero else known[0]) if known else 0.0


def integrated(seconds: Mapping[str, Mapping[int, float]], prices: Filled) -> Money | None:
    """Seconds by state and window x the mean price of the window."""
    if all(price is None for price in prices):
        return None
    usd: dict[str, dict[int, float]] = {}
    carried = 0.0
    for state, grown in seconds.items():
        for index, amount in grown.items():
            price, exact = prices[index] or (0.0, False)
            usd.setdefault(state, {})[index] = amount * price / HOUR_SECONDS
            carried += 0.0 if exact else amount
    money = _summed(usd, BY_PRICES)
    money.carried_seconds = carried
    return money


def _summed(states: Mapping[str, Mapping[int, float]], source: str) -> Money:
    windows: dict[int, float] = {}
    for grown in states.values():
        for index, amount in grown.items():
            windows[index] = windows.get(index, 0.0) + amount
    return Money(windows, {state: sum(grown.values()) for state, grown in states.items()}, source)


def between(seconds: Mapping[int, float], usd: Mapping[int, float], first: float, last: float) -> float:
    """Dollars spent from the ``first`` to the ``last`` second of a run, both growing evenly within a window."""
    spent = done = 0.0
    for index in sorted(seconds):
        length = seconds[index]
        overlap = max(0.0, min(last, done + length) - max(first, done))
        if length > 0:
            spent += usd.get(index, 0.0) * overlap / length
        done += length
    return spent
