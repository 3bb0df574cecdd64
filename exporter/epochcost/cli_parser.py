"""The command line as argparse has it: commands, and the flags of the one that is called."""

from __future__ import annotations

import argparse
from typing import TypeAlias

from epochcost._version import __version__
from epochcost.commit import version_line
from epochcost.settings import add_flags
from epochcost.shipped import KINDS

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no public name
EXTRA = {"agent": "agent", "check": "agent", "prices": "prices", "demo": "agent"}
LAUNCH = {
    "exec": "run an unmodified training command and report it as one run",
    "event": "write one event of a run, from a shell or any other language",
    "keep": "postpone the guard's actions for your runs and GPUs on this machine",
}
REPORTS = {
    "report": "report what training cost over a period, from Prometheus, as a table, CSV, JSON, Markdown or HTML",
    "compare": "compare renting with owning: which is cheaper, and the break-even point in hours",
}
PROGRAMS = {
    "agent": "run the agent, one on each training node",
    "prices": "run the price poller, one per site",
    "check": "check that the agent can run here: detected node, GPUs, price, ports",
    "demo": "replay a simulated fleet into a real Prometheus, to see the dashboards and alerts in action",
}
JOB = "print what a job (Slurm, Kubernetes, ...) has cost on this machine, according to its agent"


def make_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The whole command line, for its documentation; with ``command``, only that command has its flags.

    What the settings of the others need would stay in an agent's memory.
    """
    parser = argparse.ArgumentParser(
        prog="epochcost",
        description="Live cost of each epoch of training: an agent on each training node, a price poller, and tools.",
        epilog="Every option can also be set by environment variable or in the YAML file; see docs/configuration.md.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and the commit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, prog="epochcost")
    _add_programs(commands, command)
    job = _add(commands, "job", JOB)
    job.add_argument("job", nargs="?", metavar="ID", default="", help="job id [default: SLURM_JOB_ID, ...]")
    job.add_argument(
        "--agent.url", dest="agent.url", metavar="URL", default="http://127.0.0.1:10835", help="URL of the agent"
    )
    for name, text in LAUNCH.items():
        commands.add_parser(name, help=text, add_help=False)
    _add_reports(commands, command)
    _add_guard(commands, flags=command in (None, "guard"))
    _add_shipped(commands)
    commands.add_parser("version", help="print the version")
    return parser


def _add(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False)


def _add_programs(commands: Commands, command: str | None) -> None:
    for name, text in PROGRAMS.items():
        sub = _add(commands, name, text)
        if command in (None, name) and is_installed(name):
            add_flags(sub, settings_of(name))
        if name == "prices":
            _add_once(sub)


def _add_reports(commands: Commands, command: str | None) -> None:
    for name, text in REPORTS.items():
        sub = _add(commands, name, text)
        if name == "compare":
            sub.usage = "epochcost compare [options] rent own"
            sub.add_argument(
                "what", nargs=2, metavar="rent own", help="comparison to run; only `rent own` is supported"
            )
        if command in (None, name):
            add_flags(sub, report_settings(name))


def _add_shipped(commands: Commands) -> None:
    for name, kind in KINDS.items():
        sub = _add(commands, name, f"write the {kind.text}")
        sub.add_argument("--out", metavar="DIR", required=True, help="output directory, created if missing")
        if name == "rules":
            sub.add_argument(
                "--wait",
                metavar="ALERT=TIME",
                default="",
                help="how long the condition of an alert must hold before it fires: EpochcostNodeVacant=30m,"
                "EpochcostRunStalled:critical=2m",
            )


def _add_guard(commands: Commands, *, flags: bool) -> None:
    text = "check the guard's policies, or replay them over the history in a Prometheus"
    sub = _add(commands, "guard", text)
    sub.add_argument("what", choices=("check", "replay"), help="check the policy file, or replay it over the past")
    if flags:
        from epochcost.guard.guard_command import GuardSettings

        add_flags(sub, GuardSettings)


def _add_once(parser: argparse.ArgumentParser) -> None:
    """What only one look at the market takes, so no setting of the poller."""
    once = parser.add_argument_group("one-off listing")
    once.add_argument("--once", action="store_true", help="query every source once, print the prices, and exit")
    once.add_argument(
        "--format", choices=("table", "csv", "json"), default="", help="with --once: output format [table]"
    )
    once.add_argument("--gpu", metavar="MODEL", default="", help="with --once: only this GPU, H100 or A100*")
    once.add_argument("--provider", metavar="NAME", default="", help="with --once: only this provider")


class _Version(argparse.Action):
    """Determines the commit only if it is printed."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(version_line(__version__))
        parser.exit()


def missing_package(extra: str) -> str:
    """The first package of an extra that is not installed, by its name on the package index; empty if all are."""
    from importlib.util import find_spec

    needed = {"prometheus_client": "prometheus-client", "yaml": "pyyaml"}
    needed |= {"apscheduler": "apscheduler"} if extra == "prices" else {"pynvml": "nvidia-ml-py"}
    return next((name for module, name in needed.items() if find_spec(module) is None), "")


def is_installed(name: str) -> bool:
    """Whether the extra of a command is installed; otherwise the command is listed without its flags."""
    return not missing_package(EXTRA[name])


def settings_of(name: str) -> type:
    """The settings class of one of `PROGRAMS`."""
    if name == "prices":
        from epochcost.poller.poller_settings import PollerSettings

        return PollerSettings
    if name == "demo":
        from epochcost.demo.demo_settings import DemoSettings

        return DemoSettings
    from epochcost.agent.agent_settings import AgentSettings

    return AgentSettings


def report_settings(name: str) -> type:
    """The settings class of one of `REPORTS`."""
    from epochcost.reports.report_settings import CompareSettings, ReportSettings

    return CompareSettings if name == "compare" else ReportSettings
