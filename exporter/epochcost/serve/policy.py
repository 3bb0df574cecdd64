"""Which clients may connect, and how: the result of a web configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import ssl

StampedFile: TypeAlias = tuple[Path, object]


def file_stamp(file: Path) -> object:
    """A value that changes when the file does."""
    try:
        status = os.stat(file)  # noqa: PTH116 - on every request
    except OSError as err:
        return err.errno
    return status.st_mtime_ns, status.st_size, status.st_ino


class WebConfigError(ValueError):
    """The web configuration is wrong; the text names file and key, never a hash or a password."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Which clients may connect, and how.

    Attributes:
        tls: None for plain HTTP.
        users: bcrypt hash by user name; empty admits all.
        headers: added to every response.
        allowed_sans: names of which a client certificate must hold one; empty takes every verified certificate.
        files: what was read to make this, each with its stamp from before it was read.
        blank: the file was empty, as it is for a moment while it is rewritten.
    """

    tls: ssl.SSLContext | None = None
    users: Mapping[str, bytes] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    allowed_sans: frozenset[str] = frozenset()
    files: tuple[StampedFile, ...] = ()
    blank: bool = False

    @property
    def asks_for_certificates(self) -> bool:
        """Whether every client needs a verified certificate."""
        return self.tls is not None and self.tls.verify_mode.name == "CERT_REQUIRED"

    def is_looser_than(self, other: Policy) -> bool:
        """Whether clients are admitted that ``other`` rejected: passwords or TLS are gone."""
        return bool((other.users and not self.users) or (other.tls and not self.tls))

    def allows_peer(self, certificate: Mapping[str, Any] | None) -> bool:
        """Whether a verified client certificate (as ``getpeercert`` returns it) is one of the allowed."""
        if not self.allowed_sans:
            return True
        names = {value for _, value in (certificate or {}).get("subjectAltName", ())}
        return not names.isdisjoint(self.allowed_sans)
