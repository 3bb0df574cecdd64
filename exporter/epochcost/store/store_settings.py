"""Where a store is, and how to get in: the same flags for every program that reads one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from epochcost.settings import between, option, options


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Address, credentials and certificates of a store."""

    prometheus_url: str = option(
        "prometheus.url",
        "",
        "Prometheus, VictoriaMetrics, Thanos or Mimir, with its path prefix: http://127.0.0.1:9090",
    )
    username: str = option("prometheus.username", "", "user name for basic auth")
    password_file: str = option("prometheus.password-file", "", "file with the password for basic auth")
    bearer_token_file: str = option("prometheus.bearer-token-file", "", "file with a bearer token")
    ca_file: str = option("prometheus.ca-file", "", "additional trusted CA certificates, as PEM")
    cert_file: str = option("prometheus.cert-file", "", "client certificate, as PEM")
    key_file: str = option("prometheus.key-file", "", "private key of the client certificate, if not in the same file")
    header: str = option(
        "prometheus.header",
        "",
        "additional request header, for a tenant of Mimir or Thanos: X-Scope-OrgID: tenant",
        secret=True,
    )
    timeout_seconds: float = option("prometheus.timeout", 60.0, "timeout of one request", parse=between("100ms", "1h"))


def same_option(name: str) -> str:
    """Field ``name`` of `StoreSettings` for the settings of another program: same flag, same help."""
    shared = options(StoreSettings)[name]
    default = next(f.default for f in dataclasses.fields(StoreSettings) if f.name == name)
    return option(shared.flag, str(default), shared.help, parse=shared.parse, secret=shared.secret)
