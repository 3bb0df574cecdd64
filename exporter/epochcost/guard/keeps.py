"""What users want kept, until when and why. A user's keep counts for their own runs; root's for the whole machine."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from epochcost.guard.conditions import MACHINE, Finding
from epochcost.guard.observation import Person
from epochcost.model import is_number

MAX_KEEPS = 6000
"""More than all users together may have, so that no user's can be kept out by those of others."""
MAX_WHY = 80
LINK_SECONDS = 7 * 86400.0
"""How long a link that was sent can be used."""


@dataclass(frozen=True, slots=True)
class Keep:
    """One request to keep something.

    Attributes:
        key: which file or link it came by; a newer one of the same key replaces it.
        uid: its user; None for one that counts for its subject regardless of its author (root, a link with its token).
        subject: a run; `MACHINE` for all that is this user's.
        until_t: node timeline.
        by, why: for people.
    """

    key: str
    uid: int | None
    subject: str
    until_t: float
    by: str = ""
    why: str = ""

    def holds(self, finding: Finding) -> bool:
        """Whether it puts an action on ``finding`` off."""
        if self.uid is not None and all(person.uid != self.uid for person in finding.people):
            return False
        return self.subject in (MACHINE, finding.subject, *finding.runs)


class KeepList:
    """All keeps that count now, and the secret of the links.

    Attributes:
        keeps: by key.
    """

    def __init__(self) -> None:
        self.keeps: dict[str, Keep] = {}
        self._secret = secrets.token_bytes(32)

    def put(self, keep: Keep) -> bool:
        """Take ``keep`` in; False if there are too many."""
        if keep.key not in self.keeps and len(self.keeps) >= MAX_KEEPS:
            return False
        self.keeps[keep.key] = keep
        return True

    def forget(self, t: float, gone: Iterable[str] = ()) -> None:
        """Drop those that have expired at ``t``, and those whose file is gone."""
        dropped = set(gone)
        self.keeps = {k: keep for k, keep in self.keeps.items() if keep.until_t > t and k not in dropped}

    def holding(self, finding: Finding, t: float) -> Keep | None:
        """The keep that puts an action on ``finding`` off longest at ``t``."""
        holding = [keep for keep in self.keeps.values() if keep.until_t > t and keep.holds(finding)]
        return max(holding, key=lambda keep: keep.until_t, default=None)

    def link(self, subject: str, t: float) -> str:
        """The part of a link by which ``subject`` may be kept: until when it can be used, and its token."""
        until = int(t + LINK_SECONDS)
        return f"{until}.{self._token(subject, until)}"

    def proves(self, subject: str, link: str, t: float) -> bool:
        """Whether ``link`` was made for ``subject`` and can still be used."""
        until, _, token = link.partition(".")
        if not (until.isascii() and until.isdecimal() and len(until) <= 12 and int(until) > t):  # noqa: PLR2004 - seconds
            return False
        return hmac.compare_digest(_bytes(token), _bytes(self._token(subject, int(until))))

    def _token(self, subject: str, until: int) -> str:
        signature = hmac.new(self._secret, _bytes(f"keep\0{subject}\0{until}"), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(signature[:24]).decode()

    def state(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {"secret": self._secret.hex(), "keeps": [asdict(keep) for keep in self.keeps.values()]}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> KeepList:
        """What `state` described.

        Raises:
            KeyError, TypeError, ValueError: when it is not what `state` makes.
        """
        it = cls()
        it._secret = bytes.fromhex(state["secret"])
        if len(it._secret) != 32:  # noqa: PLR2004 - bytes
            raise ValueError("the secret for links has the wrong length")
        for saved in state["keeps"][:MAX_KEEPS]:
            keep = Keep(**saved)
            texts = (keep.key, keep.subject, keep.by, keep.why)
            uid_known = keep.uid is None or type(keep.uid) is int
            if not (uid_known and is_number(keep.until_t) and all(isinstance(text, str) for text in texts)):
                raise ValueError("a saved keep is not valid")
            it.keeps[keep.key] = keep
        return it


def _bytes(text: str) -> bytes:
    """``text`` without what cannot be encoded: JSON may contain half a character."""
    return text.encode("utf-8", "surrogatepass")


def people_with(people: Iterable[Person], uids: Iterable[int]) -> tuple[Person, ...]:
    """``people`` and users by their number, each once."""
    known = tuple(people)
    numbers = {person.uid for person in known}
    return (*known, *(Person(uid) for uid in uids if uid not in numbers))
