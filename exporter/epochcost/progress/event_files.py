"""Event files, followed by inode and offset, whatever happens to them."""

from __future__ import annotations

import itertools
import math
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from epochcost.model import RunId, TrainingEvent
from epochcost.progress.clock import NodeClock
from epochcost.progress.due_files import DueFiles, bytes_to_read
from epochcost.progress.event_file_state import EventFileState, FileStatus
from epochcost.progress.event_places import FROM_NETWORK, EventPlace
from epochcost.progress.event_reader import CHUNK_BYTES, EventReader, Work, without_content
from epochcost.progress.followed_files import FilesInPlace, FollowedFiles
from epochcost.progress.liveness import Processes
from epochcost.progress.place_listing import Listed, PlaceListing
from epochcost.progress.reading_settings import EventDirectories, EventUsers, ReadLimits
from epochcost.progress.run_owners import NOBODY
from epochcost.untrusted_files import open_regular, printable_name

__all__ = ["CHUNK_BYTES", "EventFiles", "without_content"]

MAX_LOGGED = 5000
"""Reasons that are not logged again."""


class EventFiles:
    """All ``*.jsonl`` of some directories: each line once, in order, over truncation, rotation, moves and restarts.

    A directory may be open to every user. So a run belongs to the user who began it (`RunOwners`), and what one poll
    may read, and what may be open at once, is shared between the users who need it (`UserQuotas`), wherever their files
    are.

    Args:
        directories: where the files are.
        users: the owners of runs, and what each may have open.
        limits: what may be read, opened and remembered.
        processes: show whether a writer is alive.
        wall: the clock that dates files, seconds since the Unix epoch.

    Attributes:
        counts: lines by result, and files that could not be read (``unreadable``).
        places: the directories that were there in the last poll, the shared one first.
    """

    def __init__(
        self,
        directories: EventDirectories,
        users: EventUsers | None = None,
        *,
        limits: ReadLimits = ReadLimits(),  # noqa: B008 - frozen
        processes: Processes | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        users = users or EventUsers()
        self._user_dirs = directories.of_users
        self._limits = limits
        self._wall = wall
        self._owners = users.owners
        self._quotas = users.quotas
        self._reader = EventReader(self._owners, self._quotas, processes)
        self._files = FollowedFiles(limits.followed)
        self._due = DueFiles(self._files, self._reader.can_tell, wall)
        self._fixed = [EventPlace.shared(str(directories.shared))]
        if directories.from_network is not None:
            self._fixed.append(EventPlace.from_network(str(directories.from_network)))
        self.places: tuple[EventPlace, ...] = tuple(self._fixed)
        self._ended_beside: tuple[EventPlace, ...] = ()
        """What lay in others than these is ended already."""
        self._listings: dict[str, PlaceListing] = {}
        self._open: dict[str, int] = {}
        self._logged: set[str] = set()
        self._rounds = itertools.count(1)
        self._round = 0
        self._polled_t = math.inf
        """When the last poll was, on the node timeline; none yet, and nothing is fresh."""

    @property
    def counts(self) -> dict[str, int]:
        """Lines by what became of them, and files that could not be read."""
        return self._reader.counts

    @property
    def behind(self) -> int:
        """Bytes that were there in the last poll and wait for the next."""
        return self._reader.behind

    def poll(self, clock: NodeClock) -> list[TrainingEvent]:
        """What happened since the last poll, in order of time; within a writer in the order of its lines."""
        self._round = next(self._rounds)
        fresh_from, self._polled_t = self._polled_t, clock.now()
        work = Work(clock, self._limits.bytes_per_poll, self._limits.files_per_poll, [], fresh_from)
        with self._opened(work):
            self._match_all(work)
            self._reader.behind = 0
            due = self._due.by_user(self._open)
            for already, files in enumerate(sorted(due.values(), key=bytes_to_read)):
                self._visit_all(files, work, len(due) - already)
        work.events.sort(key=lambda event: event.t)
        return work.events

    @contextmanager
    def _opened(self, work: Work) -> Iterator[None]:
        """All places, opened for the length of one poll."""
        directories = self._user_dirs.current(work.clock.now())
        for reason in directories.refused:
            self._say_once(NOBODY, reason)
        self.places = (*self._fixed, *directories.places.values())
        with ExitStack() as opened:
            try:
                for place in self.places:
                    self._open_place(place, opened)
                if directories.complete and self.places != self._ended_beside:
                    self._end_gone_places(work)
                    self._ended_beside = self.places
                yield
            finally:
                self._open.clear()

    def _open_place(self, place: EventPlace, opened: ExitStack) -> None:
        try:
            self._open[place.key] = opened.enter_context(place.opened())
        except (FileNotFoundError, NotADirectoryError):  # it may come later
            return
        except OSError as err:
            self._say_once(NOBODY if place.user is None else place.user, f"{place.path}: {err.strerror}")

    def _end_gone_places(self, work: Work) -> None:
        """A directory of one user disappears when no process is left that could write there."""
        there = {place.key for place in self.places}
        gone = {file.place for file in self._files.by_key.values() if file.place not in there}
        for file in [file for file in self._files.by_key.values() if file.place in gone]:
            self._vanished(file, work, place_is_gone=True)
        for key in self._listings.keys() - there:
            del self._listings[key]
        self._files.keep_devices_of(there)
        users = {place.user for place in self.places}
        self._owners.release([user for user in self._owners.directories() if user not in users])

    def _visit_all(self, files: list[tuple[EventFileState, int]], work: Work, users: int) -> None:
        """One user's files. Users with little to read come first, so that the others share the rest in equal parts."""
        mine = replace(work, bytes_left=work.bytes_left // users, files_left=max(1, work.files_left // users))
        before = mine.bytes_left, mine.files_left
        for file, size in files:
            if mine.files_left <= 0 or mine.bytes_left <= 0:
                self._reader.behind += max(0, size - file.offset)
            else:
                self._visit(file, mine)
        work.bytes_left -= before[0] - mine.bytes_left
        work.files_left -= before[1] - mine.files_left

    def close(self) -> None:
        """Close the directories; a later poll opens them again."""
        for listing in self._listings.values():
            listing.close()

    def watched(self) -> set[str]:
        """Open writers whose end this reader detects; of the others only silence shows it."""
        can_tell = self._reader.can_tell
        return {file.writer for file in self._files.by_key.values() if file.stage is FileStatus.OPEN and can_tell(file)}

    def unread(self) -> str:
        """Why some of what was reported may not have been read; empty if all was, to its end."""
        for listing in self._listings.values():
            if listing.refused:
                return f"{listing.place.path} cannot be read"
            if listing.too_many:
                return f"{listing.place.path} has more event files than are read"
        if self.behind:
            return "event files contain more than was read"
        lost = next((f.name for f in self._files.by_key.values() if f.refused and f.stage is FileStatus.OPEN), None)
        return "" if lost is None else f"event file {printable_name(lost)} cannot be read"

    def followed(self, runs: Collection[str]) -> dict[str, tuple[int, ...]]:
        """Those of ``runs`` whose writers are seen to live and whose files were there in this poll; their processes.

        Of this machine alone, for the network may be cut. A process counts as the run's only if it belongs to the owner
        of the file.
        """
        processes: dict[str, tuple[int, ...]] = {}
        for file in self._files.by_key.values():
            lives = file.stage is FileStatus.OPEN and self._reader.can_tell(file) and file.visited == self._round
            if file.run in runs and lives and file.place != FROM_NETWORK:
                processes[file.run] = (*processes.get(file.run, ()), *self._reader.processes_of(file))
        return processes

    def homes(self) -> dict[RunId, set[str]]:
        """The directories in which a run is reported, for each run reported in a directory of one user."""
        return {} if len(self.places) == len(self._fixed) else self._files.homes()

    def state(self) -> dict[str, Any]:
        """How far each file was read, as JSON-able data; to be saved together with what was derived from the files."""
        return self._files.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` of an earlier agent left off.

        Raises:
            ValueError: when ``state`` is not what `state` returns; then nothing is changed.
        """
        files = self._files.restore(state)
        self._ended_beside = ()
        self._reader.by_writer = {file.writer: file for file in files}
        for file in files:
            if file.stage is FileStatus.OPEN and file.user is not None:
                self._quotas.admits(file.user, RunId(file.run), file.writer, file.last_t)

    def clear(self) -> None:
        """Forget what `restore` took over: every file is read from its beginning."""
        self._files.clear()
        self._reader.by_writer = {}

    # -- what there is to follow

    def _list(self, place: EventPlace) -> Listed | None:
        """What there is to follow in ``place``; None if that is not known (yet), or as it was a moment ago."""
        fd = self._open.get(place.key)
        if fd is None:
            return None
        listing, status, wall = self._listing(place), os.fstat(fd), self._wall()
        self._files.learn_device(place, status.st_dev)
        if listing.is_as_before(status, wall):
            return None
        try:
            listed = listing.step(fd, FilesInPlace(self._files, place, self._open), self._files.count_users)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as err:
            if not listing.refused:
                listing.refused = True
                self._reader.refuse(NOBODY, f"{place.path}: {err.strerror}")
            return None
        if listed is not None:
            if listed.complete:
                listing.listed_as(status, wall)
            listing.refused = False
            self._say_left_out(listing, listed)
            self._say_odd(listing, listed)
        return listed

    def _listing(self, place: EventPlace) -> PlaceListing:
        known = self._listings.get(place.key)
        if known is None or known.place != place:
            known = self._listings[place.key] = PlaceListing(place, self._limits.listed)
        return known

    def _say_left_out(self, listing: PlaceListing, listed: Listed) -> None:
        left_out = listed.left_out.total()
        if left_out and not listing.too_many:
            where = listing.place.path
            self._reader.refuse(NOBODY, f"{where}: {left_out} more than {self._limits.followed}; delete old ones")
        listing.too_many = left_out > 0
        for user, count in listed.left_out.items():
            more = count - listing.most_left_out[user]
            if more > 0:
                listing.most_left_out[user] = count
                self._quotas.refuse(user, "files", "too many event files: those beyond are not read", more)

    def _say_odd(self, listing: PlaceListing, listed: Listed) -> None:
        listing.odd_logged &= listed.odd.keys()
        for inode, (name, user, reason) in listed.odd.items():
            if inode not in listing.odd_logged:
                listing.odd_logged.add(inode)
                self._reader.refuse(user, f"{listing.place.path}/{name}: {reason}")

    def _say_once(self, user: int, reason: str) -> None:
        if reason not in self._logged:
            if len(self._logged) > MAX_LOGGED:
                self._logged.clear()
            self._logged.add(reason)
            self._reader.refuse(user, reason)

    def _match_all(self, work: Work) -> None:
        """All that is found is taken up before anything counts as gone: it may have moved to another directory."""
        complete: dict[str, set[int]] = {}
        for place in self.places:
            listed = self._list(place)
            if listed is not None:
                self._match(place, listed, work)
            if listed is not None and listed.complete:
                complete[place.key] = {*listed.known, *listed.new}
        files = self._files.by_key.values()
        for file in [f for f in files if f.place in complete and f.inode not in complete[f.place]]:
            self._vanished(file, work)

    def _match(self, place: EventPlace, listed: Listed, work: Work) -> None:
        device = self._files.devices[place.key]
        for inode, name in listed.known.items():
            file = self._files.by_key[device, inode]
            if file.place != place.key:
                self._moved(file, place, name, work)
            elif file.name != name:
                self._renamed(file, name, work.clock)
        for inode, (name, user) in listed.new.items():
            if (device, inode) in self._files.by_key:  # a second name of one that lies elsewhere
                continue
            self._add(EventFileState(inode, name, name, user=user, place=place.key, device=device))

    def _add(self, file: EventFileState) -> None:
        self._files.add(file)
        self._reader.add(file)

    def _moved(self, file: EventFileState, place: EventPlace, name: str, work: Work) -> None:
        """From one directory to another: the same file, if it is still the same user's."""
        try:
            status = os.stat(name, dir_fd=self._open[place.key], follow_symlinks=False)
            user = place.user_of(status, name)
        except OSError:
            return
        if user == file.user and stat.S_ISREG(status.st_mode):
            file.place, file.name, file.seen = place.key, name, -1
            return
        self._vanished(file, work)
        self._files.remove(file)
        self._add(EventFileState(file.inode, name, name, user=user, place=place.key, device=file.device))

    def _renamed(self, file: EventFileState, name: str, clock: NodeClock) -> None:
        """Rotated, or deleted and its inode used again: its beginning will show which."""
        if file.stage is FileStatus.DORMANT:  # nothing of it was read
            self._forget(file, clock)
            self._add(EventFileState(file.inode, name, name, user=file.user, place=file.place, device=file.device))
            return
        file.name, file.seen = name, -1

    def _vanished(self, file: EventFileState, work: Work, *, place_is_gone: bool = False) -> None:
        """Deleted: its writer may still run, and be monitored by its pid; otherwise the file is forgotten."""
        alive = self._reader.alive(file, None)
        if alive:
            file.alive_seen = True
            return
        if alive is False or (place_is_gone and file.stage is FileStatus.OPEN):
            self._reader.gone(file, work)
        self._forget(file, work.clock)

    def _forget(self, file: EventFileState, clock: NodeClock) -> None:
        self._files.remove(file)
        self._reader.forget(file, clock)

    # -- what is to be read

    def _visit(self, file: EventFileState, work: Work) -> None:
        file.visited = self._round
        work.files_left -= 1
        place = self._listings[file.place].place
        try:
            fd, status = open_regular(file.name, one_name=False, directory=self._open[file.place])
        except FileNotFoundError:
            return
        except OSError as err:
            self._reader.refuse_file(file, place.path, f"{err.strerror}")
            return
        try:
            if status.st_ino != file.inode:
                return
            self._reader.belongs(file, place.user_of(status, file.name), work.clock)
            self._reader.follow(file, fd, status, work, place.path)
        except OSError as err:
            self._reader.refuse_file(file, place.path, f"{err.strerror}")
        finally:
            os.close(fd)
