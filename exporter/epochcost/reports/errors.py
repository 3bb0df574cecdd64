"""What can go wrong, as sentences for people."""

from __future__ import annotations


class ReportError(Exception):
    """The report cannot be made; the text contains the request, the server and its response, never a secret."""
