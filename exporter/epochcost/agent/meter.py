"""The meter: readings, events and prices in, one immutable snapshot out. It knows no thread, clock, file or network."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from epochcost.agent.credit_spending import CreditSpending
from epochcost.agent.device_activity import Idle, devices_of, is_fresh, total_power, unseen
from epochcost.agent.egress import EgressAccount
from epochcost.agent.event_order import in_order
from epochcost.agent.machine_terms import MachineTerms
from epochcost.agent.meter_inputs import Inputs, Quote
from epochcost.agent.settlement import MOST_UNSETTLED_SECONDS, Settlement, settled_until
from epochcost.agent.snapshot import GpuView, NodeView, RunView, SettledMoney, Snapshot, StateTotals
from epochcost.agent.views import Histories, Instant, run_views, useful_split
from epochcost.ledger import Ledger
from epochcost.ledger.node_ledger import FOLD_AFTER_SECONDS
from epochcost.ledger.state_check import check_ledger, fits
from epochcost.model import Node, State, TrainingEvent
from epochcost.prices.quote import PriceTerms

RECENT_BOOT_SECONDS = 30 * 60.0
SETTLE_EVERY_SECONDS = 3600.0
_NONE_OF_ANY = dict.fromkeys(State, 0.0)


@dataclass(frozen=True, slots=True)
class EnergyRates:
    """Configured cost of a kWh, and the grid's emissions for it; None if not configured.

    ``listed`` returns grams and their source from a dated list, for a node without a configured figure; None: not used.
    """

    usd_per_kwh: float | None = None
    grams_per_kwh: float | None = None
    listed: Callable[[Node], tuple[float, str] | None] | None = None

    def grid_of(self, node: Node) -> tuple[float | None, str]:
        """Grams for a kWh, and their source."""
        if self.grams_per_kwh is not None:
            return self.grams_per_kwh, "configured"
        return (self.listed(node) if self.listed is not None else None) or (None, "")


@dataclass(frozen=True, slots=True)
class MeterSettings:
    """How a meter decides, and what it calls this machine.

    Attributes:
        machine: the machine's name on every series; empty for the node's.
        keep_seconds: how long a run that has ended is still described.
        silence_seconds: how long a run may report nothing before it is lost, if its process cannot be monitored.
        idle: what counts as idle, and as allocated.
        rates: of energy.
    """

    machine: str = ""
    keep_seconds: float = 900.0
    silence_seconds: float = 3600.0
    idle: Idle = Idle()  # noqa: RUF009 - frozen
    rates: EnergyRates = EnergyRates()


@dataclass(frozen=True, slots=True)
class MeterState:
    """All that a meter remembers."""

    ledger: Ledger
    settlement: Settlement
    applied: Counter[str]
    boot_ts: float | None
    egress: EgressAccount
    spending: CreditSpending


class Meter:
    """Drives the ledger and describes it."""

    def __init__(
        self,
        ledger: Ledger,
        node: Node,
        settings: MeterSettings | None = None,
        *,
        terms: MachineTerms | None = None,
        name_of: Callable[[int | None], str] = lambda _: "",
    ) -> None:
        """``name_of``: the name of a user by number."""
        settings = settings or MeterSettings()
        self.ledger = ledger
        self.node = node
        self.machine = settings.machine or node.node
        self.idle = settings.idle
        self.terms = terms or MachineTerms()
        self.boot_ts: float | None = None
        self.settlement = Settlement()
        self._settings = settings
        self._name_of = name_of
        self._histories = Histories()
        self._quote: Quote | None = None
        self._heard_t = 0.0
        self._applied: Counter[str] = Counter()
        self._settled_t = 0.0

    def begin_boot(self, now: float, boot_ts: float, events: Sequence[TrainingEvent]) -> None:
        """Open the ledger for this boot of the machine; ``events`` are all that were found at the agent's first start.

        The time since boot counts when the machine was booted less than half an hour ago (its user waited for the
        agent's start, and paid); else only the time since the first run of this boot does.
        """
        boot_ts = min(boot_ts, now)
        starts = [max(e.t, boot_ts) for e in events if e.t <= now and e.t >= boot_ts]
        start = boot_ts if now - boot_ts < RECENT_BOOT_SECONDS else min([now, *starts])
        self.ledger.begin(start, now, boot_ts)
        self.terms.egress.new_boot(whole=start == boot_ts)
        self.boot_ts = boot_ts

    def tick(self, now: float, inputs: Inputs) -> Snapshot:
        """Account the time up to ``now`` (node timeline) and describe everything."""
        self.account(now, inputs)
        return self.describe(now, inputs)

    def account(self, now: float, inputs: Inputs) -> None:
        """Account the time up to ``now`` (node timeline)."""
        if self.ledger.cursor is None:
            self.ledger.begin(now, now, now)
        cursor = self.ledger.cursor if self.ledger.cursor is not None else now
        if inputs.quote is not None and inputs.quote is not self._quote:
            self._quote, self._heard_t = inputs.quote, now
            self.ledger.set_price(inputs.quote.steps, now)
            self.ledger.set_free(*self.terms.free(inputs.quote.terms, self.ledger, cursor))
        if inputs.host is not None and inputs.host.sent_bytes_by_interface:
            by_gb = self._quote.terms.usd_per_gb if self._quote else {}
            self.terms.egress.add(inputs.host.sent_bytes_by_interface, by_gb)
        devices = devices_of(inputs, now, self.idle)
        observed = now - cursor <= inputs.fresh_seconds
        with self.ledger.many_events():
            for event in in_order(inputs.events):
                happened = event if event.t <= now else dataclasses.replace(event, t=now)
                self.ledger.advance(happened.t, devices, observed=observed)
                self._applied[self.ledger.apply(happened)] += 1
            self.ledger.advance(now, devices, observed=observed)
            self.ledger.silence(now, self._settings.silence_seconds, inputs.watched)
        self.ledger.unsettled.settle(self._settled_until(now))
        if now - self._settled_t > SETTLE_EVERY_SECONDS:
            self.ledger.settle(now - FOLD_AFTER_SECONDS)
            self._settled_t = now

    def _settled_until(self, now: float) -> float:
        quote = self._quote
        if quote is None:
            return now - MOST_UNSETTLED_SECONDS
        confirmed_t = quote.confirmed_ts if quote.confirmed_t is None else quote.confirmed_t
        return settled_until(quote.steps, confirmed_t, self._heard_t, now)

    def node_changed(self, now: float) -> None:
        """The machine has become another type or purchase option: its price from now on is not the one before."""
        self.ledger.forget_price(now)

    # -- describing --------------------------------------------------------------------------------------------------

    def news(self) -> tuple[int, int, int]:
        """Changes when a run begins, continues or ends, or has finished an epoch: worth a new snapshot at once."""
        runs = self.ledger.runs.values()
        is_open = [account for account in runs if account.is_open]
        return len(runs), len(is_open), sum(account.epochs.count for account in is_open)

    def has_budgets(self) -> bool:
        """Whether an open run may come to exceed its budget."""
        return any(account.facts.budget_usd is not None for account in self.ledger.runs.values() if account.is_open)

    def describe(self, now: float, inputs: Inputs) -> Snapshot:
        """Everything as of ``now``, up to which `account` was called with ``inputs``."""
        counts = Counter(inputs.event_counts)
        counts.update({result: n for result, n in self._applied.items() if result != "accepted"})
        rejected = sum(n for result, n in self._applied.items() if result != "accepted")
        counts["accepted"] = max(0, counts["accepted"] - rejected)
        node = self._node_view(now, inputs)
        return Snapshot(
            t=now,
            node=node,
            gpus=self._gpu_views(now, inputs),
            runs=self._run_views(now),
            health=inputs.health,
            events=dict(counts),
            clock_jumps=inputs.clock_jumps,
            refused=dict(inputs.refused),
            problems=inputs.problems,
            machine=self.machine,
        )

    def _node_view(self, now: float, inputs: Inputs) -> NodeView:
        totals = self.ledger.node_ledger.totals(self.ledger.price)
        seconds, cost = _NONE_OF_ANY.copy(), _NONE_OF_ANY.copy()
        for (_, state), value in totals.seconds.items():
            seconds[state] += value
        for (_, state), value in totals.cost_usd.items():
            cost[state] += value
        reading = inputs.gpus if is_fresh(inputs, now) else None
        known = bool(self.ledger.price.times)
        received = self._quote.terms if self._quote else PriceTerms()
        return NodeView(
            node=self.node,
            boot_ts=self.boot_ts,
            price_usd_per_hour=self.ledger.price.at(now),
            on_demand_usd_per_hour=self._quote.on_demand_usd_per_hour if self._quote else None,
            price_source=self._quote.source if self._quote else "",
            price_ts=self._quote.confirmed_ts if self._quote else None,
            unpriced_seconds=totals.unpriced_seconds,
            totals=StateTotals(seconds, cost if known else {}),
            settled=self.settlement.of_node(self.ledger, cost) if known else SettledMoney(),
            gpus=(sum(not g.parent_uuid for g in reading.gpus) if reading else None) if inputs.has_gpus else 0,
            useful=useful_split(self.ledger, {run for run, _ in totals.seconds}),
            energy_usd_per_kwh=self._settings.rates.usd_per_kwh,
            grid=self._settings.rates.grid_of(self.node),
            driver_version=reading.driver_version if reading else "",
            gpu_read_seconds=reading.read_seconds if reading else None,
            gpu_call_failures=inputs.gpus.call_failures if inputs.gpus else {},
            host=inputs.host if inputs.host is not None and now - inputs.host.t <= inputs.fresh_seconds else None,
            power_watts=total_power(reading),
            preemption=inputs.preemption,
            terms=self.terms.describe(received, self.ledger, self.boot_ts, now),
        )

    def _run_views(self, now: float) -> tuple[RunView, ...]:
        at = Instant(self.ledger, self.settlement, self._histories, now, self._name_of)
        return run_views(at, self._settings.keep_seconds)

    def _gpu_views(self, now: float, inputs: Inputs) -> tuple[GpuView, ...]:
        if not inputs.has_gpus or inputs.gpus is None:
            return ()
        fresh = is_fresh(inputs, now)
        views = []
        for sample in inputs.gpus.gpus:
            totals = self.ledger.devices.devices.get(sample.uuid)
            reading = sample if fresh else unseen(sample)
            if totals is None:
                if not sample.gpu_fraction:
                    views.append(GpuView(reading, State.UNALLOCATED, {}, None, None))
                continue
            views.append(
                GpuView(
                    reading,
                    totals.state,
                    {**_NONE_OF_ANY, **totals.seconds},
                    totals.utilization_seconds,
                    totals.memory_used_byte_seconds,
                    totals.held_idle_seconds,
                )
            )
        return tuple(views)

    # -- persistence -------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "ledger": self.ledger.state(),
            "settled": self.settlement.state(),
            **self.terms.state(),
            "applied": dict(self._applied),
            "boot_ts": self.boot_ts,
        }

    def restored(self, state: Mapping[str, Any], latest: float) -> MeterState:
        """What `state` described, if it can be true; nothing is applied yet.

        Args:
            state: what `state` made.
            latest: nothing in it may lie after this instant (node timeline).

        Raises:
            KeyError, TypeError, ValueError, AttributeError: when it is not what `state` makes, or cannot be true.
        """
        ledger = Ledger.restored(state["ledger"], self.ledger.settings)
        check_ledger(ledger, latest)
        if "settled" in state:
            settlement = Settlement.restored(state["settled"])
        else:
            settlement = Settlement.of_before(state["envelope"], ledger)
        settlement.check(ledger)
        applied = Counter({str(k): n for k, n in state["applied"].items()})
        if not all(fits(n, int) and n >= 0 for n in applied.values()):
            raise ValueError(f"applied: {applied!r} are not counts")
        boot_ts = state["boot_ts"]
        if not (boot_ts is None or (fits(boot_ts, float) and 0 < boot_ts <= latest)):
            raise ValueError(f"boot_ts: {boot_ts!r} is not a time in the past")
        return MeterState(ledger, settlement, applied, boot_ts, *MachineTerms.accounts(state))

    def take(self, meter_state: MeterState) -> None:
        """Continue with ``meter_state``."""
        self.ledger, self.settlement, self._applied = meter_state.ledger, meter_state.settlement, meter_state.applied
        self.boot_ts, self.terms.egress, self.terms.spending = (
            meter_state.boot_ts,
            meter_state.egress,
            meter_state.spending,
        )
