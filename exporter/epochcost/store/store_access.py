"""Access to a store: its address, credentials from files, certificates. Errors never contain a secret."""

from __future__ import annotations

import base64
import re
import ssl
from pathlib import Path

from epochcost.settings import SettingsError, http_url
from epochcost.store.promql_client import Prometheus
from epochcost.store.store_error import StoreError
from epochcost.store.store_settings import StoreSettings


def connect(settings: StoreSettings) -> Prometheus:
    """The store of ``settings``; no request is sent yet.

    Raises:
        SettingsError: for an invalid URL, or one with a password.
        StoreError: for a file that cannot be read, or two ways to authenticate at once.
    """
    headers = _header(settings.header)
    url = _address(settings.prometheus_url)
    return Prometheus(
        url,
        {**headers, **_authorization(settings)},
        _certificates(settings),
        settings.timeout_seconds,
    )


def check_address(settings: StoreSettings) -> None:
    """Look at what needs no file and no store.

    Raises:
        SettingsError: for a URL that is none, or holds a password, and for a header that is none.
    """
    _header(settings.header)
    _address(settings.prometheus_url)


def _address(text: str) -> str:
    """Checked here and not where flags are read, because errors there repeat the value."""
    if not text:
        raise SettingsError("--prometheus.url is required: the address of the Prometheus that stores the figures")
    if "@" in text:
        raise SettingsError(
            "--prometheus.url: user and password are not allowed in it; use --prometheus.username and a password file"
        )
    if "?" in text or "#" in text:
        raise SettingsError("--prometheus.url: must end with its path, without ? or #: it is shown in reports")
    try:
        return http_url(text)
    except ValueError as err:
        raise SettingsError(f"--prometheus.url: {text!r} is not valid: {err}") from None


def _header(text: str) -> dict[str, str]:
    """Checked here and not where flags are read: it may be a secret, and yet people must see what is wrong."""
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not text:
        return {}
    if not colon or not value.isprintable() or not re.fullmatch(r"[A-Za-z0-9-]+", name):
        raise SettingsError("--prometheus.header: expected NAME: VALUE, as in X-Scope-OrgID: tenant")
    return {name: value}


def _authorization(settings: StoreSettings) -> dict[str, str]:
    token, password = settings.bearer_token_file, settings.password_file
    if token and (settings.username or password):
        raise StoreError("--prometheus.bearer-token-file and --prometheus.username: give one of them")
    if bool(settings.username) != bool(password):
        raise StoreError("--prometheus.username and --prometheus.password-file: give both")
    if token:
        return {"Authorization": f"Bearer {_secret(token)}"}
    if password:
        pair = f"{settings.username}:{_secret(password)}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}


def _secret(path: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as err:
        reason = err.strerror if isinstance(err, OSError) else "is not UTF-8"
        raise StoreError(f"{path}: cannot be read: {reason}") from None
    if not text or not text.isprintable():
        raise StoreError(f"{path}: must contain the secret on one line, and nothing else")
    return text


def _certificates(settings: StoreSettings) -> ssl.SSLContext | None:
    """Trusted authorities and our own certificate; None for the defaults."""
    ca, cert, key = settings.ca_file, settings.cert_file, settings.key_file
    if key and not cert:
        raise StoreError("--prometheus.key-file: give --prometheus.cert-file too")
    if not (ca or cert):
        return None
    context = ssl.create_default_context()
    try:
        if ca:
            context.load_verify_locations(cafile=ca)
    except (OSError, ssl.SSLError) as err:
        raise StoreError(f"{ca}: contains no readable certificates: {_why(err)}") from None
    try:
        if cert:
            context.load_cert_chain(cert, key or None, password=_never_prompted)
    except (OSError, ValueError) as err:
        both = f"{cert}{f' and {key}' if key else ''}"
        raise StoreError(
            f"{both}: no certificate with its private key (PEM, without a password): {_why(err)}"
        ) from None
    return context


def _never_prompted() -> str:
    """Without it OpenSSL prompts for the password of a key at the terminal, and waits."""
    raise ValueError("the key has a password")


def _why(err: Exception) -> str:
    return (err.strerror if isinstance(err, OSError) else str(err)) or type(err).__name__
