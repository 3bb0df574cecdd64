"""The web configuration in force: read at the start, and again when it or a certificate changes."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from epochcost.serve.credentials import Credentials, Verdict
from epochcost.serve.messages import Response, text
from epochcost.serve.places import party_of
from epochcost.serve.policy import Policy, StampedFile, WebConfigError, file_stamp

log = logging.getLogger("epochcost.serve")
_RETRY_SECONDS = 1.0


class WebConfig:
    """The policy of one file.

    A change that cannot be used is logged once and the policy before it stays: half-written files must neither disable
    authentication nor stop the metrics. So one that requires less than before is applied only after it has been
    unchanged for a second.

    Raises:
        WebConfigError: when the file cannot be used at the start.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None
        self._lock = threading.Lock()
        self._credentials = Credentials()
        self._policy = _read(self._path) if self._path else Policy()
        self._error = ""
        self._retry_at = 0.0
        self._looser: tuple[StampedFile, ...] = ()

    def current(self) -> Policy:
        """The current policy."""
        if self._path is None:
            return self._policy
        with self._lock:
            if any(file_stamp(file) != stamp for file, stamp in self._policy.files):
                self._reread(self._path)
            return self._policy

    def refusal(self, authorization: str, address: str) -> Response | None:
        """Why the value of an Authorization header, from ``address``, does not open the door; None if it does."""
        users = self.current().users
        if not users:
            return None
        answer = self._credentials.verify(users, authorization, party_of(address))
        if answer is Verdict.BUSY:
            return text(429, "too many passwords from this address are already being checked", {"Retry-After": "1"})
        challenge = {"WWW-Authenticate": 'Basic realm="epochcost"'}
        return None if answer is Verdict.RIGHT else text(401, "user name and password required", challenge)

    def _reread(self, path: Path) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            policy = _read(path)
            looser = policy.is_looser_than(self._policy)
            # What was read decides, not a second look at the file: it may hold more by then.
            if looser and policy.blank:
                raise WebConfigError(f"{path}: is empty, which would disable authentication")
        except WebConfigError as err:
            if str(err) != self._error:
                log.error("web configuration not applied, the previous one stays in use: %s", err)  # noqa: TRY400 - all is in it
            self._error = str(err)
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            return
        if looser and policy.files != self._looser:
            self._looser = policy.files
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            return
        self._policy = policy
        self._error = ""
        self._retry_at = 0.0
        self._looser = ()
        log.info("web configuration reloaded: %s", path)


def _read(path: Path) -> Policy:
    """By a module that brings TLS and YAML along, so loaded only where there is such a file."""
    from epochcost.serve.web_config_file import read_policy

    return read_policy(path)
