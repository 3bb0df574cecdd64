"""The event files that are followed, known by device and inode, and how many more each user may have."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from epochcost.model import RunId
from epochcost.progress.event_file_state import EventFileState, FileKey, FileStatus
from epochcost.progress.event_places import FROM_NETWORK, SHARED, EventPlace
from epochcost.progress.run_owners import NOBODY


class FollowedFiles:
    """Every file that is followed, in all places.

    Args:
        most: files remembered at once, shared between the users who have any.

    Attributes:
        by_key: the files by device and inode.
        devices: the device of each place that was seen, by the key of the place.
    """

    def __init__(self, most: int) -> None:
        self.by_key: dict[FileKey, EventFileState] = {}
        self.devices: dict[str, int] = {}
        self._most = most
        self._of_user: Counter[int] = Counter()

    def add(self, file: EventFileState) -> None:
        """Follow ``file`` from now on."""
        self.by_key[file.key] = file

    def remove(self, file: EventFileState) -> None:
        """Follow ``file`` no longer."""
        self.by_key.pop(file.key, None)

    def clear(self) -> None:
        """Follow nothing."""
        self.by_key = {}

    def learn_device(self, place: EventPlace, device: int) -> None:
        """Note the device of ``place``; until then, files of an earlier agent's state are known by inode alone."""
        if self.devices.get(place.key) == device:
            return
        self.devices[place.key] = device
        for file in [file for file in self.by_key.values() if file.place == place.key and file.device < 0]:
            del self.by_key[file.key]
            file.device = device
            self.by_key.setdefault(file.key, file)

    def keep_devices_of(self, places: Collection[str]) -> None:
        """Forget the devices of all other places."""
        self.devices = {key: device for key, device in self.devices.items() if key in places}

    # -- capacity

    def count_users(self) -> None:
        """Count each user's files; `has_room` continues from these counts."""
        self._of_user = Counter(file.user if file.user is not None else NOBODY for file in self.by_key.values())

    def has_room(self, user: int) -> bool:
        """Whether one more file of ``user`` may be followed; if so, it is counted.

        A user who is alone may fill everything; otherwise each has an equal part, whatever others have taken before.
        """
        users = self._of_user.keys() | {user}
        room = self._of_user[user] < self._most // len(users)
        self._of_user[user] += room
        return room

    # -- what is known of them

    def homes(self) -> dict[RunId, set[str]]:
        """The directories in which a run is reported, for each run reported in a directory of one user."""
        homes: dict[RunId, set[str]] = {}
        for file in self.by_key.values():
            if file.place not in (SHARED, FROM_NETWORK) and file.run:
                homes.setdefault(RunId(file.run), set()).add(file.place)
        for file in self.by_key.values():
            if file.place == SHARED and file.stage is FileStatus.OPEN and file.run in homes:
                homes[RunId(file.run)].add(SHARED)
        return homes

    def state(self) -> dict[str, Any]:
        """How far each file was read, as JSON-able data; to be saved together with what was derived from the files."""
        active = [file for file in self.by_key.values() if file.stage is not FileStatus.DORMANT]
        network = [file.row() for file in active if file.place == FROM_NETWORK]
        files = [file.row() for file in active if file.place != FROM_NETWORK]
        return {"v": 1, "files": files, "network": {"v": 1, "files": network}}

    def restore(self, state: Mapping[str, Any]) -> list[EventFileState]:
        """Continue where `state` of an earlier agent left off; returns the files.

        Raises:
            ValueError: when ``state`` is not what `state` returns; then nothing is changed.
        """
        try:
            files = [
                *_restored_files(state),
                *_restored_files(state.get("network") or {"v": 1, "files": []}, FROM_NETWORK),
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            raise ValueError(f"state of the event files: {type(err).__name__}: {err}") from None
        places = sorted({file.place for file in files})
        for file in files:
            file.device = -1 - places.index(file.place)
        self.by_key = {file.key: file for file in files}
        self.devices.clear()
        return files


class FilesInPlace:
    """The files that are followed, as seen from one place while its entries are listed.

    Args:
        files: all that are followed.
        place: the place that is listed.
        descriptors: of all places, opened, by their keys.
    """

    __slots__ = ("_descriptors", "_files", "_place")

    def __init__(self, files: FollowedFiles, place: EventPlace, descriptors: Mapping[str, int]) -> None:
        self._files = files
        self._place = place
        self._descriptors = descriptors

    def follows(self, inode: int) -> bool:
        """Whether a file of the place is followed, be it under another name or as one that used to be elsewhere."""
        file = self._files.by_key.get((self._files.devices[self._place.key], inode))
        return file is not None and (file.place == self._place.key or not self._still_there(file))

    def has_room(self, user: int) -> bool:
        """See `FollowedFiles.has_room`."""
        return self._files.has_room(user)

    def _still_there(self, file: EventFileState) -> bool:
        """Whether a file that also appears in another place is still where it was: then this is only a second name."""
        fd = self._descriptors.get(file.place)
        if fd is None:
            return False
        try:
            return os.stat(file.name, dir_fd=fd, follow_symlinks=False).st_ino == file.inode
        except OSError:
            return False


def _restored_files(state: Mapping[str, Any], place: str = SHARED) -> list[EventFileState]:
    if state["v"] != 1:
        raise ValueError(f"version {state['v']!r}")
    files = [EventFileState.from_row(row) for row in state["files"]]
    for file in files:
        file.place = file.place or place
    return files
