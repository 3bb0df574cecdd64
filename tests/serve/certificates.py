"""Certificates for tests, made by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    cert: Path
    key: Path


def make(folder: Path, name: str, san: str = "IP:127.0.0.1", issuer: Pair | None = None) -> Pair:
    """A certificate for ``san``, signed by ``issuer`` or by itself."""
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    signed_by = ["-CA", str(issuer.cert), "-CAkey", str(issuer.key)] if issuer else []
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            f"/CN={name}",
            "-addext",
            f"subjectAltName={san}",
            "-keyout",
            str(pair.key),
            "-out",
            str(pair.cert),
            *signed_by,
        ],
        check=True,
        capture_output=True,
    )
    return pair
