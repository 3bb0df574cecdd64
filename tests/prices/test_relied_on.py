"""The table of what is relied on has a row for every source, and contains every field that a source names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from epochcost.poller.poller_settings import PollerSettings
from epochcost.prices import SOURCES, make
from epochcost.prices.price_source import NotConfiguredError
from epochcost.prices.runpod import NEEDED, WELCOME

TABLE = (Path(__file__).parents[2] / "docs" / "prices" / "relied-on.md").read_text(encoding="utf-8")
ROWS: dict[str, str] = {}
for match in re.finditer(r"^\| `(\w+)` \|.*$", TABLE, re.MULTILINE):
    ROWS[match[1]] = f"{ROWS.get(match[1], '')}{match[0]}"
FILES_ONLY = {"owned", "listed", "listed_file"}


def names() -> set[str]:
    options = PollerSettings(
        vast_api_key_file="k", lambda_api_key_file="k", digitalocean_api_key_file="k", prices_sources=tuple(SOURCES)
    )
    source_names: set[str] = set()
    for name in SOURCES:
        try:
            source_names |= {source.name for source in make(name, options)}
        except NotConfiguredError:
            source_names.add(name)
    return source_names - FILES_ONLY


def test_every_source_has_its_row_with_a_date() -> None:
    assert names() - ROWS.keys() == set()
    assert [row for row in ROWS.values() if not re.search(r"\| 20\d\d-\d\d \|", row)] == []


@pytest.mark.parametrize("field", [*NEEDED, *WELCOME])
def test_the_fields_requested_from_runpod_are_in_its_row(field: str) -> None:
    assert f"`{field}`" in ROWS["runpod"]
