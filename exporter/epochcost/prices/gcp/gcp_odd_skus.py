"""SKUs by REST that the client cannot read: it gives up a whole page for one, so they are taken out before it reads.

By gRPC a message is read as a whole or not at all, and there is nothing to take out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def can_be_left_out(client: Any) -> bool:  # noqa: ANN401 - the client has no types
    """Whether ``client`` speaks REST."""
    return _session(client) is not None


def leave_out(client: Any, report: Callable[[str], None]) -> None:  # noqa: ANN401 - the client has no types
    """From now on ``client`` gets only SKUs that it can read; ``report`` gets the reason for each other one."""

    def only_readable(response: Any, *_: object, **__: object) -> None:  # noqa: ANN401 - of requests
        try:
            page = response.json()
            rows = page["skus"]
        except (ValueError, KeyError, TypeError):  # no page at all: the client reports it
            return
        if not isinstance(rows, list):
            return
        faults = [_fault(row) for row in rows]
        for why in filter(None, faults):
            report(why)
        readable = [row for row, why in zip(rows, faults, strict=True) if not why]
        response._content = json.dumps({**page, "skus": readable}).encode()  # noqa: SLF001 - requests has no setter

    session = _session(client)
    assert session is not None  # noqa: S101 - for the type checker: the caller has checked
    session.hooks["response"].append(only_readable)


def _session(client: Any) -> Any:  # noqa: ANN401 - the client has no types
    return getattr(client.transport, "_session", None)


def _fault(row: object) -> str:
    """Why ``row`` is not a SKU; empty if it is one."""
    from google.cloud.billing_v1 import Sku
    from google.protobuf.json_format import ParseDict, ParseError

    try:
        ParseDict(row, Sku.pb(Sku()), ignore_unknown_fields=True)
    except (ParseError, TypeError, ValueError, AttributeError) as err:
        name = row.get("skuId") if isinstance(row, dict) else row
        return f"SKU {str(name)[:40]!r}: {type(err).__name__}: {str(err)[:160]}"
    return ""
