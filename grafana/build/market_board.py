"""The Market dashboard: prices of machines by zone, as spot, per GPU, and the break-even speed-up of moving."""

from __future__ import annotations

from board import Grid, Heading, most_first, query_variable, to_json
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel
from panels import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    PLAIN,
    RATIO,
    SECONDS,
    USD_PER_HOUR,
    VIOLET,
    About,
    Legend,
    LineStyle,
    Query,
    bars,
    figures,
    first_set,
    lines,
)
from selection import MACHINE
from tables import Column, gauge_cell, name, rows

UID = "epochcost-market"
PRICE = "market:epochcost_price_usd_per_hour:max"
IN_USE = "machine:epochcost_node_info:max"
PER_GPU = "market:epochcost_gpu_price_usd_per_hour:now"
SAVING = "market:epochcost_spot_saving_ratio:now"
OFFER = "provider, region, zone, instance_type, purchase_option"
CHOSEN = '{provider=~"$provider"}'
TYPE = '{instance_type="$instance_type"}'
USD_PER_GPU_HOUR = "suffix:$/GPU-hour"
SPOT = f'max by (provider, region, zone, instance_type) ({PRICE}{{provider=~"$provider", purchase_option="spot"}})'
NO_POLLER = "No price is known: is the price poller scraped?"
PAID = f"max by ({MACHINE}) (node:epochcost_price_usd_per_hour:unified)"
HERE = f"""on () group_left () avg(
  {PAID}
  and on ({MACHINE}) {IN_USE}{{instance_type="$here"}}
)"""
"""Cost per hour of the machine type in use, the mean over its nodes."""
TYPES_IN_USE = f"""sum by (instance_type) (
  {PAID} * on ({MACHINE}) group_left (instance_type) {IN_USE}
)"""
"""Only those with a price: the one that most is spent on comes first."""


def market() -> str:
    """The dashboard as JSON text."""
    grid = Grid()
    _headline(grid)
    grid.band(9, (9, _zones()), (15, _history()))
    grid.band(11, (24, _break_even()))
    grid.band(10, (24, _savings()))
    grid.band(12, (9, _per_gpu()), (7, _ages()), (8, _known()))
    return to_json(
        Heading(
            UID,
            "epochcost / Market",
            "What machines cost by provider, zone and purchase option, and where moving would pay off.",
        ),
        grid,
        [
            query_variable("provider", "Provider", f"label_values({PRICE}, provider)", all_values=True),
            most_first(
                "instance_type",
                "Machine type",
                f"({TYPES_IN_USE} and on (instance_type) {PRICE}{CHOSEN})\n"
                f"or on (instance_type) 0 * max by (instance_type) ({PRICE}{CHOSEN})",
                "instance_type",
            ),
            most_first("here", "In use", TYPES_IN_USE, "instance_type"),
        ],
    )


def _named(expr: str, *labels: str) -> str:
    """Adds label ``offer``, the words of ``labels``, to every series."""
    return f'label_join(\n  {expr},\n  "offer", ", ", {", ".join(f"{chr(34)}{label}{chr(34)}" for label in labels)}\n)'


def _owned_once(expr: str) -> str:
    """Label ``offer`` without a second "owned": that is both the provider and the purchase option of such a machine."""
    return f'label_replace(\n  {expr},\n  "offer", "$1", "offer", "(.*, owned), owned"\n)'


def _by_offer(expr: str, *labels: str) -> str:
    """One value for each offer, and no other label: a table takes those from one query alone."""
    return f"max by (offer) ({_named(expr, *labels)})"


def _placed(expr: str) -> str:
    """Adds label ``place``: the zone, or the region where the price is regional."""
    return f'label_replace(\n  {first_set(expr, "place", "zone", "region")},\n  "place", "anywhere", "place", ""\n)'


def _words(expr: str) -> str:
    """A word instead of an empty zone or region."""
    zone = f'label_replace(\n  {expr},\n  "zone", "whole region", "zone", ""\n)'
    return f'label_replace(\n  {zone},\n  "region", "anywhere", "region", ""\n)'


OF_THE_TYPE = _named(_placed(f"max by (region, zone, purchase_option) ({PRICE}{TYPE})"), "purchase_option", "place")


def _headline(grid: Grid) -> None:
    grid.band(4, (5, _fleet_saving()), (5, _cheapest()), (5, _largest_saving()), (5, _moving()), (4, _oldest()))


def _fleet_saving() -> Builder[Panel]:
    paid = "node:epochcost_price_usd_per_hour:unified"
    listed = "node:epochcost_on_demand_price_usd_per_hour:unified"
    return figures(
        About(
            "Saved by the fleet",
            "1 - current cost of its nodes / their on-demand cost. Machines without an on-demand price, such "
            "as owned ones, are left out.",
            RATIO,
            0,
            empty="No price is known",
        ),
        Query(f"1 - sum({paid} and {listed}) / sum({listed} and {paid})", "Saved"),
        colour=GREEN,
    )


