"""The Market dashboard: what machines cost elsewhere, as spot, per GPU, and how much faster they would have to be."""

from __future__ import annotations

from board import Grid, dearest_first, query_variable, to_json
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
    Column,
    Legend,
    Query,
    bars,
    figures,
    first_said,
    gauge_cell,
    lines,
    rows,
)
from selection import MACHINE

UID = "epochcost-market"
PRICE = "market:epochcost_price_usd_per_hour:max"
IN_USE = "machine:epochcost_node_info:max"
PER_GPU = "market:epochcost_gpu_price_usd_per_hour:now"
SAVING = "market:epochcost_spot_saving_ratio:now"
OFFER = "provider, region, zone, instance_type, purchase_option"
CHOSEN = '{provider=~"$provider"}'
TYPE = '{instance_type="$instance_type"}'
USD_PER_GPU_HOUR = "suffix:$/GPU-hour"
NO_POLLER = "No price is known: is the price poller scraped?"
PAID = f"max by ({MACHINE}) (node:epochcost_price_usd_per_hour:unified)"
HERE = f"""on () group_left () avg(
  {PAID}
  and on ({MACHINE}) {IN_USE}{{instance_type="$here"}}
)"""
"""What the machine type in use costs an hour, on the mean over its nodes."""
TYPES_IN_USE = f"""sum by (instance_type) (
  {PAID} * on ({MACHINE}) group_left (instance_type) {IN_USE}
)"""
"""Only those with a price: the one that most is spent on comes first."""


