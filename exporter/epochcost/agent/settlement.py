"""What counters show: settled dollars, which never fall; and, beside them, what may still change.

A price may arrive after the fact: the poller queries its sources every few minutes, and providers report a change late.
Prometheus takes a counter that falls for one that was reset. So counters count time up to which the price is confirmed,
and gauges show the rest. Should a price change even in that time, its counter waits, and its gauge shows by how much.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from epochcost.agent.snapshot import SettledMoney, SettledRun
from epochcost.ledger import Ledger, RunAccount
from epochcost.ledger.node_ledger import Key
from epochcost.ledger.price import EARLIEST, SECONDS_PER_HOUR
from epochcost.ledger.state_check import ImpossibleStateError
from epochcost.model import MAX_USD_PER_HOUR, PriceStep, State, is_number

MAX_CEILINGS = 10_000
_OF_NODE = {state: f"node/{state.value}" for state in State}
_OF_RUN = {state: f"run/{state.value}/" for state in State}
"""Names that are looked up each second: an enum's `value` is slow."""
DUST_USD = 1e-12
ROUNDING = 1e-9
"""Of a sum of dollars."""
MOST_TIMES_TOO_HIGH = 100.0
MAX_COUNT = 1e12
LATE_SECONDS = 60.0
"""A source that was queried at an instant is assumed to know of all changes until this long before."""
FRESH_SECONDS = 86400.0
"""A price that its source confirmed longer ago is a dated list's, and as good as the response that has it."""
MOST_UNSETTLED_SECONDS = 86400.0
"""Time older than this is settled by the price as it is known: a poller may never come back."""


def settled_until(steps: tuple[PriceStep, ...], confirmed_t: float, response_t: float, now: float) -> float:
    """The instant up to which the price will not change any longer, all on the node timeline.

    Args:
        steps: as the source reported them. A price without dates counts from its receipt, so no past changes with it.
        confirmed_t: when the source was last queried.
        response_t: when the response arrived.
        now: the present.
    """
    if len(steps) == 1 and steps[0].ts == -math.inf:
        return now
    confirmed_t = min(confirmed_t, response_t) if response_t - confirmed_t <= FRESH_SECONDS else response_t
    return max(confirmed_t - LATE_SECONDS, now - MOST_UNSETTLED_SECONDS)


