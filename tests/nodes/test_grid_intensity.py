"""Grams of CO2 per kWh: as configured, else from a dated list if enabled, else unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.driven_agent import DrivenAgent, SimulatedMachine

from epochcost.model import Node
from epochcost.nodes.grid_intensity import GOOGLE_2024, SOURCE, listed_intensity
from epochcost.settings import SettingsError

GOOGLE = {"node__provider": "gcp", "node__region": "europe-west9"}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[..., DrivenAgent]]:
    agents: list[DrivenAgent] = []

    def start(**flags: str) -> DrivenAgent:
        agents.append(DrivenAgent(SimulatedMachine(tmp_path), **flags))
        agents[-1].run(2)
        return agents[-1]

    yield start
    for one in agents:
        one.close()


@pytest.mark.parametrize(
    ("flags", "source", "grams"),
    [
        ({**GOOGLE, "grid__listed": "true"}, SOURCE, GOOGLE_2024["europe-west9"]),
        ({**GOOGLE, "grid__listed": "true", "grid__grams_per_kwh": "21"}, "configured", 21.0),
        ({"grid__grams_per_kwh": "350"}, "configured", 350.0),
    ],
)
def test_the_source_of_the_grid_intensity_is_exported(
    agent: Callable[..., DrivenAgent], flags: dict[str, str], source: str, grams: float
) -> None:
    assert agent(**flags).value("node_grid_grams_per_kwh", source=source) == grams


@pytest.mark.parametrize(
    "flags",
    [
        GOOGLE,  # not enabled
        {"node__provider": "aws", "node__region": "europe-west9", "grid__listed": "true"},
        {"node__provider": "gcp", "node__region": "mars-north1", "grid__listed": "true"},
        {"grid__listed": "true"},
    ],
)
def test_an_unknown_intensity_is_absent(agent: Callable[..., DrivenAgent], flags: dict[str, str]) -> None:
    assert not [name for name, _ in agent(**flags).scrape() if "grid" in name]


def test_the_list_has_plausible_grams() -> None:
    assert all(0 < grams < 1200 for grams in GOOGLE_2024.values())
    assert listed_intensity(Node("n", "gcp", "us-central1")) == (412.72, SOURCE)


@pytest.mark.parametrize(
    ("flag", "source", "rejected"),
    [
        ("grid__grams_per_kwh", "3000", "450000"),  # grams per MWh
        ("energy__usd_per_kwh", "0.31", "31"),  # cents
    ],
)
def test_a_figure_in_another_unit_is_rejected_with_the_name_of_its_flag(
    agent: Callable[..., DrivenAgent], flag: str, source: str, rejected: str
) -> None:
    agent(**{flag: source})
    with pytest.raises(SettingsError, match=rf"--{flag.replace('__', '.').replace('_', '-')}: .*expected at most"):
        agent(**{flag: rejected})
