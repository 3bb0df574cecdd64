"""Other waits (`for`) of alerts: Prometheus takes no metric for them, so they are written into the rule files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from epochcost.settings import SettingsError, duration

_ALERT = re.compile(r"^( +)- alert: (\w+)$", re.MULTILINE)
_FOR = re.compile(r"^( +for: )(\S+)$", re.MULTILINE)
_SEVERITY = re.compile(r"^ +severity: (\w+)$", re.MULTILINE)
LONGEST_SECONDS = 30 * 86_400.0
_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True, slots=True)
class Waits:
    """How long conditions hold before they alert, in seconds, by alert and severity (empty: of every severity)."""

    seconds: Mapping[tuple[str, str], float]

    def written(self, text: str) -> str:
        """A rule file with these waits, in `for` and in the words of the alert."""
        starts = [match.start() for match in _ALERT.finditer(text)]
        parts = [text[a:b] for a, b in zip([0, *starts], [*starts, len(text)], strict=True)]
        return "".join(map(self._alert, parts))

    def _alert(self, part: str) -> str:
        name, severity, wait = _ALERT.search(part), _SEVERITY.search(part), _FOR.search(part)
        if name is None or severity is None or wait is None:
            return part
        seconds = self.seconds.get((name[2], severity[1]), self.seconds.get((name[2], "")))
        if seconds is None:
            return part
        before, after = _length(wait[2]), _in_words(seconds)
        changed = _FOR.sub(lambda match: f"{match[1]}{seconds:.0f}s", part, count=1)
        return re.sub(rf"\b{_in_words(before)}\b", after, changed) if before else changed


def _length(text: str) -> float:
    """A wait may be none at all."""
    return 0.0 if re.fullmatch(r"0[a-z]*", text) else duration(text)


def _in_words(seconds: float) -> str:
    """As texts of alerts give it: in hours from two whole ones on."""
    if seconds >= 2 * _HOUR and seconds % _HOUR == 0:
        return f"{seconds / _HOUR:.0f} hours"
    return f"{seconds / _MINUTE:.0f} minutes" if seconds >= _MINUTE else f"{seconds:.0f} seconds"


def parse_waits(text: str, names: frozenset[str]) -> Waits:
    """``EpochcostNodeVacant=30m,EpochcostRunStalled:critical=2m``.

    Raises:
        SettingsError: naming what is wrong; ``names`` are the alerts that there are.
    """
    waits: dict[tuple[str, str], float] = {}
    for each in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(\w+)(?::(critical|warning|info))?=(\S+)", each)
        if match is None:
            raise SettingsError(f"--wait: {each!r} is not valid: expected ALERT=30m or ALERT:critical=30m")
        if match[1] not in names:
            raise SettingsError(f"--wait: there is no alert {match[1]!r}")
        try:
            seconds = _length(match[3])
        except ValueError as err:
            raise SettingsError(f"--wait: {each!r} is not valid: {err}") from None
        if not 0 <= seconds <= LONGEST_SECONDS:
            raise SettingsError(f"--wait: {each!r} is not valid: expected 0s to 30d")
        waits[match[1], match[2] or ""] = seconds
    return Waits(waits)


def alerts_in(text: str) -> frozenset[str]:
    """Names of the alerts of a rule file."""
    return frozenset(match[2] for match in _ALERT.finditer(text))
