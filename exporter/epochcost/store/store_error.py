"""What can go wrong with a store."""

from __future__ import annotations


class StoreError(Exception):
    """A store cannot be asked, or its response cannot be used; the text says which store, what was asked, what came."""
