"""The directories that events are read from, and the owners of what is in each of them.

Three kinds. The shared one is open to every user: a file is its owner's. The agent's own holds what came over the
network. Those of one user each are made by the platform (Slurm's prolog, the kubelet): what is in one is that user's,
whichever owner a file there has, and never root's.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from epochcost.progress.run_owners import NETWORK, NOBODY, ROOT, directory_user, namespace_user
from epochcost.sha256 import sha256
from epochcost.untrusted_files import UntrustedFileError

SHARED = ""
FROM_NETWORK = "network"
"""Keys of the two places that each agent has; those of one user each are known by their path."""
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_POD = re.compile(r"/pods/([0-9a-f-]{32,36})/volumes/")
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK


class PlaceKind(Enum):
    """Which users may write there."""

    SHARED = "shared"
    NETWORK = "network"
    OF_ONE_USER = "of one user"


@dataclass(frozen=True, slots=True)
class EventPlace:
    """One directory of event files.

    Attributes:
        key: what it is called in the agent's state.
        path: of the directory.
        kind: see `PlaceKind`.
        identity: device and inode of a user's directory: whatever is at its path later must be the same.
        user: the user that all files count for; None: each file for its owner.
    """

    key: str
    path: str
    kind: PlaceKind
    identity: tuple[int, int] | None = None
    user: int | None = None

    @classmethod
    def shared(cls, path: str) -> EventPlace:
        """The directory that every user may write, as configured: it may be named by a link."""
        return cls(SHARED, path, PlaceKind.SHARED)

    @classmethod
    def from_network(cls, path: str) -> EventPlace:
        """The agent's own."""
        return cls(FROM_NETWORK, path, PlaceKind.NETWORK, user=NETWORK)

    @classmethod
    def of_one_user(cls, path: str, status: os.stat_result, namespace: str = "") -> EventPlace:
        """A directory of one user, as it was found.

        In a pod root may assign a directory to any user, so the user of a pod's directory comes from the path: the
        ``namespace``, if that is known, else the pod. A directory of root's is a user of its own. Where others can
        write beside the directory's owner, a file is its own owner's, as in the shared one, but root's are the
        directory owner's.
        """
        identity = status.st_dev, status.st_ino
        user: int | None = status.st_uid
        if _POD.search(path):
            user = namespace_user(_digest(namespace)) if namespace else directory_user(_digest(path))
        elif user == ROOT:
            user = directory_user(_digest(path))
        elif status.st_mode & OTHERS_WRITE:
            user = None
        return cls(path, path, PlaceKind.OF_ONE_USER, identity, user)

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor of the directory for the length of a block: held longer, it would keep a volume mounted.

        Raises:
            OSError: when it cannot be opened, or has been replaced by another directory.
        """
        own = self.kind is PlaceKind.OF_ONE_USER
        fd = os.open(self.path, _OPEN | (os.O_NOFOLLOW if own else 0))
        try:
            if own:
                status = os.fstat(fd)
                if (status.st_dev, status.st_ino) != self.identity:
                    raise UntrustedFileError("has been replaced by another directory", self.path)
            yield fd
        finally:
            os.close(fd)

    def user_of(self, status: os.stat_result, name: str) -> int:
        """The user that the file ``name`` in here counts for.

        Raises:
            UntrustedFileError: when it has another hard link, by which it may be another user's.
        """
        owner = status.st_uid
        if self.kind is PlaceKind.NETWORK:
            return NETWORK
        elsewhere = status.st_nlink > 1
        if self.kind is PlaceKind.SHARED:
            # Any user may link a file of root's to here, where it would count as root's.
            if owner == ROOT and elsewhere:
                raise UntrustedFileError("has another hard link", f"{self.path}/{name}")
            return owner
        if elsewhere and owner != self.user:
            raise UntrustedFileError("has another hard link", f"{self.path}/{name}")
        if self.user is not None:
            return self.user
        return NOBODY if owner == ROOT else owner


def pod_of(path: str) -> str:
    """The id of the pod whose volume ``path`` is, as the kubelet lays them out; empty for none."""
    match = _POD.search(path)
    return match[1] if match else ""


def _digest(text: str) -> int:
    return int.from_bytes(sha256(text.encode("utf-8", "surrogateescape")).digest()[:6], "big")
