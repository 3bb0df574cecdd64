"""The directories of one agent: where training processes write events, and where the agent keeps its own state."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from epochcost.agent.agent_settings import AgentSettings
from epochcost.agent.agent_state_file import StateError, StateFile
from epochcost.agent.events_directory import agent_events_dir
from epochcost.agent.state_directory import adopt, agent_state_dir, beside, shut_to_others

log = logging.getLogger(__name__)
FROM_NETWORK = "network"
"""Folder of the state directory for events received over the network: only this agent writes there."""


@dataclass(frozen=True, slots=True)
class AgentPlaces:
    """Where an agent reads and writes.

    Attributes:
        events: the directory in which training processes write.
        state: the agent's own directory.
        state_file: the ledger, in ``state``.
    """

    events: Path
    state: Path
    state_file: StateFile

    @property
    def from_network(self) -> Path:
        """The directory for events received over the network."""
        return self.state / FROM_NETWORK


def places_of(settings: AgentSettings, environ: Mapping[str, str]) -> AgentPlaces:
    """The directories as configured, or as found; a ledger that an earlier version kept elsewhere is moved.

    Raises:
        StateError: when the state directory cannot be used.
    """
    events = agent_events_dir(settings.events_dir, environ)
    state = agent_state_dir(settings.state_dir, events, environ)
    if not settings.state_dir:
        adopt(beside(events), state)
    try:
        state_file = StateFile(state, among_others=state == beside(events))
    except StateError as err:
        raise StateError(f"--state.dir={err}" if settings.state_dir else str(err)) from None
    if reason := shut_to_others(events):
        log.warning("events: %s", reason)
    return AgentPlaces(events, state, state_file)
