"""What a provider bills for a span of time, so that a report can show what a failed start of 40 seconds will cost.

The rules are data with sources, in ``billing.csv``.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.resources import files

from epochcost.model import PurchaseOption


@dataclass(frozen=True, slots=True)
class BillingRule:
    """Spans of a provider are billed for at least ``minimum_seconds``, and in steps of ``granularity_seconds``.

    Attributes:
        provider: as in `epochcost.model.Node`.
        purchase_option: None for all.
        instance_type: a glob, empty for all.
        minimum_seconds: billed for the shortest span; None if nothing is known, so that no wider rule is taken.
        granularity_seconds: a longer span is rounded up to a multiple of it.
        date: from when it holds, or when it was read, as 2026-11-21.
        source: where it was read.
    """

    provider: str
    purchase_option: PurchaseOption | None
    instance_type: str
    minimum_seconds: float | None
    granularity_seconds: float
    date: str
    source: str

    def fits(self, provider: str, purchase_option: PurchaseOption, instance_type: str) -> bool:
        """Whether the rule is about such a machine."""
        return (
            self.provider == provider
            and self.purchase_option in (None, purchase_option)
            and fnmatchcase(instance_type, self.instance_type or "*")
        )


def billed_seconds(
    provider: str, purchase_option: PurchaseOption, seconds: float, instance_type: str = ""
) -> float | None:
    """What the provider bills for a machine that ran ``seconds``; None if its rule is not known.

    An owned machine has no bill: each second costs the same. Nothing is billed for no time at all.
    """
    if purchase_option is PurchaseOption.OWNED:
        return seconds
    rule = billing_rule(provider, purchase_option, instance_type)
    if rule is None or rule.minimum_seconds is None:
        return None
    if seconds <= 0:
        return 0.0
    steps = math.ceil(round(seconds / rule.granularity_seconds, 9))  # 60.0000000001 s of float noise are 60 s
    return max(rule.minimum_seconds, steps * rule.granularity_seconds)


def billing_rule(provider: str, purchase_option: PurchaseOption, instance_type: str = "") -> BillingRule | None:
    """The first rule that fits; None if none is known."""
    return next((rule for rule in rules() if rule.fits(provider, purchase_option, instance_type)), None)


@lru_cache(maxsize=1)
def rules() -> tuple[BillingRule, ...]:
    """All of ``billing.csv``."""
    text = (files("epochcost.prices") / "billing.csv").read_text(encoding="utf-8")
    return tuple(parse(text.splitlines()))


def parse(lines: Iterable[str]) -> Iterable[BillingRule]:
    """Rules of a list.

    Raises:
        ValueError: for a figure that is none, or not above zero.
    """
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        minimum, step = float(row["minimum_seconds"] or "inf"), float(row["granularity_seconds"] or 1)
        if not (0 < step < math.inf and minimum >= 0):
            raise ValueError(f"billing rule of {row['provider']}: {minimum:g} and {step:g} must be seconds, above 0")
        option = PurchaseOption(row["purchase_option"]) if row["purchase_option"] else None
        known = minimum if minimum < math.inf else None
        yield BillingRule(row["provider"], option, row["instance_type"], known, step, row["date"], row["source"])
