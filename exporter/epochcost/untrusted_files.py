"""The only way to files that others may have put there, and to replacing a file where others may look on.

A directory that others can write is never trusted by name: its entries may be links, pipes, devices, a file of
another user's that has a second name here, or without end. So a file is opened without following a link and without
waiting, and what was opened is judged, not its name. No error repeats anything of a file's content.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from epochcost.shown_text import printable

ROOT = 0
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_ASIDE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = getattr(os, "O_PATH", 0) | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_ONLY_LOOK = os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 65536


class UntrustedFileError(OSError):
    """The file is not what was expected; ``strerror`` has the reason, ``filename`` the path."""

    def __init__(self, reason: str, path: object) -> None:
        super().__init__(0, reason, str(path))


def trusted_owners() -> frozenset[int]:
    """Users whose files count as this program's own: root and its user."""
    return frozenset({ROOT, os.geteuid()})


def open_regular(
    path: str | Path, *, owners: Collection[int] | None = None, one_name: bool = True, directory: int | None = None
) -> tuple[int, os.stat_result]:
    """A descriptor of the regular file ``path``, to be closed by the caller, and what it is.

    Args:
        path: never followed where it is a symbolic link itself.
        owners: users who may own the file; None for all.
        one_name: refuse a file with further names: a hard link to another user's file has that user as its owner.
        directory: descriptor that a relative ``path`` counts from.

    Raises:
        OSError: FileNotFoundError if there is nothing, UntrustedFileError for what is not such a file.
    """
    try:
        fd = _opened(path, directory)
    except FileNotFoundError:
        raise
    except OSError as err:
        raise UntrustedFileError(_reason(err, path, directory), path) from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise UntrustedFileError("not a regular file", path)
        if owners is not None and status.st_uid not in owners:
            raise UntrustedFileError(f"belongs to user {status.st_uid}, who may not write it", path)
        if one_name and status.st_nlink > 1:
            raise UntrustedFileError("has another hard link", path)
    except BaseException:
        os.close(fd)
        raise
    return fd, status


def _opened(path: str | Path, directory: int | None) -> int:
    """A descriptor to read ``path``, if it is a regular file.

    Opening alone does something to some devices (a watchdog begins to run), and root in a container can make any. So
    where the system can, it is looked at before it is opened, and then that very thing is opened.
    """
    if _LOOK == _READ_ONLY_LOOK:
        return os.open(path, _READ, dir_fd=directory)
    looked = os.open(path, _LOOK, dir_fd=directory)
    try:
        mode = os.fstat(looked).st_mode
        if stat.S_ISLNK(mode):
            raise UntrustedFileError("a symbolic link, which is not followed here", path)
        if not stat.S_ISREG(mode):
            raise UntrustedFileError("not a regular file", path)
        try:
            return os.open(f"/proc/self/fd/{looked}", _READ & ~os.O_NOFOLLOW)
        except FileNotFoundError:  # a system without /proc
            return os.open(path, _READ, dir_fd=directory)
    finally:
        os.close(looked)


def read_regular(
    path: str | Path, max_bytes: int, *, owners: Collection[int] | None = None, directory: int | None = None
) -> bytes:
    """The whole content of a file of at most ``max_bytes``; see `open_regular`, and it raises as that does."""
    fd, status = open_regular(path, owners=owners, directory=directory)
    try:
        content = b""
        # Its size is checked first: a sparse file of a terabyte costs nothing to make.
        while status.st_size <= max_bytes and len(content) <= max_bytes:
            piece = os.read(fd, min(_CHUNK, max_bytes + 1 - len(content)))
            if not piece:
                return content
            content += piece
    finally:
        os.close(fd)
    raise UntrustedFileError(f"longer than {max_bytes} bytes", path)


def open_directory(path: str | Path, *, owners: Collection[int]) -> int:
    """A descriptor of a directory in which only ``owners`` can have put anything.

    Raises:
        OSError: FileNotFoundError where nothing is, UntrustedFileError for a link, or one that others can write.
    """
    try:
        fd = os.open(path, _READ | os.O_DIRECTORY)
    except FileNotFoundError:
        raise
    except OSError as err:
        raise UntrustedFileError(_reason(err, path, None), path) from None
    try:
        status = os.fstat(fd)
        if status.st_uid not in owners:
            raise UntrustedFileError(f"belongs to user {status.st_uid}, who is not trusted here", path)
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UntrustedFileError("can be written by others, so nothing in it is trusted", path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_private(path: str | Path) -> bool:
    """Whether ``path`` is a directory, no link, that only this user can write (or root, who can do so anyway)."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    ours = status.st_uid in trusted_owners()
    return stat.S_ISDIR(status.st_mode) and ours and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@contextlib.contextmanager
def replaced(
    path: str | Path,
    mode: int | None = 0o644,
    *,
    flush: bool = False,
    among_others: bool = False,
    directory: int | None = None,
) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``path`` when the block ends, in one step; after an error the old one stays.

    It is written under a name that cannot be guessed, and nothing that already exists is followed or used.

    Args:
        path: what is replaced, be it a link or another user's file.
        mode: of the new file, whatever the umask; None for what the umask makes of it.
        flush: whether it must outlive a power cut.
        among_others: others can make names here: a directory that one of them has put in the way is moved aside.
        directory: descriptor that a relative ``path`` counts from.

    Raises:
        OSError: when it cannot be written.
    """
    name = os.fspath(path)
    fd, aside = _opened_beside(name, mode, directory)
    try:
        with os.fdopen(fd, "wb") as file:
            if mode is not None:
                os.fchmod(fd, mode)  # a service's umask must not hide from users what is written for them
            yield file
            if flush:
                file.flush()
                os.fsync(file.fileno())
        _put_in_place(aside, name, directory, among_others=among_others)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside, dir_fd=directory)
        raise


def _opened_beside(name: str, mode: int | None, directory: int | None) -> tuple[int, str]:
    aside = os.path.join(os.path.dirname(name), f".{os.urandom(8).hex()}.tmp")  # noqa: PTH118, PTH120 - each second
    try:
        return os.open(aside, _ASIDE, 0o666 if mode is None else mode, dir_fd=directory), aside
    except OSError as err:
        err.filename = name  # the same fault is the same sentence each time
        raise


def _put_in_place(aside: str, name: str, directory: int | None, *, among_others: bool) -> None:
    at = {"src_dir_fd": directory, "dst_dir_fd": directory}
    try:
        os.replace(aside, name, **at)  # noqa: PTH105, TID251 - here
    except IsADirectoryError:
        if not among_others:
            raise
        os.rename(name, f"{aside}.in-the-way", **at)  # noqa: PTH104
        os.replace(aside, name, **at)  # noqa: PTH105, TID251 - here


def printable_name(path: object) -> str:
    """A name that others chose, for a log line: no control bytes, no direction marks, bounded."""
    text = str(path)
    plain = printable(text[-240:])
    return plain if len(text) <= 240 else f"...{plain}"  # noqa: PLR2004 - as above


def _reason(err: OSError, path: str | Path, directory: int | None) -> str:
    """A link is refused with ELOOP or ENOTDIR, a socket with ENXIO, which mean nothing to people."""
    with contextlib.suppress(OSError):
        mode = os.stat(path, dir_fd=directory, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            return "a symbolic link, which is not followed here"
    return err.strerror or type(err).__name__
