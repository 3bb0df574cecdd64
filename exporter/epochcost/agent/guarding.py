"""The guard in the agent: reads its policies, observes, and has done what it decides. Loaded only with a policy."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from epochcost.agent.device_activity import Idle
from epochcost.agent.guard_memory import GuardMemory
from epochcost.agent.guard_observation import Facts, Observer
from epochcost.agent.interactive_users import interactive
from epochcost.agent.snapshot import CollectorHealth, Snapshot
from epochcost.agent.suspended_processes import suspended
from epochcost.guard.decisions import Decisions, Notice, Order, Waiting
from epochcost.guard.engine import Guard
from epochcost.guard.executor import Executor
from epochcost.guard.keep_files import KeepFiles, OwnPlace, present
from epochcost.guard.keeps import Keep
from epochcost.guard.located_yaml import PolicyError
from epochcost.guard.policy import PolicySet
from epochcost.guard.policy_file import read
from epochcost.guard.webhook import Sender
from epochcost.model import GpuOwner, RunId, RunState
from epochcost.progress.event_places import EventPlace
from epochcost.progress.event_sources import EventSources
from epochcost.settings import SettingsError

log = logging.getLogger(__name__)
LOOK_SECONDS = 10.0
"""Between two looks at the policy file, at keep files and at terminals."""
END_SECONDS = 5.0


class GuardPlaces(NamedTuple):
    """Where the guard reads and writes, and where people find it.

    Attributes:
        policies: the policy file.
        events: where training processes write, and users put keep files.
        memory: a file beside the agent's state.
        page_url: the live page's address.
    """

    policies: Path
    events: Path
    memory: Path
    page_url: Callable[[], str]


class Guarding:
    """One agent's guard.

    Args:
        places: files and addresses.
        files: what reads the events.
        idle: what counts as held.
        fresh_seconds: a longer time between two looks is a gap.
        wall: seconds since the Unix epoch.

    Raises:
        SettingsError: when the policy file is wrong.
    """

    def __init__(
        self,
        places: GuardPlaces,
        files: EventSources,
        *,
        idle: Idle,
        fresh_seconds: float,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._places, self._files = places, files
        self._fresh, self._wall = fresh_seconds, wall
        self._stamp = _stamp(places.policies)
        try:
            policies = read(places.policies)
        except PolicyError as err:
            raise SettingsError(str(err)) from None
        self.guard = Guard(policies, present)
        self.executor = Executor()
        self._error = self._fault = ""
        self._observer = Observer(idle)
        self._keeps = KeepFiles(places.events, policies.longest_keep_seconds)
        self._sender = Sender(policies.webhook) if policies.webhook is not None else None
        self._looked_t = float("-inf")
        self._typing = interactive(wall())
        self._machine = ""
        self._is_close = False
        self._memory = GuardMemory(places.memory, wall)
        self._resumed = False

    # -- each second -------------------------------------------------------------------------------------------------

    def tick(
        self, snapshot: Snapshot, runs_on: Mapping[str, tuple[RunId, ...]], reported: tuple[GpuOwner, ...]
    ) -> Decisions:
        """Look, and decide; nothing is run yet."""
        self._machine = snapshot.machine
        for outcome in self.executor.outcomes():
            self.guard.report(outcome)
        users = {run.run: self._files.owners.user_of(run.run) for run in snapshot.runs}
        if self._is_close or snapshot.t - self._looked_t >= LOOK_SECONDS:  # a keep counts until the last moment
            self._looked_t = snapshot.t
            self._look(snapshot.t, users)
        followed = self._files.followed({run.run for run in snapshot.runs if run.ended_ts is None})
        still = {run.run for run in snapshot.runs if run.state is RunState.STALLED}
        facts = Facts(
            wall_ts=self._wall(),
            fresh_seconds=self._fresh,
            runs_on=runs_on,
            users=users,
            followed=followed,
            suspended={run: suspended(pids) for run, pids in followed.items() if run in still},
            unread=self._files.unread(),
            reported=reported,
            interactive=self._typing,
            no_room=_no_room(self._places.events),
        )
        decisions = self.guard.tick(self._observer.observe(snapshot, facts))
        self._is_close = any(_is_close(one, snapshot.t) for one in decisions.view.waiting)
        self._memory.save(self.guard.promises(), self._observer.state(), snapshot.t)
        for notice in decisions.notices:
            self._tell(notice)
        self._fault = ""
        return decisions

    def failed(self, err: Exception) -> None:
        """A fault in the guard itself: logged once while it stays the same; every wait begins again."""
        fault = f"{type(err).__name__}: {err}"
        if fault != self._fault:
            log.error("guard: failed with an unexpected error", exc_info=err)
        self._fault = fault
        self.guard.replace(self.guard.policies)

    def act(self, order: Order) -> None:
        """Run what was decided; what is to be remembered has been saved."""
        self.executor.start(order)

    def _look(self, t: float, users: Mapping[RunId, int | None]) -> None:
        if (stamp := _stamp(self._places.policies)) != self._stamp:
            self._stamp = stamp
            self._read_again()
        self._typing = interactive(self._wall())
        typing = [person.uid for person, _ in self._typing or ()]
        uids = {0, os.geteuid(), *users.values(), *typing, *self.guard.users()}
        known = sorted(uid for uid in uids if uid is not None and uid >= 0)
        self._keeps.look(self.guard.keeps, known, t, self._wall(), map(_own, self._files.user_places))

    def _read_again(self) -> None:
        try:
            policies, self._error = read(self._places.policies), ""
        except PolicyError as err:
            policies, self._error = PolicySet(), f"no policy is in effect: {err}"
            log.error("guard: %s", self._error)  # noqa: TRY400 - the text is complete
        else:
            log.warning("guard: the policies have changed; every wait starts over")
        self.guard.replace(policies)
        self._keeps.longest_seconds = policies.longest_keep_seconds
        if self._sender is not None:
            self._sender.stop()
        self._sender = Sender(policies.webhook) if policies.webhook is not None else None

    def _tell(self, notice: Notice) -> None:
        log.warning("guard: %s", notice.text)
        if self._sender is not None and notice.result != "dry_run":
            link = f"{self._base}/#keep={notice.subject}!{notice.keep_link}" if notice.keep_link else ""
            self._sender.send(notice, self._machine, link)

    @property
    def _base(self) -> str:
        return self.guard.policies.link or self._places.page_url()

    # -- keeps that come over HTTP -----------------------------------------------------------------------------------

    def keep(self, subject: str, link: str, seconds: float, why: str, t: float) -> str:
        """Keep ``subject`` where ``link`` was made for it; why not, empty if it is kept."""
        keeps = self.guard.keeps
        if not keeps.proves(subject, link, t):
            return "this link is invalid or has expired"
        until_t = t + min(seconds, self.guard.policies.longest_keep_seconds)
        if not keeps.put(Keep(f"link {subject}", None, subject, until_t, "whoever had the link", why)):
            return "too much is kept already"
        log.warning("guard: %s is kept for %.0f s by a link: %s", subject or "this machine", until_t - t, why or "-")
        return ""

    # -- health and state --------------------------------------------------------------------------------------------

    def health(self) -> CollectorHealth:
        """How it goes."""
        webhook = f"webhook: {self._sender.error}" if self._sender is not None and self._sender.error else ""
        odd = "; ".join(f"{name}: {why}" for name, why in sorted(self._keeps.problems.items())[:3])
        error = self._error or self._fault or webhook
        return CollectorHealth(not error, 0.0, error, note=odd and f"keep files that do not count: {odd}")

    def state(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {**self.guard.state(), "seen": self._observer.state()}

    def restore(self, state: object) -> None:
        """Continue with what an earlier agent saved; what cannot be used is left, for no wait depends on it."""
        if state is None:
            return
        try:
            if not isinstance(state, Mapping):
                raise TypeError(f"{type(state).__name__} is not a mapping")
            self.guard.restore(state)
            self._resumed = True
            if "seen" in state:  # 0.1 saved none
                self._observer.restore(state["seen"])
        except (LookupError, TypeError, ValueError, AttributeError) as err:
            log.error("guard: the saved state cannot be used: %s: %s", type(err).__name__, err)  # noqa: TRY400

    def resume(self, t: float) -> None:
        """Where the agent's state is lost, what was promised is not; where that cannot be read, nothing is decided."""
        if self._resumed:
            return
        try:
            saved = self._memory.load(t)
            if saved is not None:
                promises, seen, later = saved
                self.guard.keep_promises(promises, later)
                self._observer.restore(seen, later)
        except (OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as err:
            seconds = self.guard.policies.longest_keep_seconds
            log.error(  # noqa: TRY400 - the text is complete
                "guard: the saved keeps cannot be read (%s: %s); no decisions for %.0f s, the longest keep",
                type(err).__name__, err, seconds,
            )  # fmt: skip
            self.guard.hold_off(t + seconds, "the keeps were lost with the agent's state")

    def stop(self) -> None:
        """Wait a moment for a running command, which must not be cut short; unsent notices are dropped."""
        self.executor.wait(END_SECONDS)
        if self._sender is not None:
            self._sender.stop()


def _is_close(one: Waiting, t: float) -> bool:
    """Whether a user was notified, or a step is due before the next check: then keeps are read once more."""
    return bool(one.keep_link) or (one.next_ts is not None and one.next_ts - t <= LOOK_SECONDS)


def _own(place: EventPlace) -> OwnPlace:
    return OwnPlace(place.path, place.opened, place.user_of, f"whoever has {place.path}")


def _stamp(file: Path) -> object:
    try:
        status = file.stat()
    except OSError as err:
        return err.errno
    return status.st_ino, status.st_mtime_ns, status.st_size


def _no_room(directory: Path) -> str:
    """Why nothing can be written there, if the file system reports it."""
    try:
        status = os.statvfs(directory)
    except OSError as err:
        return f"{directory}: {err.strerror}"
    full = status.f_bavail == 0 or (status.f_files > 0 and status.f_favail == 0)
    return f"the file system of {directory} is full" if full else ""
