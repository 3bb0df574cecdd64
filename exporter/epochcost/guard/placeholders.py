"""What a command's arguments may name: ``{run}`` and the like, each filled in as a whole argument or within one.

Nothing that a user of the machine merely claims is filled in: a run's id is made safe and never begins with a dash,
process ids are checked to be the run's user's, jobs come from Slurm and pods from the kubelet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

NAMES = ("policy", "node", "machine", "run", "pids", "slurm_job", "pod", "namespace", "reason")
SEVERAL = ("pids",)
"""Only as a separate argument, replaced by several."""
_NAMED = re.compile(r"\{([^{}]*)\}")


class PlaceholderError(ValueError):
    """An argument names what is not known here; then the command is not run."""


def check_argument(text: str) -> str:
    """``text``, if it names only what there is.

    Raises:
        ValueError: when it does not.
    """
    if "\0" in text or len(text) > 4096:  # noqa: PLR2004 - longer than any argument that makes sense
        raise ValueError("an argument has no NUL in it, and at most 4096 characters")
    for name in _NAMED.findall(text):
        if name not in NAMES:
            raise ValueError(f"{{{name}}} is not known; allowed: {', '.join(f'{{{n}}}' for n in NAMES)}")
        if name in SEVERAL and text != f"{{{name}}}":
            raise ValueError(f"{{{name}}} is replaced by several arguments, and must be a separate argument")
    return text


def filled(argv: Sequence[str], values: Mapping[str, str | Sequence[str]]) -> list[str]:
    """The arguments with all that they name.

    Raises:
        PlaceholderError: when something is not known.
    """
    words: list[str] = []
    for argument in argv:
        several = next((name for name in SEVERAL if argument == f"{{{name}}}"), None)
        if several is not None:
            several_values = values.get(several)
            if not several_values or isinstance(several_values, str):
                raise PlaceholderError(f"{{{several}}} is not known here")
            words += several_values
        else:
            words.append(_NAMED.sub(lambda match: _one(match[1], values), argument))
    return words


def _one(name: str, values: Mapping[str, str | Sequence[str]]) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not value:
        raise PlaceholderError(f"{{{name}}} is not known here")
    return value