def _cheapest() -> Builder[Panel]:
    cheapest = _owned_once(_named(f"bottomk(1, {PER_GPU}{CHOSEN})", "gpu_model", "provider", "purchase_option"))
    return figures(
        About(
            "Cheapest GPU-hour",
            "The lowest price per GPU of any machine that the poller knows.",
            USD_PER_GPU_HOUR,
        ),
        Query(cheapest, "{{offer}}"),
        colour=GREEN,
        named=True,
    )


def _largest_saving() -> Builder[Panel]:
    saves = _named(_placed(f"topk(1, {SAVING}{CHOSEN})"), "instance_type", "place")
    return figures(
        About("Largest saving of spot", "1 - spot price / on-demand price of the region.", RATIO, 0),
        Query(saves, "{{offer}}"),
        colour=GREEN,
        named=True,
    )


def _moving() -> Builder[Panel]:
    best = f"topk(1, {_on_spot(f'min by (provider, region, instance_type) ({SPOT})')} > 0)"
    return figures(
        About(
            "Missed spot saving",
            "How much less per hour the on-demand machines in use of one type and region would cost at the lowest spot "
            "price there: the type with the largest amount. What moving and preemptions cost is not subtracted.",
            USD_PER_HOUR,
            empty="No machine in use is on demand where spot is cheaper",
        ),
        Query(_named(_words(best), "instance_type", "region"), "{{offer}}"),
        colour=GREEN,
        named=True,
    )


def _on_spot(spot: str) -> str:
    """How much less the on-demand machines of a type and region would cost at ``spot``, where they cost more."""
    on_demand = (
        f'{PAID} * on ({MACHINE}) group_left (provider, region, instance_type) {IN_USE}{{purchase_option="on_demand"}}'
    )
    paid, machines = (f"{how} by (provider, region, instance_type) ({on_demand})" for how in ("sum", "count"))
    same = "on (provider, region, instance_type) group_left ()"
    return f"clamp_min(-({spot} * {same} {machines} - {same} {paid}), 0)"


def _oldest() -> Builder[Panel]:
    return figures(
        About("Oldest price", "The longest time since a source confirmed one of its prices.", SECONDS, 0),
        Query("max(time() - market:epochcost_price_timestamp_seconds:max)", "Oldest"),
        colour=AMBER,
    )


def _zones() -> Builder[Panel]:
    return bars(
        About(
            "Price by zone and purchase option",
            "Current price per hour of the selected machine type in every region and zone.",
            USD_PER_HOUR,
            empty=NO_POLLER,
        ),
        "offer",
        OF_THE_TYPE,
    )


def _history() -> Builder[Panel]:
    return lines(
        About(
            "Price history",
            "The same prices over the time range, as the poller saw them. A line ends where the price is no longer "
            "known.",
            USD_PER_HOUR,
            empty=NO_POLLER,
        ),
        Query(OF_THE_TYPE, "{{offer}}"),
        style=LineStyle(stepped=True, fill=0),
        legend=Legend.BESIDE,
    )


def _savings() -> Builder[Panel]:
    key = ("provider", "region", "zone", "instance_type")
    saves = f"{_on_spot(SPOT)}\nor\n{SPOT} * 0"
    listed = f"""{SPOT} * 0
  + on (provider, region, instance_type) group_left ()
  max by (provider, region, instance_type) ({PRICE}{{purchase_option="on_demand"}})"""
    used = f"""{SPOT} * 0
  + on (provider, region, instance_type) group_left ()
  count by (provider, region, instance_type) ({IN_USE})
or
{SPOT} * 0"""
    model = f"""max by (provider, region, zone, instance_type, gpu_model) (({SPOT} * 0 + 1)
  * on (provider, instance_type) group_left (gpu_model)
  topk by (provider, instance_type) (1, max by (provider, instance_type, gpu_model) (epochcost_instance_gpus)))"""
    return rows(
        About(
            "Savings of spot",
            "Spot price against the on-demand price of the same region. Would save: how much less per hour the "
            "on-demand machines in use there would cost; those come first, then other types in use (with any purchase "
            "option). "
            "Spot machines can be preempted: the saving after lost work is on the Run dashboard.",
            PLAIN,
            empty="No spot price is known",
        ),
        "offer",
        [
            Column("Provider", "provider", width=80),
            Column("Zone, region", "place", width=140, properties=name()),
            Column("Type", "instance_type", properties=name()),
            Column("GPU", "gpu_model", f"max by (offer, gpu_model) ({_named(model, *key)})", ref="D", width=196,
                   properties=name(whole=24)),
            Column("On demand", "B", _by_offer(listed, *key), USD_PER_HOUR, 96),
            Column("Spot", "A", _placed(_named(SPOT, *key)), USD_PER_HOUR, 86),
            Column("Saving", "C", _by_offer(f"{SAVING}{CHOSEN}", *key), RATIO, 96, gauge_cell(GREEN)),
            Column("In use", "E", _by_offer(used, *key), "none", 78),
            Column("Would save", "F", _by_offer(saves, *key), USD_PER_HOUR, 110),
        ],
        sort_by=("Would save", "In use", "Saving"),
    )  # fmt: skip


