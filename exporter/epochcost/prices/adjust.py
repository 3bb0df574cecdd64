"""What is paid, made of what is published: discounts, taxes, rates of one account, and commitments.

The published steps stay as they are in the store. An adjustment is applied to the prices that are served, and may be
dated, so that a contract that begins in March does not change February.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from epochcost.model import MAX_USD_PER_HOUR, Price, PriceStep, PurchaseOption
from epochcost.prices.commitment import Commitment
from epochcost.prices.places import PLACE, Where, entries, mapping, moment_ts, positive, where_of

PUBLISHED = "published"
_KINDS = ("discount-percent", "discount-usd-per-hour", "tax-percent", "commitment-usd-per-hour")
_COMMITTED = ("committed-discount-percent", "machines")
PAID_ALREADY = ("owned", "listed_file")
"""A price that the user configured is adjusted only if the adjustment names that source."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A discount, a tax or a commitment: ``usd * factor + added_usd_per_hour``, from ``since_ts`` to ``until_ts``.

    Attributes:
        name: for people.
        where: which prices.
        source: of which price source; empty for all but `PAID_ALREADY`.
        factor: 0.88 for 12 % off, 1.24 for a tax of 24 %.
        added_usd_per_hour: negative for an absolute discount.
        since_ts, until_ts: in seconds since the Unix epoch.
        account: the account with that rate, a glob; empty for all. It counts only for requests with that account.
        commitment: instead of factor and amount; of on-demand prices only.
    """

    name: str
    where: Where = Where()  # noqa: RUF009 - a frozen value
    source: str = ""
    factor: float = 1.0
    added_usd_per_hour: float = 0.0
    since_ts: float = -math.inf
    until_ts: float = math.inf
    account: str = ""
    commitment: Commitment | None = None

    def applies(self, price: Price, account: str = "") -> bool:
        """Whether it is about ``price`` at any time, for requests with ``account``."""
        by_source = self.source == price.source if self.source else price.source not in PAID_ALREADY
        ours = not self.account or bool(account and fnmatchcase(account, self.account))
        on_demand = self.commitment is None or price.key.purchase_option is PurchaseOption.ON_DEMAND
        return by_source and ours and on_demand and self.where.matches(price.key)

    def parts(self, usd: float) -> dict[str, float]:
        """What it makes of ``usd``: what it adds by its name, or all of what is paid then where it is a commitment."""
        if self.commitment is not None:
            return self.commitment.parts(usd)
        return {self.name: usd * (self.factor - 1) + self.added_usd_per_hour}

    def paid(self, usd: float) -> float:
        """What is paid where it was ``usd`` before."""
        if self.commitment is not None:
            return self.commitment.effective(usd)
        return usd * self.factor + self.added_usd_per_hour


@dataclass(frozen=True, slots=True)
class Adjustments:
    """All of them, applied in their order."""

    entries: tuple[Adjustment, ...] = field(default=())

    def __call__(self, price: Price) -> Price | None:
        """What all accounts pay where ``price`` is published; None if that would be nothing or less."""
        return self.paid(price)

    def paid(self, price: Price, account: str = "") -> Price | None:
        """What ``account`` pays where ``price`` is published; None if that would be nothing or less."""
        used = [entry for entry in self.entries if entry.applies(price, account)]
        if not used:
            return price
        times = {step.ts for step in price.steps}
        bounds = {ts for entry in used for ts in (entry.since_ts, entry.until_ts)}
        times |= {ts for ts in bounds if price.steps[0].ts < ts < math.inf}
        steps: list[PriceStep] = []
        for ts in sorted(times):
            usd = _published(price, ts)
            for entry in _in_effect(used, ts):
                usd = entry.paid(usd) if usd > 0 else usd
            if not 0 < usd <= MAX_USD_PER_HOUR:
                return None
            if not steps or steps[-1].usd_per_hour != usd:
                steps.append(PriceStep(ts, usd))
        return replace(price, steps=tuple(steps))

    def parts(self, published: Price, ts: float, account: str = "") -> Mapping[str, float]:
        """Of what the price at ``ts`` is made, by name; it sums to what is paid. Empty if nothing is adjusted."""
        used = [entry for entry in _in_effect(self.entries, ts) if entry.applies(published, account)]
        if not used or not any(step.ts <= ts for step in published.steps):
            return {}
        components = {PUBLISHED: _published(published, ts)}
        for entry in used:
            before = sum(components.values())
            if before <= 0:
                return {}
            components = entry.parts(before) if entry.commitment is not None else {**components, **entry.parts(before)}
        return components


def _published(price: Price, ts: float) -> float:
    return next(step.usd_per_hour for step in reversed(price.steps) if step.ts <= ts)


def _in_effect(entries: Iterable[Adjustment], ts: float) -> list[Adjustment]:
    return [entry for entry in entries if entry.since_ts <= ts < entry.until_ts]


def parse_adjustments(raw: object) -> Adjustments:
    """The YAML list ``adjustments:``.

    Raises:
        ValueError: naming the entry, the key, its value and what is allowed.
    """
    return Adjustments(tuple(_adjustment(entry, f"adjustment {n}") for n, entry in entries(raw)))


def _adjustment(entry: object, where: str) -> Adjustment:
    values = mapping(entry, ("name", *PLACE, "account", "source", *_KINDS, *_COMMITTED, "from", "until"), where)
    keys = [key for key in _KINDS if key in values]
    if len(keys) != 1:
        raise ValueError(f"{where}: give one of {', '.join(_KINDS)}, not {keys}")
    kind = keys[0]
    since, until = moment_ts(values, "from", where, -math.inf), moment_ts(values, "until", where, math.inf)
    if until <= since:
        raise ValueError(f"{where}: until: {values['until']!r} is not after from")
    name = str(values.get("name", kind))
    figure = positive(values, kind, where, most=100.0 if kind == "discount-percent" else math.inf)
    return Adjustment(
        name=name,
        where=where_of(values),
        source=str(values.get("source", "")),
        factor={"discount-percent": 1 - figure / 100, "tax-percent": 1 + figure / 100}.get(kind, 1.0),
        added_usd_per_hour=-figure if kind == "discount-usd-per-hour" else 0.0,
        since_ts=since,
        until_ts=until,
        account=str(values.get("account", "")),
        commitment=_commitment(name, figure, values, where) if kind == "commitment-usd-per-hour" else None,
    )


def _commitment(name: str, usd_per_hour: float, values: Mapping[str, Any], where: str) -> Commitment:
    discount = positive(values, "committed-discount-percent", where, most=100.0)
    return Commitment(name, usd_per_hour, 1 - discount / 100, positive(values, "machines", where))
