"""``epochcost check``: what this machine looks like to epochcost, and whether the main job could run on it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from epochcost._version import __version__
from epochcost.agent.agent_settings import AgentSettings
from epochcost.agent.events_directory import agent_events_dir
from epochcost.agent.sources import identity_of, price_source
from epochcost.agent.state_directory import agent_state_dir, shut_to_others, volatile
from epochcost.gpus import choose_source
from epochcost.gpus.gpu_source import GpuError
from epochcost.http_client import OK, Bounds, ConnectError, DeadlineError, ExchangeError, Request, ask
from epochcost.model import Node
from epochcost.nodes.node_source import NodeError
from epochcost.progress.user_directories import UserDirectories

POLLER_PORT = 10836


def check(settings: AgentSettings, environ: Mapping[str, str]) -> tuple[list[str], str]:
    """Look at everything that the agent needs.

    Returns:
        Lines for people, and the reason why the main job could not run (empty when it could).
    """
    lines = [f"epochcost     {__version__}"]
    reasons = []
    for name, look in (("events", _events), ("GPUs", _gpus), ("node", _node), ("ledger", _ledger), ("price", _price)):
        line, reason = look(settings, environ)
        lines.append(f"{name:<13} {line}")
        if reason:
            reasons.append(reason)
    host, port = settings.web_listen_address
    lines.append(f"{'agent port':<13} {who_answers(host, port)}")
    lines.append(f"{'poller port':<13} {who_answers('127.0.0.1', POLLER_PORT)}")
    return lines, "; ".join(reasons)


def _events(settings: AgentSettings, environ: Mapping[str, str]) -> tuple[str, str]:
    try:
        directory = agent_events_dir(settings.events_dir, environ)
        files = sum(1 for entry in os.scandir(directory) if entry.name.endswith(".jsonl"))
    except OSError as err:
        return f"unusable: {err}", f"the events directory cannot be used: {err}"
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        return f"{directory} is not writable", f"{directory} is not writable"
    line, reason = f"{directory}, {files} event file{'' if files == 1 else 's'}", shut_to_others(directory)
    if not settings.events_user_dirs:
        return line, reason
    more, why = _user_directories(settings)
    return f"{line}; {more}", "; ".join(filter(None, (reason, why)))


def _user_directories(settings: AgentSettings) -> tuple[str, str]:
    directories = UserDirectories(settings.events_user_dirs).current(0.0)
    refused, unusable = directories.refused, 0
    for place in directories.places.values():
        try:
            with place.opened():
                usable = os.access(place.path, os.R_OK | os.W_OK | os.X_OK)
        except OSError:
            usable = False
        unusable += not usable
    count = len(directories.places)
    line = f"{count} director{'y' if count == 1 else 'ies'} of users"
    if unusable:
        refused = [*refused, f"{unusable} of the directories of users cannot be read and written by this user"]
    return line, "; ".join(f"--events.user-dirs: {reason}" for reason in refused)


def _ledger(settings: AgentSettings, environ: Mapping[str, str]) -> tuple[str, str]:
    try:
        events = agent_events_dir(settings.events_dir, environ)
    except OSError:
        return "unknown: there is no events directory", ""
    directory = agent_state_dir(settings.state_dir, events, environ)
    why = volatile(directory)
    if not why:
        return f"{directory}", ""
    advice = "set --state.dir to a directory that lasts"
    return f"{directory} ({why})", f"the ledger in {directory} is lost with the next boot ({why}): {advice}"


def _gpus(settings: AgentSettings, _: Mapping[str, str]) -> tuple[str, str]:
    try:
        chosen = choose_source(settings.gpus_source, dcgm_url=settings.dcgm_url)
    except GpuError as err:
        return f"unreadable: {err}", f"--gpus.source={settings.gpus_source}: {err}"
    if chosen.source is None:
        return f"none; this node is metered by its CPUs ({chosen.reason})", ""
    chosen.source.close()
    return chosen.reason, chosen.error and f"--gpus.source={settings.gpus_source}: {chosen.error}"


def _node(settings: AgentSettings, environ: Mapping[str, str]) -> tuple[str, str]:
    try:
        identity = identity_of(settings, environ)
    except NodeError as err:
        return f"wrong: {err}", str(err)
    identity.ask()
    return describe(identity.node) + (f" ({identity.error})" if identity.error else ""), ""


def describe(node: Node) -> str:
    """A node in one line."""
    option = node.purchase_option.value if node.purchase_option else "purchase option unknown"
    place = " ".join(part for part in (node.provider or "provider unknown", node.region, node.zone) if part)
    source = f", according to {node.source}" if node.source else ""
    return f"{node.node}: {place}, {node.instance_type or 'instance type unknown'}, {option}{source}"


def _price(settings: AgentSettings, environ: Mapping[str, str]) -> tuple[str, str]:
    try:
        identity = identity_of(settings, environ)
    except NodeError as err:
        return "not requested: the node is wrong", f"price unknown: {err}"
    identity.ask()
    source = price_source(settings, identity.node)
    if source is None:
        reason = "price unknown: set --price.usd-per-hour, or --prices.url and this node's identity"
        return "unknown", reason
    try:
        answer = source.fetch(time.time())
    except Exception as err:  # noqa: BLE001 - whatever it is, it is printed
        return f"unknown: {err}", f"price unknown: {err}"
    price = answer.price
    if price is None:
        return f"free hours, by {', '.join(each.name for each in answer.terms.limits)}; then unknown", ""
    age = time.time() - price.fetched_ts
    return f"${price.usd_per_hour:g}/h from {price.source}, {_age(age)} old", ""


def _age(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def who_answers(host: str, port: int) -> str:
    """What listens on a port: an epochcost program, something else, or nothing."""
    if port == 0:
        return "any free port"
    name = host or "127.0.0.1"
    place = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    return f"{place}: {_who(f'http://{place}/metrics')}"


def _who(url: str) -> str:
    try:
        answer = ask(Request(url, by_proxy=False), Bounds.within(2.0, 64 << 20))
    except ConnectError as err:
        return "free" if err.refused else f"no response: {err}"
    except DeadlineError as err:
        return f"no response: {err}"
    except ExchangeError as err:
        return f"something that is not epochcost ({err})"
    if answer.status != OK:
        return f"HTTP {answer.status}: an epochcost that requires a password, or another program"
    text = answer.body.decode("utf-8", "replace")
    known = {
        "epochcost_price_source_": "an epochcost price poller is running there",
        "epochcost_node_": "an epochcost agent is running there",
    }
    return next((who for prefix, who in known.items() if prefix in text), "another program is running there")
