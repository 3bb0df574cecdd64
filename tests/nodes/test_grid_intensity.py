"""Grams of CO2 for a kWh: as people say, else by a dated list where they wish it, else unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.driven import Driven, World

from epochcost.model import Node
from epochcost.nodes.grid_intensity import GOOGLE_2024, SOURCE, listed_intensity
from epochcost.settings import SettingsError

GOOGLE = {"node__provider": "gcp", "node__region": "europe-west9"}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[..., Driven]]:
    made: list[Driven] = []

    def start(**flags: str) -> Driven:
        made.append(Driven(World(tmp_path), **flags))
        made[-1].run(2)
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.mark.parametrize(
    ("flags", "source", "grams"),
    [
        ({**GOOGLE, "grid__listed": "true"}, SOURCE, GOOGLE_2024["europe-west9"]),
        ({**GOOGLE, "grid__listed": "true", "grid__grams_per_kwh": "21"}, "configured", 21.0),
        ({"grid__grams_per_kwh": "350"}, "configured", 350.0),
    ],
)
def test_who_says_what_the_grid_emits_is_told(
    agent: Callable[..., Driven], flags: dict[str, str], source: str, grams: float
) -> None:
    assert agent(**flags).value("node_grid_grams_per_kwh", source=source) == grams


@pytest.mark.parametrize(
    "flags",
    [
        GOOGLE,  # not wished
        {"node__provider": "aws", "node__region": "europe-west9", "grid__listed": "true"},
        {"node__provider": "gcp", "node__region": "mars-north1", "grid__listed": "true"},
        {"grid__listed": "true"},
    ],
)
def test_what_nobody_says_is_absent(agent: Callable[..., Driven], flags: dict[str, str]) -> None:
    assert not [name for name, _ in agent(**flags).scrape() if "grid" in name]


def test_the_list_holds_grams_that_a_grid_can_emit() -> None:
    assert all(0 < grams < 1200 for grams in GOOGLE_2024.values())
    assert listed_intensity(Node("n", "gcp", "us-central1")) == (412.72, SOURCE)


@pytest.mark.parametrize(
    ("flag", "source", "refused"),
    [
        ("grid__grams_per_kwh", "3000", "450000"),  # grams per MWh
        ("energy__usd_per_kwh", "0.31", "31"),  # cents
    ],
)
def test_a_figure_in_another_unit_is_refused_with_the_name_of_its_flag(
    agent: Callable[..., Driven], flag: str, source: str, refused: str
) -> None:
    agent(**{flag: source})
    with pytest.raises(SettingsError, match=rf"--{flag.replace('__', '.').replace('_', '-')}: .*expected at most"):
        agent(**{flag: refused})
