"""What can go wrong, as sentences for people."""

from __future__ import annotations


class ReportError(Exception):
    """The report cannot be made; the text says what was asked of whom and what came back, never a secret."""
