"""The page about prices names every setting and every metric of the poller."""

from __future__ import annotations

from pathlib import Path

from epochcost.poller.collector import PollerCollector
from epochcost.poller.settings import PollerSettings
from epochcost.poller.snapshot import PollerSnapshot
from epochcost.prices import SOURCES
from epochcost.prices.price_list import NEEDED, OPTIONAL
from epochcost.settings import options

PAGE = (Path(__file__).parents[2] / "docs" / "prices.md").read_text(encoding="utf-8")


def test_every_setting_is_on_the_page() -> None:
    flags = [f"--{each.flag}" for each in options(PollerSettings).values() if not each.structured]
    assert [flag for flag in flags if flag not in PAGE] == []


def test_every_metric_is_on_the_page() -> None:
    families = PollerCollector(lambda: PollerSnapshot(0.0)).collect()
    names = [f.name + ("_total" if f.type == "counter" else "") for f in families]
    assert [name for name in names if f"`{name}`" not in PAGE] == []


def test_every_source_and_every_column_of_a_list_is_on_the_page() -> None:
    assert [name for name in (*SOURCES, *NEEDED, *OPTIONAL) if f"`{name}`" not in PAGE] == []
