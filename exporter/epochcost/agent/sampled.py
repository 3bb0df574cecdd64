"""The parts of the agent that sample this machine and request data from others, each at its own pace."""

from __future__ import annotations

from dataclasses import dataclass

from epochcost.agent.gpu_owners import GpuOwners
from epochcost.agent.gpu_sampling import GpuSampling
from epochcost.agent.host_sampling import HostSampling
from epochcost.agent.priced_machine import PricedMachine
from epochcost.agent.whole_run_feed import WholeRunFeed
from epochcost.nodes.notices import NoticeFeed


@dataclass(frozen=True, slots=True)
class Sampled:
    """What the sampling loop reads, and what has a health of its own."""

    host: HostSampling
    gpus: GpuSampling
    machine: PricedMachine
    notices: NoticeFeed
    owners: GpuOwners
    store: WholeRunFeed | None = None
