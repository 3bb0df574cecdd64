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
def test_any_two_accents_are_distinguishable_with_any_colour_vision(vision):
    assert len(ACCENTS) > 1
    apart, *pair = closest({colour: colour for colour in ACCENTS}, vision)
    assert apart >= APART[vision], pair


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("colour", sorted(USED))
def test_every_colour_has_a_contrast_of_three_to_one_in_both_themes(colour, ground):
    assert contrast(colour, GROUNDS[ground]) >= 3
