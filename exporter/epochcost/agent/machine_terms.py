"""What applies to this machine besides its hourly price: free hours, session limits, credit, and traffic by the GB."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from epochcost.agent.credit_spending import CreditSpending
from epochcost.agent.egress import EgressAccount
from epochcost.agent.node_terms import ChargedMachine, terms_at
from epochcost.agent.snapshot import NodeTerms, Purse
from epochcost.ledger import Ledger
from epochcost.prices.allowances import Credit, Limit
from epochcost.prices.free_hours import OtherUse, Window, free_windows, period_of, used_in
from epochcost.prices.quote import PriceTerms

log = logging.getLogger(__name__)
_NOT_AN_ACCOUNT = (LookupError, TypeError, ValueError, AttributeError, OverflowError)


class MachineTerms:
    """Limits and credit of one machine, and how much of them is used.

    Args:
        limits: limits of the provider that are configured here; a poller may know more.
        credits_: credit configured here that pays for this machine.
        account: name of the provider account; empty if not configured.

    Attributes:
        account_hours: seconds that other machines of the account have used of a limit since a time; None if unknown.
        egress: bytes sent, and their cost.
        spending: what this machine has spent of configured credit.
    """

    def __init__(self, limits: Iterable[Limit] = (), credits_: Iterable[Credit] = (), account: str = "") -> None:
        self.limits = tuple(limits)
        self.credits = tuple(credits_)
        self.account = account
        self.account_hours: Callable[[str, float], float | None] = lambda *_: None
        self.egress = EgressAccount()
        self.spending = CreditSpending()
        self._hours_checked = -math.inf
        self._hours_known = False

    def free(self, received: PriceTerms, ledger: Ledger, cursor: float) -> tuple[list[Window], float]:
        """The windows in which only extras are charged, and what the extras cost per hour.

        Args:
            received: as last received with the price.
            ledger: knows when this machine was running, and which windows were free before.
            cursor: the instant up to which everything is accounted.
        """
        limits = (*self.limits, *received.limits)
        limit = _with_free_hours(limits)
        elsewhere = self.account_hours(limit.name, period_of(limit, cursor)[0]) if limit is not None else None
        other_use = OtherUse(elsewhere or 0.0, self._hours_checked)
        windows = free_windows(limits, _running(ledger), cursor, ledger.charged.free, other_use)
        self._hours_known = elsewhere is not None
        self._hours_checked = cursor if elsewhere is not None else self._hours_checked
        return windows, received.extras_usd_per_hour

    def describe(self, received: PriceTerms, ledger: Ledger, boot_ts: float | None, now: float) -> NodeTerms:
        """The terms as of ``now`` of a machine booted at ``boot_ts``; ``received`` and ``ledger`` as in `free`."""
        limits = (*self.limits, *received.limits)
        received = replace(received, credits=(*self.credits, *received.credits))
        price = ledger.price.at(now)

        def machine_purse(credit: Credit) -> Purse:
            return self._machine_purse(credit, ledger, price, now)

        terms = terms_at(received, ChargedMachine(limits, ledger.charged.free, price, boot_ts), now, machine_purse)
        limit = _with_free_hours(limits)
        return replace(
            terms,
            free_used=() if limit is None else ((limit.name, used_in(period_of(limit, now), _running(ledger))),),
            free_account=self.account,
            free_scope="account" if self._hours_known else "machine",
            egress_bytes=dict(self.egress.sent),
            egress_usd=dict(self.egress.usd),
        )

    def _machine_purse(self, credit: Credit, ledger: Ledger, usd_per_hour: float | None, now: float) -> Purse:
        node_ledger, price = ledger.node_ledger, ledger.price
        cost_usd = math.fsum(node_ledger.totals(price).cost_usd.values())
        since_usd = None if self.spending.knows(credit) else node_ledger.usd_since(credit.as_of_ts, price)
        return self.spending.purse(credit, cost_usd, since_usd, usd_per_hour, now)

    def state(self) -> dict[str, Any]:
        """Egress and spending as JSON-able data."""
        return {"egress": self.egress.state(), "credits": self.spending.state()}

    @staticmethod
    def accounts(state: Mapping[str, Any]) -> tuple[EgressAccount, CreditSpending]:
        """What `state` described; an earlier agent may have saved neither.

        An impossible part starts empty, and is logged: the hours and dollars of the ledger do not depend on it.
        """
        egress, spending = EgressAccount(), CreditSpending()
        try:
            egress = EgressAccount.restored(state["egress"]) if "egress" in state else egress
        except _NOT_AN_ACCOUNT as err:
            log.warning("traffic accounting starts over: %s: %s", type(err).__name__, str(err)[:200])
        try:
            spending = CreditSpending.restored(state.get("credits", {}))
        except _NOT_AN_ACCOUNT as err:
            log.warning("accounting of spent credit starts over: %s: %s", type(err).__name__, str(err)[:200])
        return egress, spending


def _running(ledger: Ledger) -> Sequence[Window]:
    """When this machine was up, as far as the ledger reaches back."""
    return [(span.start, span.end) for span in ledger.node_ledger.spans]


def _with_free_hours(limits: Iterable[Limit]) -> Limit | None:
    """The limit whose free hours count: the first that has any."""
    return next((each for each in limits if each.free_seconds is not None), None)
