"""What can go wrong with a store."""

from __future__ import annotations


class StoreError(Exception):
    """A request to a store failed, or the response is unusable; the text contains store, request and response."""
