from __future__ import annotations

import itertools
import math
import re

import pytest

from epochcost.model import State
from epochcost.palette import PALETTE

GROUND = {"dark": "#171a20", "light": "#ffffff"}
# Machado, Oliveira and Fernandes (2009), severity 1, in linear RGB.
VISION = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}


def linear(colour: str) -> list[float]:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def times(matrix, vector) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def oklab(rgb: list[float]) -> list[float]:
    lms = times(
        (
            (0.4122214708, 0.5363325363, 0.0514459929),
            (0.2119034982, 0.6806995451, 0.1073969566),
            (0.0883024619, 0.2817188376, 0.6299787005),
        ),
        [min(1.0, max(0.0, c)) for c in rgb],
    )
    return times(
        (
            (0.2104542553, 0.793617785, -0.0040720468),
            (1.9779984951, -2.428592205, 0.4505937099),
            (0.0259040371, 0.7827717662, -0.808675766),
        ),
        [c ** (1 / 3) for c in lms],
    )


def luminance(colour: str) -> float:
    return sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))


def test_every_state_has_a_colour_of_its_own():
    assert set(PALETTE) == set(State)
    for ground in GROUND:
        colours = [getattr(shade, ground) for shade in PALETTE.values()]
        assert len(set(colours)) == len(State)
        assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours)


@pytest.mark.parametrize("ground", GROUND)
@pytest.mark.parametrize("vision", VISION)
def test_any_two_states_stay_apart_whatever_colours_a_reader_sees(ground, vision):
    seen = {s: oklab(times(VISION[vision], linear(getattr(shade, ground)))) for s, shade in PALETTE.items()}
    near = {(a.value, b.value): math.dist(seen[a], seen[b]) for a, b in itertools.combinations(seen, 2)}
    closest = min(near, key=near.__getitem__)
    assert near[closest] > 0.09, closest


@pytest.mark.parametrize("ground", GROUND)
def test_each_state_stands_out_from_its_ground_by_three_to_one(ground):
    behind = luminance(GROUND[ground])
    for state, shade in PALETTE.items():
        light, dark = sorted((luminance(getattr(shade, ground)), behind), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, state
