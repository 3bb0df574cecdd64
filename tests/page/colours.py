"""Distance and contrast of two colours, for readers with and without colour blindness."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency" (IEEE TVCG
# 15, 2009), table 1 at severity 1.0, in linear RGB.
VISION = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}
# sRGB to XYZ (IEC 61966-2-1), and its white, D65.
XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
WHITE = (0.95047, 1.0, 1.08883)
GROUNDS = {
    "the live page's card, dark": "#171a20",
    "Grafana's panel, dark": "#181b1f",
    "the live page's card and Grafana's panel, light": "#ffffff",
}
APART = {"normal": 16.0, "protanopia": 10.0, "deuteranopia": 10.0, "tritanopia": 10.0}
"""CIEDE2000; about 2 is just noticeable side by side, 10 is plain at a glance."""
Lab = tuple[float, float, float]


def linear(colour: str) -> list[float]:
    """Linear RGB of ``#rrggbb``."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def times(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def lab(colour: str, vision: str = "normal") -> Lab:
    """CIELAB of a colour as perceived with that vision."""
    perceived = [min(1.0, max(0.0, c)) for c in times(VISION[vision], linear(colour))]
    ratios = [a / b for a, b in zip(times(XYZ, perceived), WHITE, strict=True)]
    x, y, z = (t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in ratios)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def distance(one: Lab, two: Lab) -> float:
    """CIEDE2000, with the letters of Sharma, Wu and Dalal (Color Research and Application 30, 2005)."""
    big_c = (math.hypot(*one[1:]) + math.hypot(*two[1:])) / 2
    stretch = 1.5 - 0.5 * math.sqrt(big_c**7 / (big_c**7 + 25**7))
    (l1, c1, h1), (l2, c2, h2) = _polar(one, stretch), _polar(two, stretch)
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    l_mean, c_mean = (l1 + l2) / 2, (c1 + c2) / 2
    h_mean = math.radians(h1 + turn / 2 if c1 * c2 else h1 + h2)
    t = 1 - 0.17 * math.cos(h_mean - math.radians(30)) + 0.24 * math.cos(2 * h_mean)
    t += 0.32 * math.cos(3 * h_mean + math.radians(6)) - 0.2 * math.cos(4 * h_mean - math.radians(63))
    dl = (l2 - l1) / (1 + 0.015 * (l_mean - 50) ** 2 / math.sqrt(20 + (l_mean - 50) ** 2))
    dc = (c2 - c1) / (1 + 0.045 * c_mean)
    dh = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2)) / (1 + 0.015 * c_mean * t)
    theta = math.radians(60 * math.exp(-(((math.degrees(h_mean) % 360 - 275) / 25) ** 2)))
    rotation = -2 * math.sqrt(c_mean**7 / (c_mean**7 + 25**7)) * math.sin(theta)
    return math.sqrt(dl**2 + dc**2 + dh**2 + rotation * dc * dh)


def _polar(colour: Lab, stretch: float) -> tuple[float, float, float]:
    lightness, a, b = colour
    return lightness, math.hypot(a * stretch, b), math.degrees(math.atan2(b, a * stretch)) % 360


def closest(colours: Mapping[str, str], vision: str) -> tuple[float, str, str]:
    """The two colours that are hardest to distinguish, and their distance."""
    perceived = {name: lab(colour, vision) for name, colour in colours.items()}
    return min((distance(perceived[a], perceived[b]), a, b) for a, b in itertools.combinations(perceived, 2))


def contrast(one: str, two: str) -> float:
    """WCAG's ratio of the luminances."""
    low, high = sorted(times(XYZ[1:2], linear(c))[0] for c in (one, two))
    return (high + 0.05) / (low + 0.05)