def market() -> str:
    """The dashboard as JSON text."""
    grid = Grid()
    _headline(grid)
    grid.band(9, (9, _zones()), (15, _history()))
    grid.band(10, (24, _savings()))
    grid.band(13, (16, _break_even()), (8, _per_gpu()))
    grid.band(8, (12, _ages()), (12, _known()))
    return to_json(
        UID,
        "epochcost / Market",
        "What machines cost by provider, zone and purchase option, and when moving pays.",
        grid,
        [
            query_variable("provider", "Provider", f"label_values({PRICE}, provider)", all_values=True),
            dearest_first(
                "instance_type",
                "Machine type",
                f"({TYPES_IN_USE} and on (instance_type) {PRICE}{CHOSEN})\n"
                f"or on (instance_type) 0 * max by (instance_type) ({PRICE}{CHOSEN})",
            ),
            dearest_first("here", "In use", TYPES_IN_USE),
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
    return f'label_replace(\n  {first_said(expr, "place", "zone", "region")},\n  "place", "anywhere", "place", ""\n)'


def _words(expr: str) -> str:
    """A word instead of an empty zone or region."""
    zone = f'label_replace(\n  {expr},\n  "zone", "whole region", "zone", ""\n)'
    return f'label_replace(\n  {zone},\n  "region", "anywhere", "region", ""\n)'


OF_THE_TYPE = _named(_placed(f"max by (region, zone, purchase_option) ({PRICE}{TYPE})"), "purchase_option", "place")


def _headline(grid: Grid) -> None:
    paid = "node:epochcost_price_usd_per_hour:unified"
    listed = "node:epochcost_on_demand_price_usd_per_hour:unified"
    cheapest = _owned_once(_named(f"bottomk(1, {PER_GPU}{CHOSEN})", "gpu_model", "provider", "purchase_option"))
    saves = _named(_placed(f"topk(1, {SAVING}{CHOSEN})"), "instance_type", "place")
    grid.band(
        4,
        (
            5,
            figures(
                About(
                    "Saved by the fleet",
                    "1 - what its nodes cost now / what they would cost on demand; machines without an on-demand price "
                    "(owned ones) are left out.",
                    RATIO,
                    0,
                ),
                Query(f"1 - sum({paid} and {listed}) / sum({listed} and {paid})", "Saved"),
                colour=GREEN,
            ),
        ),
        (
            7,
            figures(
                About("Cheapest GPU-hour", "The lowest price of a machine over its GPUs.", USD_PER_GPU_HOUR),
                Query(cheapest, "{{offer}}"),
                colour=GREEN,
                named=True,
            ),
        ),
        (
            7,
            figures(
                About("Largest saving of spot", "1 - spot price / on-demand price of the region.", RATIO, 0),
                Query(saves, "{{offer}}"),
                colour=GREEN,
                named=True,
            ),
        ),
        (
            5,
            figures(
                About("Oldest price", "The longest that any source has not confirmed a price of its own.", SECONDS, 0),
                Query("max(time() - market:epochcost_price_timestamp_seconds:max)", "Oldest"),
                colour=AMBER,
            ),
        ),
    )


def _zones() -> Builder[Panel]:
    return bars(
        About(
            "Spot by zone against on demand",
            "What an hour of the chosen machine type costs now, in every region and zone.",
            USD_PER_HOUR,
            empty=NO_POLLER,
        ),
        "offer",
        OF_THE_TYPE,
        long_names=True,
    )


def _history() -> Builder[Panel]:
    return lines(
        About(
            "Price history",
            "The same prices over the time range, as the poller saw them. A line that ends is a price that is no "
            "longer known, not one that fell to zero.",
            USD_PER_HOUR,
            empty=NO_POLLER,
        ),
        Query(OF_THE_TYPE, "{{offer}}"),
        stepped=True,
        fill=0,
        legend=Legend.BESIDE,
    )


def _savings() -> Builder[Panel]:
    key = ("provider", "region", "zone", "instance_type")
    spot = f'max by (provider, region, zone, instance_type) ({PRICE}{{provider=~"$provider", purchase_option="spot"}})'
    listed = f"""{spot} * 0
  + on (provider, region, instance_type) group_left ()
  max by (provider, region, instance_type) ({PRICE}{{purchase_option="on_demand"}})"""
    used = f"""{spot} * 0
  + on (provider, region, instance_type) group_left ()
  count by (provider, region, instance_type) ({IN_USE})
or
{spot} * 0"""
    model = f"""max by (provider, region, zone, instance_type, gpu_model) (({spot} * 0 + 1)
  * on (provider, instance_type) group_left (gpu_model)
  topk by (provider, instance_type) (1, max by (provider, instance_type, gpu_model) (epochcost_instance_gpus)))"""
    return rows(
        About(
            "Savings of spot",
            "Spot price against the on-demand price of the same region, of machine types in use there first (however "
            "they are bought). A spot machine can go away; what counts in the "
            "end is the saving after lost work, on the Run dashboard.",
            PLAIN,
            empty="No spot price is known",
        ),
        "offer",
        [
            Column("Provider", "provider", width=90),
            Column("Region", "region", width=120),
            Column("Zone", "zone", width=120),
            Column("Type", "instance_type"),
            Column("GPU", "gpu_model", f"max by (offer, gpu_model) ({_named(model, *key)})", ref="D"),
            Column("On demand", "B", _by_offer(listed, *key), USD_PER_HOUR, 110),
            Column("Spot", "A", _words(_named(spot, *key)), USD_PER_HOUR, 110),
            Column("In use", "E", _by_offer(used, *key), "none", 78),
            Column("Saving", "C", _by_offer(f"{SAVING}{CHOSEN}", *key), RATIO, 120, gauge_cell(GREEN)),
        ],
        sort_by=("In use", "Saving"),
    )


def _break_even() -> Builder[Panel]:
    key = ("provider", "region", "zone", "instance_type", "purchase_option")
    price = f"max by ({OFFER}) ({PRICE}{CHOSEN})"
    mine = 'max by (gpu_model) (epochcost_instance_gpus{instance_type="$here"}) * 0 + 1'
    alike = f"""(
  {price.replace(CHOSEN, CHOSEN[:-1] + ', instance_type="$here"}')} * 0 + 2
)
or
(
  {price} * 0 + 1
  and on (provider, instance_type) (epochcost_instance_gpus * on (gpu_model) group_left () {mine})
)
or
{price} * 0"""
    words = {"2": ("same machine", GREEN), "1": ("same GPU", BLUE), "0": ("measure it", GREY)}
    known = {code: {"text": text, "color": colour, "index": int(code)} for code, (text, colour) in words.items()}
    return rows(
        About(
            "Break-even speed-up against the machine in use",
            "How many times as fast an epoch would have to be there for the same cost per epoch: price there / mean "
            "price of the chosen type in use. The same machine elsewhere comes first: there an epoch takes as long, "
            "and what is below 1 helps. Then machines with the same GPU, and others, the cheapest first: time does not "
            "carry over to them, measure one epoch and look at Compare.",
            PLAIN,
            empty=NO_POLLER,
        ),
        "offer",
        [
            Column("Provider", "provider", width=64),
            Column("Zone, region", "place", width=105),
            Column("Type", "instance_type"),
            Column("Bought", "purchase_option", width=88),
            Column(
                "Price",
                "A",
                _placed(_named(price, *key)),
                USD_PER_HOUR,
                95,
            ),
            Column("Per GPU", "B", _by_offer(f"{PER_GPU}{CHOSEN}", *key), USD_PER_HOUR, 85),
            Column(
                "Has to be",
                "C",
                _by_offer(f"{price} / {HERE}", *key),
                "suffix:x as fast",
                124,
                (("color", {"mode": "fixed", "fixedColor": VIOLET}),),
            ),
            Column(
                "Time known",
                "D",
                _by_offer(alike, *key),
                "none",
                104,
                (("mappings", [{"type": "value", "options": known}]), ("custom.cellOptions", {"type": "color-text"})),
            ),
        ],
        sort_by=("Time known", "Has to be"),
        rising="Has to be",
    )


def _per_gpu() -> Builder[Panel]:
    cheapest = f"bottomk(10, min by (gpu_model, provider, purchase_option) ({PER_GPU}{CHOSEN}))"
    return bars(
        About(
            "Price of a GPU-hour",
            "By GPU model, provider and purchase option, the cheapest region and machine size of each; the ten "
            "cheapest. A GPU-hour of one model is not worth one of another.",
            USD_PER_GPU_HOUR,
            empty="No price of a machine with a known number of GPUs",
        ),
        "offer",
        _owned_once(_named(cheapest, "gpu_model", "provider", "purchase_option")),
        long_names=True,
    )


def _ages() -> Builder[Panel]:
    return bars(
        About(
            "Age of prices by source",
            "How long ago each source last confirmed the oldest of its prices. A dated list grows old by itself; "
            "a cloud's API should not.",
            SECONDS,
            empty=NO_POLLER,
        ),
        "source",
        "max by (source) (time() - market:epochcost_price_timestamp_seconds:max)",
        long_names=True,
    )


def _known() -> Builder[Panel]:
    return lines(
        About(
            "Prices known",
            "How many prices each source gives. A fall to fewer means that a source no longer answers in full.",
            "none",
            0,
            empty=NO_POLLER,
        ),
        Query("max by (source) (epochcost_price_source_prices)", "{{source}}"),
        fill=0,
        legend=Legend.LINE,
    )
