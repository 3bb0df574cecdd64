"""The parts of an agent, made from its settings: its meter, and the sources for this machine's identity and price."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from epochcost.agent.agent_settings import AgentSettings
from epochcost.agent.device_activity import Idle
from epochcost.agent.machine_terms import MachineTerms
from epochcost.agent.meter import EnergyRates, Meter, MeterSettings
from epochcost.agent.price_feed import Asks
from epochcost.agent.user_names import UserNames
from epochcost.agent.whole_run_feed import WholeRunFeed
from epochcost.gpus.nvml.nvml_processes import NvmlProcesses
from epochcost.ledger import Ledger, LedgerSettings
from epochcost.model import GpuSample, Node, PurchaseOption
from epochcost.nodes import identify
from epochcost.nodes.feed import IdentityFeed
from epochcost.nodes.grid_intensity import listed_intensity
from epochcost.nodes.metadata import api_server, kubernetes_node_name, metadata_sources
from epochcost.owners import OwnerFeed, OwnerSource, PodResources, ProcessOwners, SlurmAllocations
from epochcost.prices.allowances import Limit
from epochcost.prices.configured import ConfiguredPrice

if TYPE_CHECKING:
    from epochcost.agent.account_hours import AccountHours
    from epochcost.owners.pod_annotations import PodAnnotations


def node_of(settings: AgentSettings, environ: Mapping[str, str]) -> Node:
    """This machine, as configured and as its firmware reports."""
    option = settings.node_purchase_option
    configured = Node(
        node=settings.node_name or kubernetes_node_name(environ),
        provider=settings.node_provider,
        region=settings.node_region,
        zone=settings.node_zone,
        instance_type=settings.node_instance_type,
        purchase_option=PurchaseOption(option) if option else None,
        reservation=settings.node_reservation,
        team=settings.node_team,
    )
    return identify(configured)


def identity_of(settings: AgentSettings, environ: Mapping[str, str]) -> IdentityFeed:
    """This machine, and the sources for what is not configured."""
    known = node_of(settings, environ)
    return IdentityFeed(known, metadata_sources(settings.node_metadata, known, environ, settings.node_metadata_url))


def price_source(settings: AgentSettings, node: Node) -> Asks | None:
    """The source of this node's price; None if none is configured."""
    if settings.price_usd_per_hour is not None:
        return ConfiguredPrice(node, settings.price_usd_per_hour, settings.price_extras)
    if settings.prices_url:
        from epochcost.prices.remote import PollerAccess, RemotePrice

        access = PollerAccess(settings.prices_password_file, settings.prices_ca_file)
        return RemotePrice(settings.prices_url, node, access, settings.prices_account)
    return None


def whole_runs_of(settings: AgentSettings, mono: Callable[[], float]) -> WholeRunFeed | None:
    """The source of whole runs; None if no store is configured.

    Raises:
        SettingsError: when the store's address is invalid, or contains a secret.
    """
    if not settings.prometheus_url:
        return None
    from epochcost.agent.whole_run_source import WholeRunSource
    from epochcost.store.store_access import check_address

    check_address(settings.store)
    return WholeRunFeed(WholeRunSource(settings.store), settings.prometheus_interval, mono)


def account_hours_of(
    settings: AgentSettings, machine: Callable[[], str], mono: Callable[[], float]
) -> AccountHours | None:
    """The source of free hours used by others of the account; None without a store, or an account."""
    if not (settings.prometheus_url and settings.prices_account):
        return None
    from epochcost.agent.account_hours import AccountHours, StoredHours

    source = StoredHours(settings.store, settings.prices_account, machine)
    return AccountHours(source, settings.prometheus_interval, mono)


def owner_feeds(
    settings: AgentSettings,
    environ: Mapping[str, str],
    gpus: Callable[[], Sequence[GpuSample]],
    proc: Path,
    gpu_source: str,
) -> list[OwnerFeed]:
    """The sources of GPU owners, in order of priority; each is queried on its own thread."""
    names = settings.owners_sources
    sources: list[OwnerSource] = []
    if "kubernetes" in names:
        annotations = _annotations(settings, environ) if settings.owners_hami else None
        sources.append(PodResources(Path(settings.owners_kubernetes_socket), proc, annotations))
    if "slurm" in names:
        sources.append(SlurmAllocations(Path(settings.owners_slurm_dir)))
    if {"slurm", "container", "user"} & set(names) and gpu_source == "nvml":
        sources.append(ProcessOwners(NvmlProcesses(), names, proc))
    return [OwnerFeed(source, gpus) for source in sources]


def _annotations(settings: AgentSettings, environ: Mapping[str, str]) -> PodAnnotations | None:
    """The source of the annotations of this node's pods; None outside of a cluster."""
    from epochcost.owners.pod_annotations import PodAnnotations

    url, name = api_server(environ), settings.node_name or kubernetes_node_name(environ)
    return PodAnnotations(url, name) if url and name else None


def meter_of(settings: AgentSettings, node: Node, machine: str) -> Meter:
    """A meter of ``machine`` (its name on every series) that decides by the settings."""
    rules = LedgerSettings(settings.node_share == "whole-node", settings.busy_ratio, settings.stall_seconds)
    rates = EnergyRates(
        settings.energy_usd_per_kwh,
        settings.grid_grams_per_kwh,
        listed_intensity if settings.grid_listed else None,
    )
    meter_settings = MeterSettings(
        machine,
        settings.keep_seconds,
        settings.silence_seconds,
        Idle(settings.busy_ratio, settings.held_memory_bytes),
        rates,
    )
    return Meter(Ledger(rules), node, meter_settings, terms=_terms_of(settings), name_of=UserNames().of)


def _terms_of(settings: AgentSettings) -> MachineTerms:
    """What is configured of the provider's limits and credit; the poller may know more."""
    seconds = settings.node_session_limit
    limits = [Limit("configured", session_seconds=seconds)] if seconds else []
    return MachineTerms(limits, [settings.node_credit] if settings.node_credit else [], settings.prices_account)
