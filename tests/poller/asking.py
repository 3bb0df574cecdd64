"""Queries a poller over HTTP, as an agent, Prometheus or a user would."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from urllib.parse import urlencode


def get(url: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as err:
        with err:
            return err.code, err.read().decode()


def ask_price(url: str, **parameters: str) -> tuple[int, dict]:
    status, body = get(f"{url}/v1/price?{urlencode(parameters)}")
    return status, json.loads(body)
