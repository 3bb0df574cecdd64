from __future__ import annotations

import re

import pytest
from tests.grafana.boards import ROOT
from tests.page.colours import APART, GROUNDS, VISION, closest, contrast

from epochcost.palette import PALETTE

FILES = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
USED = {colour for path in FILES for colour in re.findall('"(#[0-9a-f]{6})"', path.read_text())}
ACCENTS = USED - set(PALETTE.values())
"""What is no state."""


@pytest.mark.parametrize("vision", VISION)
def test_any_two_accents_stay_apart_whatever_colours_a_reader_sees(vision):
    assert len(ACCENTS) > 1
    apart, *pair = closest({colour: colour for colour in ACCENTS}, vision)
    assert apart >= APART[vision], pair


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("colour", sorted(USED))
def test_every_colour_stands_out_from_both_themes_by_three_to_one(colour, ground):
    assert contrast(colour, GROUNDS[ground]) >= 3
