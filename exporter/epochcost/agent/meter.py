"""The meter: readings, events and prices in, one immutable snapshot out. It knows no thread, clock, file or network."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from epochcost.agent.credit_spending import CreditSpending
from epochcost.agent.egress import EgressAccount
from epochcost.agent.event_order import in_order
from epochcost.agent.node_terms import terms_at
from epochcost.agent.settlement import MOST_UNSETTLED_SECONDS, Settlement, settled_until
from epochcost.agent.snapshot import (
    CollectorHealth,
    GpuView,
    NodeTerms,
    NodeView,
    Purse,
    RunView,
    SettledMoney,
    Snapshot,
    StateTotals,
)
from epochcost.agent.views import Histories, run_views, useful_split
from epochcost.ledger import Device, Ledger
from epochcost.ledger.node_ledger import FOLD_AFTER_SECONDS
from epochcost.ledger.state_check import check_ledger, fits
from epochcost.model import (
    GpuReading,
    GpuSample,
    HostReading,
    Node,
    PreemptionNotice,
    PriceStep,
    State,
    TrainingEvent,
)
from epochcost.prices.allowances import Credit, Limit
from epochcost.prices.free_hours import free_windows, period_of, used_in
from epochcost.prices.quote import PriceTerms

FRESH_SECONDS = 5.0
"""A reading older than this says nothing about now; a span longer than this was not observed."""
RECENT_BOOT_SECONDS = 30 * 60.0
SETTLE_EVERY_SECONDS = 3600.0
CPU = GpuSample("cpu", "cpu")
_NONE_OF_ANY = dict.fromkeys(State, 0.0)


@dataclass(frozen=True, slots=True)
class Idle:
    """What counts as doing nothing (utilisation below ``busy_ratio``) and as held (this much memory in use)."""

    busy_ratio: float = 0.05
    held_memory_bytes: int = 256 * 1024 * 1024

    def held(self, gpu: GpuSample) -> bool | None:
        """Whether somebody holds the memory of ``gpu`` while it does nothing; None where that is not known."""
        busy, used = _activity(gpu), gpu.memory_used_bytes
        if busy is None or used is None:
            return None
        return busy < self.busy_ratio and used >= self.held_memory_bytes


@dataclass(frozen=True, slots=True)
class EnergyRates:
    """What a kWh costs here, and what the grid emits for it, as people say; None where nobody does.

    ``listed`` tells grams and their source from a dated list, for a node of which people do not say; None: not wished.
    """

    usd_per_kwh: float | None = None
    grams_per_kwh: float | None = None
    listed: Callable[[Node], tuple[float, str] | None] | None = None

    def grid_of(self, node: Node) -> tuple[float | None, str]:
        """Grams for a kWh, and who says so."""
        if self.grams_per_kwh is not None:
            return self.grams_per_kwh, "configured"
        return (self.listed(node) if self.listed is not None else None) or (None, "")


@dataclass(frozen=True, slots=True)
class Quote:
    """The price of this node as last heard: steps, what on demand would cost, who said so and when.

    Attributes:
        steps: on the node timeline.
        confirmed_ts: when its source last confirmed it, as that one's clock said.
        confirmed_t: the same on the node timeline; None where both are the same clock.
        terms: what is known beside the price, its dates on the node timeline.
    """

    steps: tuple[PriceStep, ...]
    on_demand_usd_per_hour: float | None
    source: str
    confirmed_ts: float
    confirmed_t: float | None = None
    terms: PriceTerms = PriceTerms()  # noqa: RUF009 - a frozen value


@dataclass(frozen=True, slots=True)
class Inputs:
    """What came in since the last tick.

    Attributes:
        gpus: newest reading of the GPU source; None when there is none.
        has_gpus: whether a GPU source is in use; if not, the node is one device and its utilisation the CPUs'.
        host: newest reading of the machine.
        events: training events, in any order.
        quote: the newest price; the same object again when nothing new was heard.
        preemption: what the provider said of taking this machine away.
        watched: event streams whose writer's life is seen by the reader; None where nothing was read.
        health: how each collector went.
        event_counts: what became of the lines read so far.
        refused: what was not taken of a user who wants more than his part, by user and of what there was too much.
        fresh_seconds: how old a reading may be to say something of now, and how long a span that was observed.
    """

    gpus: GpuReading | None = None
    has_gpus: bool = True
    host: HostReading | None = None
    events: Sequence[TrainingEvent] = ()
    quote: Quote | None = None
    preemption: PreemptionNotice | None = None
    watched: Iterable[str] = ()
    health: Mapping[str, CollectorHealth] = field(default_factory=dict)
    event_counts: Mapping[str, int] = field(default_factory=dict)
    clock_jumps: int = 0
    refused: Mapping[tuple[str, str], int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    fresh_seconds: float = FRESH_SECONDS


@dataclass(frozen=True, slots=True)
class Books:
    """All that a meter remembers."""

    ledger: Ledger
    settlement: Settlement
    applied: Counter[str]
    boot_ts: float | None
    egress: EgressAccount
    spending: CreditSpending


class Meter:
    """Drives the ledger and describes it."""

    def __init__(  # noqa: PLR0913 - all but two have defaults
        self,
        ledger: Ledger,
        node: Node,
        *,
        machine: str = "",
        keep_seconds: float = 900.0,
        name_of: Callable[[int | None], str] = lambda _: "",
        silence_seconds: float = 3600.0,
        idle: Idle | None = None,
        rates: EnergyRates | None = None,
        limits: Sequence[Limit] = (),
        credits_: Sequence[Credit] = (),
        account: str = "",
    ) -> None:
        self.ledger = ledger
        self.node = node
        self.machine = machine or node.node
        self.keep_seconds = keep_seconds
        self.silence_seconds = silence_seconds
        self.idle = idle or Idle()
        self.rates = rates or EnergyRates()
        self.limits = tuple(limits)
        """What is configured here of what its provider allows this machine; a poller may know more."""
        self.credits = tuple(credits_)
        """What is configured here of credit that pays this machine."""
        self.account_name = account
        self.account_hours: Callable[[str, float], float | None] = lambda *_: None
        """Seconds that other machines of the account have used of a limit since a time; None where nobody knows."""
        self._hours_checked = -math.inf
        self._hours_known = False
        self.spending = CreditSpending()
        self.boot_ts: float | None = None
        self.settlement = Settlement()
        self.egress = EgressAccount()
        self._name_of = name_of
        self._histories = Histories()
        self._quote: Quote | None = None
        self._heard_t = 0.0
        self._applied: Counter[str] = Counter()
        self._settled_t = 0.0

    def begin_boot(self, now: float, boot_ts: float, events: Sequence[TrainingEvent]) -> None:
        """Open the books for this boot of the machine; ``events`` are all that were found at the agent's first start.

        The time since boot counts when the machine was booted less than half an hour ago (its user waited for the
        agent's start, and paid); else only the time since the first run of this boot does.
        """
        boot_ts = min(boot_ts, now)
        starts = [max(e.t, boot_ts) for e in events if e.t <= now and e.t >= boot_ts]
        start = boot_ts if now - boot_ts < RECENT_BOOT_SECONDS else min([now, *starts])
        self.ledger.begin(start, now, boot_ts)
        self.egress.new_boot(whole=start == boot_ts)
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
            self._set_free(inputs.quote.terms, cursor)
        if inputs.host is not None and inputs.host.sent_bytes_by_interface:
            by_gb = self._quote.terms.usd_per_gb if self._quote else {}
            self.egress.add(inputs.host.sent_bytes_by_interface, by_gb)
        devices = _devices(inputs, now, self.idle)
        observed = now - cursor <= inputs.fresh_seconds
        with self.ledger.many_events():
            for event in in_order(inputs.events):
                happened = event if event.t <= now else dataclasses.replace(event, t=now)
                self.ledger.advance(happened.t, devices, observed=observed)
                self._applied[self.ledger.apply(happened)] += 1
            self.ledger.advance(now, devices, observed=observed)
            self.ledger.silence(now, self.silence_seconds, inputs.watched)
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

    def _set_free(self, terms: PriceTerms, cursor: float) -> None:
        """Hours that are free, as they are used up by what is accounted until ``cursor``."""
        limits = (*self.limits, *terms.limits)
        limit = _with_free_hours(limits)
        elsewhere = self.account_hours(limit.name, period_of(limit, cursor)[0]) if limit is not None else None
        before, checked = self.ledger.free, self._hours_checked
        windows = free_windows(limits, self._running(), cursor, before, elsewhere or 0.0, checked)
        self._hours_known = elsewhere is not None
        self._hours_checked = cursor if elsewhere is not None else self._hours_checked
        self.ledger.set_free(windows, terms.extras_usd_per_hour)

    def node_changed(self, now: float) -> None:
        """The machine has become another type or purchase option: its price from now on is not the one before."""
        self.ledger.forget_price(now)

    # -- describing --------------------------------------------------------------------------------------------------

    def news(self) -> tuple[int, int, int]:
        """Changes when a run begins, goes on or ends, or has finished an epoch: what is worth a description at once."""
        runs = self.ledger.runs.values()
        is_open = [account for account in runs if account.is_open]
        return len(runs), len(is_open), sum(account.epochs.count for account in is_open)

    def has_budgets(self) -> bool:
        """Whether an open run may come to be above what it was given."""
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
        totals = self.ledger.book.totals(self.ledger.price)
        seconds, cost = _NONE_OF_ANY.copy(), _NONE_OF_ANY.copy()
        for (_, state), value in totals.seconds.items():
            seconds[state] += value
        for (_, state), value in totals.cost_usd.items():
            cost[state] += value
        reading = inputs.gpus if _is_fresh(inputs, now) else None
        known = bool(self.ledger.price.times)
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
            energy_usd_per_kwh=self.rates.usd_per_kwh,
            grid=self.rates.grid_of(self.node),
            driver_version=reading.driver_version if reading else "",
            gpu_read_seconds=reading.read_seconds if reading else None,
            gpu_call_failures=inputs.gpus.call_failures if inputs.gpus else {},
            host=inputs.host if inputs.host is not None and now - inputs.host.t <= inputs.fresh_seconds else None,
            power_watts=_power(reading),
            preemption=inputs.preemption,
            terms=self._terms(now),
        )

    def _terms(self, now: float) -> NodeTerms:
        heard = self._quote.terms if self._quote else PriceTerms()
        limits = (*self.limits, *heard.limits)
        heard = replace(heard, credits=(*self.credits, *heard.credits))
        price = self.ledger.price.at(now)

        def own_purse(credit: Credit) -> Purse:
            return self._own_purse(credit, price, now)

        terms = terms_at(heard, limits, self.ledger.free, price, self.boot_ts, now, own_purse)
        limit = _with_free_hours(limits)
        return replace(
            terms,
            free_used=() if limit is None else ((limit.name, used_in(period_of(limit, now), self._running())),),
            free_account=self.account_name,
            free_scope="account" if self._hours_known else "machine",
            egress_bytes=dict(self.egress.sent),
            egress_usd=dict(self.egress.usd),
        )

    def _running(self) -> list[tuple[float, float]]:
        """When this machine was up, as far as the books have it."""
        return [(span.start, span.end) for span in self.ledger.book.spans]

    def _own_purse(self, credit: Credit, usd_per_hour: float | None, now: float) -> Purse:
        book, price = self.ledger.book, self.ledger.price
        cost_usd = math.fsum(book.totals(price).cost_usd.values())
        since_usd = None if self.spending.knows(credit) else book.usd_since(credit.as_of_ts, price)
        return self.spending.purse(credit, cost_usd, since_usd, usd_per_hour, now)

    def _run_views(self, now: float) -> tuple[RunView, ...]:
        runs = run_views(self.ledger, self.settlement, self._histories, now, self.keep_seconds)
        return tuple(replace(run, owner_user=self._name_of(self.ledger.runs[run.run].user)) for run in runs)

    def _gpu_views(self, now: float, inputs: Inputs) -> tuple[GpuView, ...]:
        if not inputs.has_gpus or inputs.gpus is None:
            return ()
        fresh = _is_fresh(inputs, now)
        views = []
        for sample in inputs.gpus.gpus:
            totals = self.ledger.devices.devices.get(sample.uuid)
            shown = sample if fresh else _unseen(sample)
            if totals is None:
                if not sample.gpu_fraction:
                    views.append(GpuView(shown, State.UNALLOCATED, {}, None, None))
                continue
            views.append(
                GpuView(
                    shown,
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
            "egress": self.egress.state(),
            "credits": self.spending.state(),
            "applied": dict(self._applied),
            "boot_ts": self.boot_ts,
        }

    def restored(self, state: Mapping[str, Any], latest: float) -> Books:
        """What `state` described, if it can be true; nothing of it is taken over yet.

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
            raise ValueError(f"boot_ts: {boot_ts!r} is not a time until now")
        egress = EgressAccount.restored(state["egress"]) if "egress" in state else EgressAccount()
        return Books(ledger, settlement, applied, boot_ts, egress, CreditSpending.restored(state.get("credits", {})))

    def take(self, books: Books) -> None:
        """Go on with ``books``."""
        self.ledger, self.settlement, self._applied = books.ledger, books.settlement, books.applied
        self.boot_ts, self.egress, self.spending = books.boot_ts, books.egress, books.spending


def _with_free_hours(limits: Iterable[Limit]) -> Limit | None:
    """The limit whose free hours count: the first that has any."""
    return next((each for each in limits if each.free_seconds is not None), None)


def _is_fresh(inputs: Inputs, now: float) -> bool:
    return inputs.gpus is not None and now - inputs.gpus.t <= inputs.fresh_seconds


def _devices(inputs: Inputs, now: float, idle: Idle) -> list[Device]:
    """The node's devices over the span that ends now; without readings where they are stale."""
    if not inputs.has_gpus:
        host = inputs.host
        ratio = host.cpu_utilization_ratio if host is not None and now - host.t <= inputs.fresh_seconds else None
        return [Device(CPU.uuid, CPU.index, ratio)]
    if inputs.gpus is None:
        return []
    if not _is_fresh(inputs, now):
        return [Device(g.uuid, g.index, weight=g.gpu_fraction) for g in inputs.gpus.gpus]
    return [
        Device(
            g.uuid,
            g.index,
            _activity(g),
            g.memory_used_bytes,
            g.utilization_ratio is not None,
            g.gpu_fraction,
            None if g.mig else idle.held(g),
            g.sm_active_ratio,
            g.power_watts,
        )
        for g in inputs.gpus.gpus
    ]


def _activity(gpu: GpuSample) -> float | None:
    """Its utilisation; where a MIG slice has none, what its GPU's power says. What slices leave over does nothing."""
    if gpu.utilization_ratio is None and gpu.power_active is not None:
        return float(gpu.power_active)
    return 0.0 if gpu.mig and gpu.readable else gpu.utilization_ratio


def _unseen(gpu: GpuSample) -> GpuSample:
    """Who it is, and no figure."""
    return GpuSample(
        gpu.index, gpu.uuid, gpu.model, readable=False, parent_uuid=gpu.parent_uuid, gpu_fraction=gpu.gpu_fraction
    )


def _power(reading: GpuReading | None) -> float | None:
    """What all GPUs draw together; None unless every one of them says."""
    if reading is None or not reading.gpus:
        return None
    watts = [g.power_watts for g in reading.gpus if not g.parent_uuid]
    return None if None in watts else sum(w for w in watts if w is not None)