OFFER_LABELS = ("provider", "region", "zone", "instance_type", "purchase_option")
ALL_OFFERS = f"max by ({OFFER}) ({PRICE}{CHOSEN})"


def _break_even() -> Builder[Panel]:
    return rows(
        About(
            "Break-even speed-up against the machine in use",
            "How many times as fast an epoch has to be on each machine for the same cost per epoch: its price / mean "
            "price of the selected type in use. The same machine type in other places comes first: an epoch takes as "
            "long there, so below 1 it is cheaper. Then machines with the same GPU model, then all others, cheapest "
            "first: measure one epoch there and see Compare.",
            PLAIN,
            empty=NO_POLLER,
        ),
        "offer",
        [
            Column("Provider", "provider", width=80),
            Column("Zone, region", "place", width=140, properties=name()),
            Column("Type", "instance_type", properties=name()),
            Column("Bought", "purchase_option", width=94),
            Column("Price", "A", _placed(_named(ALL_OFFERS, *OFFER_LABELS)), USD_PER_HOUR, 95),
            Column("Per GPU", "B", _by_offer(f"{PER_GPU}{CHOSEN}", *OFFER_LABELS), USD_PER_HOUR, 85),
            Column(
                "Break-even",
                "C",
                _by_offer(f"{ALL_OFFERS} / {HERE}", *OFFER_LABELS),
                "suffix:x as fast",
                142,
                (("color", {"mode": "fixed", "fixedColor": VIOLET}),),
            ),
            _epoch_time_there(),
        ],
        sort_by=("Epoch time there", "Price"),
        rising="Price",
    )


def _epoch_time_there() -> Column:
    """Whether an epoch takes as long on a machine as here: 2 the same type, 1 the same GPU model, 0 not known."""
    mine = 'max by (gpu_model) (epochcost_instance_gpus{instance_type="$here"}) * 0 + 1'
    alike = f"""(
  {ALL_OFFERS.replace(CHOSEN, CHOSEN[:-1] + ', instance_type="$here"}')} * 0 + 2
)
or
(
  {ALL_OFFERS} * 0 + 1
  and on (provider, instance_type) (epochcost_instance_gpus * on (gpu_model) group_left () {mine})
)
or
{ALL_OFFERS} * 0"""
    texts = {"2": ("the same", GREEN), "1": ("same GPU model", BLUE), "0": ("not known", GREY)}
    options = {code: {"text": text, "color": colour, "index": int(code)} for code, (text, colour) in texts.items()}
    return Column(
        "Epoch time there",
        "D",
        _by_offer(alike, *OFFER_LABELS),
        "none",
        142,
        (("mappings", [{"type": "value", "options": options}]), ("custom.cellOptions", {"type": "color-text"})),
    )


def _per_gpu() -> Builder[Panel]:
    cheapest = f"bottomk(10, min by (gpu_model, provider, purchase_option) ({PER_GPU}{CHOSEN}))"
    return bars(
        About(
            "Price of a GPU-hour",
            "By GPU model, provider and purchase option, in the cheapest region and machine size of each; the ten "
            "cheapest. GPU-hours of different models are not comparable.",
            USD_PER_GPU_HOUR,
            empty="No price of a machine with GPUs is known",
        ),
        "offer",
        _owned_once(_named(cheapest, "gpu_model", "provider", "purchase_option")),
    )


def _ages() -> Builder[Panel]:
    return bars(
        About(
            "Age of prices by source",
            "Time since each source last confirmed the oldest of its prices. A dated list ages by itself; prices from "
            "a provider's API should not.",
            SECONDS,
            empty=NO_POLLER,
        ),
        "source",
        "max by (source) (time() - market:epochcost_price_timestamp_seconds:max)",
    )


def _known() -> Builder[Panel]:
    return lines(
        About(
            "Prices known",
            "Number of prices of each source. A drop means that a source no longer returns all of them.",
            "none",
            0,
            empty=NO_POLLER,
        ),
        Query("max by (source) (epochcost_price_source_prices)", "{{source}}"),
        style=LineStyle(fill=0),
        legend=Legend.LINE,
    )
