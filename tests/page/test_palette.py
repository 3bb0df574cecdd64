from __future__ import annotations

import re

import pytest
from tests.page.colours import APART, GROUNDS, VISION, closest, contrast, distance

from epochcost.model import RunState, State
from epochcost.palette import PALETTE, SHOWN_AS

STATES = {state.value: colour for state, colour in PALETTE.items()}


def test_every_state_has_a_colour_of_its_own():
    assert set(PALETTE) == set(State)
    assert len(set(PALETTE.values())) == len(State)
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in PALETTE.values())
    assert set(SHOWN_AS) == set(RunState)


@pytest.mark.parametrize("vision", VISION)
def test_any_two_states_are_distinguishable_with_any_colour_vision(vision):
    apart, *pair = closest(STATES, vision)
    assert apart >= APART[vision], pair


@pytest.mark.parametrize("ground", GROUNDS)
def test_each_state_has_a_contrast_of_three_to_one(ground):
    for name, colour in STATES.items():
        assert contrast(colour, GROUNDS[ground]) >= 3, name


# Of the pairs that Sharma, Wu and Dalal published for checking: one of each trap.
@pytest.mark.parametrize(
    ("one", "two", "apart"),
    [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, -1.0, 2.0), (50.0, 0.0, 0.0), 2.3669),
        ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0009), 7.1792),
        ((50.0, 2.5, 0.0), (58.0, 24.0, 15.0), 19.4535),
        ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
        ((90.8027, -2.0831, 1.441), (91.1528, -1.6435, 0.0447), 1.4441),
    ],
)
def test_the_measure_gives_the_published_distances(one, two, apart):
    assert distance(one, two) == pytest.approx(apart, abs=1e-4)
    assert distance(two, one) == pytest.approx(apart, abs=1e-4)
