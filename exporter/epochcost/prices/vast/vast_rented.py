"""What the user's own machines at vast.ai cost: the rate of the contract, not that of the market."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.allowances import Credit
from epochcost.prices.gpu_model import canonical
from epochcost.prices.http_json import HttpError, JsonApi
from epochcost.prices.json_fields import FieldError, number, optional_number, rows, unknown_prices
from epochcost.prices.price_source import (
    Catalogue,
    PriceRequests,
    PriceSourceError,
    Want,
    summary,
    without_contradictions,
)

NAME = "vast_rented"
PROVIDER = "vastai"
MOST_MACHINES = 500
NOT_FOUND = 404
PAGE_SIZE = 25
"""The API's maximum page size."""
MIB = 1024**2
# fmt: off
KNOWN_PRICES = frozenset((
    "dph_base", "dph_total", "dph_total_adj", "min_bid", "is_bid", "storage_cost", "storage_total_cost", "inet_up_cost",
    "inet_down_cost", "vram_costperhour", "discount_rate", "discounted_hourly", "discounted_dph_total",
    "reserved_discount_rate", "internet_up_cost_per_tb", "internet_down_cost_per_tb", "dlperf_per_dphtotal",
    "flops_per_dphtotal",
))
# fmt: on


@dataclass(frozen=True, slots=True)
class VastRented:
    """Every machine of the account with a running contract; a stopped one pays for its disk only and is left out."""

    url: str
    refresh_seconds: float
    api: JsonApi
    name: str = NAME
    provider: str = PROVIDER
    watched: frozenset[Want] = frozenset()

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:  # noqa: ARG002 - all there are, whatever is wanted
        """All pages, or an error; a machine that cannot be read leaves the others alone."""
        problems: list[str] = []
        machines = self._machines(problems)
        running = [row for row in machines if row.get("cur_state") == "running"]
        prices: list[Price] = []
        facts: list[InstanceFacts] = []
        if len(running) > MOST_MACHINES:
            problems.append(f"vast_rented: {len(running)} machines are running: only {MOST_MACHINES} are priced")
        for row in running[:MOST_MACHINES]:
            try:
                prices.append(_price(row, now))
                facts.append(_facts(row))
            except ValueError as err:  # noqa: PERF203 - one machine leaves the others alone
                problems.append(f"vast_rented: machine {row.get('id')!r:.20}: {err}")
        priced = without_contradictions(NAME, prices, problems)
        if problems and not priced:
            raise PriceSourceError(summary(problems))
        notes = [] if running else [f"vast_rented: none of the {len(machines)} machines of this account is running"]
        whole = not problems
        left = self._credit(sum(price.usd_per_hour for price in priced) if whole else None, now, notes)
        return Catalogue(
            priced,
            tuple(facts),
            tuple(problems),
            complete=True,
            notes=tuple(notes),
            credits=left,
            unknown=unknown_prices(machines, KNOWN_PRICES),
        )

    def _credit(self, spend_usd_per_hour: float | None, now: float, notes: list[str]) -> tuple[Credit, ...]:
        """Remaining credit of the account: machines end when it is used up. No price depends on it: no retries."""
        try:
            answer = replace(self.api, attempts=1).get(versioned(self.url, "v0", "users/current"))
            return (
                Credit(
                    "vast.ai account", PROVIDER, number(answer, "credit"), now, spend_usd_per_hour=spend_usd_per_hour
                ),
            )
        except (HttpError, FieldError) as err:
            notes.append(f"vast_rented: the account's remaining credit is not known ({err}); the key needs user_read")
            return ()

    def _machines(self, problems: list[str]) -> list[Mapping[str, Any]]:
        try:
            pages = self._pages("v1")
        except HttpError as err:
            if err.status != NOT_FOUND:
                raise
            pages = self._of_before(err)
        try:
            odd: list[str] = []
            came = sum(len(page["instances"]) for page in pages if isinstance(page.get("instances"), list))
            instances = [row for page in pages for row in rows(page, "instances", odd)]
            promised = optional_number(pages[0], "total_instances")
        except FieldError as err:
            raise PriceSourceError(f"vast_rented: not a response of vast.ai's list of instances: {err}") from None
        if promised is not None and promised > came:  # a part would look like machines that were returned
            raise PriceSourceError(f"vast_rented: {came} of {promised:g} instances received: a part is not used")
        problems += [f"vast_rented: {each}" for each in odd]
        return instances

    def _pages(self, version: str) -> list[dict[str, Any]]:
        url = versioned(self.url, version, "instances")
        return list(self.api.token_pages(url, {"limit": str(PAGE_SIZE)}, "next_token", "after_token"))

    def _of_before(self, err: HttpError) -> list[dict[str, Any]]:
        """A mirror without version 1 may still have version 0; otherwise the response of version 1 counts."""
        try:
            return self._pages("v0")
        except HttpError:
            raise err from None


def versioned(url: str, version: str, resource: str) -> str:
    """URL of a resource: instances are in version 1 of the API, offers still in version 0.

    ``url`` is that of the API with any version, or with none.
    """
    return f"{re.sub(r'/v[0-9]+$', '', url.rstrip('/'))}/{version}/{resource}/"


def _name(row: Mapping[str, Any]) -> str:
    """``C.12345678``, as the machine itself has it in ``VAST_CONTAINERLABEL``."""
    return f"C.{number(row, 'id'):.0f}"


def _price(row: Mapping[str, Any], now: float) -> Price:
    """``dph_total`` is per hour for the whole machine with its disk; the region is empty, for the name is unique."""
    is_bid = row.get("is_bid")
    if not isinstance(is_bid, bool):
        raise FieldError(f"is_bid: {is_bid!r:.80} is neither true nor false")
    option = PurchaseOption.SPOT if is_bid else PurchaseOption.ON_DEMAND
    key = PriceKey(PROVIDER, "", "", _name(row), option)
    return Price(key, (PriceStep(-math.inf, number(row, "dph_total")),), NAME, now)


def _facts(row: Mapping[str, Any]) -> InstanceFacts:
    memory_mib = optional_number(row, "gpu_ram")
    memory_bytes = None if memory_mib is None else round(memory_mib * MIB)
    return InstanceFacts(
        provider=PROVIDER,
        instance_type=_name(row),
        gpu_model=canonical(str(row.get("gpu_name") or ""), memory_bytes),
        gpus=optional_number(row, "num_gpus"),
        gpu_memory_bytes=memory_bytes,
        vcpus=optional_number(row, "cpu_cores_effective"),
    )
