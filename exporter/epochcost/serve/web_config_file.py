"""Reading a ``web.config.yml``: every key is known and used, or refused by name."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from epochcost.serve.policy import Policy, StampedFile, WebConfigError, file_stamp

_SECTIONS = ("tls_server_config", "http_server_config", "basic_auth_users")
_TLS_KEYS = (
    "cert_file",
    "key_file",
    "client_auth_type",
    "client_ca_file",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
)
_ELSEWHERE = {
    "cert": "write it to a file and name that as cert_file",
    "key": "write it to a file and name that as key_file",
    "client_ca": "write it to a file and name that as client_ca_file",
    "curve_preferences": "Python's TLS chooses the curves itself",
    "rate_limit": "connections are bounded already; put a proxy in front for more",
}
"""Keys of the schema that this server does not take, and what to do instead."""
_HEADERS = (
    "Content-Security-Policy",
    "X-Frame-Options",
    "X-Content-Type-Options",
    "X-XSS-Protection",
    "Strict-Transport-Security",
)
_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
"""Go's cipher names, which the schema uses, by OpenSSL's names; TLS 1.3 chooses its own."""
_BCRYPT = re.compile(r"\$2[abxy]?\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")


def read_policy(path: Path) -> Policy:
    """Read ``path``; files that it names are relative to its folder.

    Raises:
        WebConfigError: naming file and key.
    """
    stamp = file_stamp(path)
    content = _text(path)
    document = _mapping(path, "", _load(path, content), _SECTIONS)
    context, files, sans = _tls(path, document.get("tls_server_config"))
    return Policy(
        tls=context,
        users=_users(path, document.get("basic_auth_users")),
        headers=_headers(path, document.get("http_server_config")),
        allowed_sans=sans,
        files=((path, stamp), *files),
        blank=not content.strip(),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as err:
        _fail(path, "", f"cannot be read: {err.strerror}")
    except UnicodeDecodeError:
        _fail(path, "", "is not UTF-8 text")


def _load(path: Path, content: str) -> object:
    import yaml

    try:
        return yaml.safe_load(content)
    except yaml.YAMLError as err:
        # The parser's own message quotes the line, which may contain a hash.
        mark = getattr(err, "problem_mark", None)
        _fail(path, "", f"is not valid YAML{f' at line {mark.line + 1}' if mark else ''}")
    except (ValueError, RecursionError):  # a date or a number that is none; lists in lists without end
        _fail(path, "", "is not valid YAML")


def _tls(path: Path, raw: object) -> tuple[ssl.SSLContext | None, tuple[StampedFile, ...], frozenset[str]]:
    section = "tls_server_config"
    if raw is None:
        return None, (), frozenset()
    config = _mapping(path, section, raw, _TLS_KEYS)
    cert, key = (_file(path, f"{section}: {name}", config.get(name)) for name in ("cert_file", "key_file"))
    files = ((cert, file_stamp(cert)), (key, file_stamp(key)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.minimum_version = _chosen(path, f"{section}: min_version", config.get("min_version", "TLS12"), _VERSIONS)
    context.maximum_version = _chosen(path, f"{section}: max_version", config.get("max_version", "TLS13"), _VERSIONS)
    if context.minimum_version > context.maximum_version:
        _fail(path, f"{section}: min_version", "is above max_version")
    _ciphers(path, config, context)
    try:
        context.load_cert_chain(cert, key, password=lambda: _fail(path, f"{section}: key_file", "is encrypted"))
    except (OSError, ValueError) as err:
        if isinstance(err, WebConfigError):
            raise
        reason = err.strerror or getattr(err, "reason", None) or "not PEM" if isinstance(err, OSError) else "not PEM"
        _fail(path, f"{section}: cert_file, key_file", f"are not a certificate and its key: {reason}")
    authorities, sans = _client_auth(path, config, context)
    return context, (*files, *authorities), sans


def _client_auth(
    path: Path, config: Mapping[str, Any], context: ssl.SSLContext
) -> tuple[tuple[StampedFile, ...], frozenset[str]]:
    section = "tls_server_config"
    kind = config.get("client_auth_type", "NoClientCert")
    if kind in ("RequestClientCert", "RequireAnyClientCert"):
        _fail(path, f"{section}: client_auth_type", f"{kind} verifies nothing; use RequireAndVerifyClientCert")
    mode = _chosen(path, f"{section}: client_auth_type", kind, _CLIENT_AUTH)
    sans = _words(path, f"{section}: client_allowed_sans", config.get("client_allowed_sans"))
    if sans and mode is not ssl.CERT_REQUIRED:
        _fail(path, f"{section}: client_allowed_sans", "needs client_auth_type RequireAndVerifyClientCert")
    if "client_ca_file" not in config:
        if mode is not ssl.CERT_NONE:
            _fail(path, f"{section}: client_ca_file", f"is needed for client_auth_type {kind}")
        return (), frozenset()
    if mode is ssl.CERT_NONE:
        _fail(path, f"{section}: client_ca_file", "needs a client_auth_type that verifies")
    authority = _file(path, f"{section}: client_ca_file", config["client_ca_file"])
    stamp = file_stamp(authority)
    try:
        context.load_verify_locations(cafile=authority)
    except OSError as err:
        _fail(path, f"{section}: client_ca_file", f"holds no certificate: {err.strerror or 'not PEM'}")
    context.verify_mode = mode
    return ((authority, stamp),), frozenset(sans)


def _ciphers(path: Path, config: Mapping[str, Any], context: ssl.SSLContext) -> None:
    where = "tls_server_config: cipher_suites"
    names = _words(path, where, config.get("cipher_suites"))
    if names:
        context.set_ciphers(":".join(_chosen(path, where, name, _CIPHERS) for name in names))
    prefer = config.get("prefer_server_cipher_suites", True)
    if not isinstance(prefer, bool):
        _fail(path, "tls_server_config: prefer_server_cipher_suites", "must be true or false")
    if not prefer:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE


def _headers(path: Path, raw: object) -> dict[str, str]:
    section = "http_server_config"
    config = _mapping(path, section, raw or {}, ("http2", "headers"))
    if not isinstance(config.get("http2", True), bool):
        _fail(path, f"{section}: http2", "must be true or false")
    headers = _mapping(path, f"{section}: headers", config.get("headers") or {}, _HEADERS)
    for name, value in headers.items():
        if value and (not isinstance(value, str) or not re.fullmatch(r"[\x20-\x7e]+", value)):
            _fail(path, f"{section}: headers: {name}", "must be one line of text")
    return {name: value for name, value in headers.items() if value}


def _users(path: Path, raw: object) -> dict[str, bytes]:
    section = "basic_auth_users"
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        _fail(path, section, "must be a mapping of user name to bcrypt hash")
    for name, hashed in raw.items():
        if not isinstance(name, str) or not name or ":" in name:
            _fail(path, section, f"a user name must be text without a colon, not {name!r}")
        if not isinstance(hashed, str) or not _BCRYPT.fullmatch(hashed):
            _fail(path, f"{section}: {name}", "is not a bcrypt hash (htpasswd -nBC 10 '' makes one)")
    return {name: hashed.encode() for name, hashed in raw.items()}


def _mapping(path: Path, where: str, raw: object, allowed: tuple[str, ...]) -> dict[str, Any]:
    if raw is None and not where:
        return {}
    if not isinstance(raw, dict):
        _fail(path, where, f"must be a mapping of {', '.join(allowed)}")
    for key in raw:
        if key not in allowed:
            place = f"{where}: {key}" if where else f"{key}"
            advice = _ELSEWHERE.get(key) if isinstance(key, str) else None
            _fail(path, place, f"is not supported: {advice}" if advice else f"unknown; allowed: {', '.join(allowed)}")
    return raw


def _file(path: Path, where: str, raw: object) -> Path:
    if not isinstance(raw, str) or not raw:
        _fail(path, where, "is missing" if raw is None else "must be a file name")
    file = path.parent / raw
    if not file.is_file():
        _fail(path, where, f"file not found: {file}")
    return file


def _words(path: Path, where: str, raw: object) -> list[str]:
    if raw is None:
        return []
    if not isinstance(raw, list) or not all(isinstance(word, str) for word in raw):
        _fail(path, where, "must be a list of texts")
    return raw


def _chosen(path: Path, where: str, raw: object, table: Mapping[str, Any]) -> Any:  # noqa: ANN401
    if not isinstance(raw, str) or raw not in table:
        _fail(path, where, f"{raw!r}; allowed: {', '.join(table)}")
    return table[raw]


def _fail(path: Path, where: str, what: str) -> NoReturn:
    raise WebConfigError(f"{path}: {where + ': ' if where else ''}{what}")
