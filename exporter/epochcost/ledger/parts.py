"""Names of the parts of a run: what one ledger knows of it."""

from __future__ import annotations

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def base36(number: int) -> str:
    """``number`` with digits and lower-case letters: a second of this century in six of them."""
    text = ""
    number = max(0, number)
    while True:
        number, digit = divmod(number, len(DIGITS))
        text = DIGITS[digit] + text
        if not number:
            return text