class Settlement:
    """The settled figures, and the most that each counter has shown."""

    def __init__(self) -> None:
        self._most: dict[str, float] = {}
        self._pending: dict[Key, float] = {}

    def of_node(self, ledger: Ledger, usd: Mapping[State, float]) -> SettledMoney:
        """Of the machine, whose states have cost ``usd``; call it first, for the runs then use the same figures."""
        self._pending = ledger.unsettled.dollars(ledger.price)
        pending: dict[State, float] = {}
        for (_, state), dollars in self._pending.items():
            pending[state] = pending.get(state, 0.0) + dollars
        settled = {state: exact - pending.get(state, 0.0) for state, exact in usd.items()}
        states = self._by_state(_OF_NODE, settled, math.fsum(settled.values()))
        return SettledMoney(states, {state: _rest(exact, states[state]) for state, exact in usd.items()})

    def of_run(self, ledger: Ledger, account: RunAccount, cost: float, usd: Mapping[State, float]) -> SettledRun:
        """Of a run that has cost ``cost``, by state ``usd``."""
        pending = {state: dollars for (run, state), dollars in self._pending.items() if run == account.run}
        part = account.part
        total = self._at_least(f"run/cost/{part}", cost - math.fsum(pending.values()))
        names = {state: name + part for state, name in _OF_RUN.items()}
        states = self._by_state(names, {state: exact - pending.get(state, 0.0) for state, exact in usd.items()}, total)
        exact_sum, priced = account.epoch_cost_usd_sum(ledger.price)
        if not priced:
            return SettledRun(total, _rest(cost, total), states)
        costs = account.epoch_costs(ledger.price)
        late_usd, late = account.unsettled_epochs(ledger.unsettled.until, costs)
        again = account.retracted or ""
        epochs_usd = self._at_least(f"run/epochs{again}/{part}", exact_sum - late_usd)
        count = int(self._at_least(f"run/count{again}/{part}", account.priced_here(ledger.price) - late))
        return SettledRun(total, _rest(cost, total), states, epochs_usd, count, _rest(exact_sum, epochs_usd))

    def _by_state(self, names: Mapping[State, str], usd: Mapping[State, float], total: float) -> dict[State, float]:
        """``usd`` by state as counters: none of them falls, and they sum to ``total``, which does not either.

        Where the price of settled time fell, some show too much for a while. All others then rise by less.
        """
        before = {state: self._most.get(name, 0.0) for state, name in names.items()}
        figures = {state: usd.get(state, 0.0) for state, value in before.items() if value or state in usd}
        rises = {state: max(0.0, value - before[state]) for state, value in figures.items()}
        due, rise_usd = total - math.fsum(before.values()), math.fsum(rises.values())
        if not rise_usd or rise_usd - due <= ROUNDING * max(1.0, total):
            return {state: self._at_least(names[state], value) for state, value in figures.items()}
        part = max(0.0, due) / rise_usd
        return {state: self._at_least(names[state], before[state] + part * rise) for state, rise in rises.items()}

    def _at_least(self, name: str, value: float) -> float:
        """The highest value of ``name`` so far, ``value`` included; what is left by rounding is nothing."""
        highest = max(value if value > DUST_USD else 0.0, self._most.get(name, 0.0))
        self._most[name] = highest
        return highest

    def forget(self, accounts: Iterable[RunAccount]) -> None:
        """Drop what belongs to runs that are no longer kept, when it has become much."""
        if len(self._most) > MAX_CEILINGS:
            parts = {account.part for account in accounts}
            self._most = {
                name: value
                for name, value in self._most.items()
                if not name.startswith("run/") or name.split("/", 2)[2] in parts
            }

    def check(self, ledger: Ledger) -> None:
        """Raise unless the figures can have been shown: a price may have been too high once, but not beyond measure.

        Raises:
            ImpossibleStateError: naming the figure.
        """
        totals = ledger.node_ledger.totals(ledger.price)
        usd_per_second = (
            max((usd for usd in ledger.charged.paid.usd_per_hour if usd), default=MAX_USD_PER_HOUR) / SECONDS_PER_HOUR
        )
        most = MOST_TIMES_TOO_HIGH * math.fsum(totals.seconds.values()) * usd_per_second
        most += math.fsum(totals.cost_usd.values())
        # A run may report that it began long before this agent first looked, is charged from then on, and reports later
        # that it had ended long ago: of a run no more is known than that time.
        most_of_run = max(most, MOST_TIMES_TOO_HIGH * ((ledger.cursor or EARLIEST) - EARLIEST) * usd_per_second)
        for name, value in self._most.items():
            limit = MAX_COUNT if name.startswith("run/count") else most_of_run if name.startswith("run/") else most
            if not (is_number(value) and 0 <= value <= limit):
                raise ImpossibleStateError(f"settled: {name}: {value!r} is impossible")

    def state(self) -> dict[str, float]:
        """As JSON-able data."""
        return dict(self._most)

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Settlement:
        """What `state` described."""
        it = cls()
        if not all(is_number(value) and value >= 0 for value in state.values()):
            raise ValueError("settled: a value is not an amount")
        it._most = {str(name): float(value) for name, value in state.items()}
        return it

    @classmethod
    def of_before(cls, state: Mapping[str, Any], ledger: Ledger) -> Settlement:
        """What the version before wrote, which called runs by their ids, not by their parts."""
        parts = {str(run): account.part for run, account in ledger.runs.items()}

        def name(old: str) -> str:
            kind, _, run = old.partition("/")[2].partition("/")
            return f"run/{kind}/{parts.get(run, run)}" if old.startswith("run/") else old

        return cls.restored({name(old): value for old, value in state.items()})


def _rest(exact: float, settled: float) -> float:
    """What may still change; below 0 if a price fell in settled time; what is left by rounding is nothing."""
    rest = exact - settled
    return rest if abs(rest) > DUST_USD else 0.0
