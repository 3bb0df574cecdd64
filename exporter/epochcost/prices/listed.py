"""Published prices from dated lists: the one in this package, and users' own files, which win over it."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from epochcost.model import PriceKey
from epochcost.prices.currency import Rates
from epochcost.prices.price_list import PriceListError, Row, catalogue, parse, parse_yaml
from epochcost.prices.price_source import Catalogue, PriceRequests, PriceSourceError, Want

NAME = "listed"
FILE_NAME = "listed_file"
DAY = 86400.0
FILE_REFRESH_SECONDS = 60.0


class ListedSettings(Protocol):
    """What these sources need of the poller's settings."""

    @property
    def listed_files(self) -> tuple[str, ...]:
        """Paths of the users' own lists; a later file wins over an earlier one."""
        ...

    @property
    def currencies(self) -> tuple[tuple[str, float], ...]:
        """US dollars for one unit of a currency, by its code."""
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """The list that comes with epochcost: old figures, good for comparison and as a last resort."""

    name: str = NAME
    provider: str = ""
    refresh_seconds: float = DAY
    watched: frozenset[Want] = frozenset()

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:  # noqa: ARG002 - all it has, whatever is wanted
        """Every row of ``listed.csv``."""
        text = (files("epochcost.prices") / "listed.csv").read_text(encoding="utf-8")
        return catalogue(parse(io.StringIO(text, newline="")), self.name, now)


@dataclass(frozen=True, slots=True)
class ListedFiles:
    """Users' own lists, CSV or YAML, read again every minute."""

    paths: tuple[str, ...]
    currencies: tuple[tuple[str, float], ...] = ()
    name: str = FILE_NAME
    provider: str = ""
    refresh_seconds: float = FILE_REFRESH_SECONDS
    watched: frozenset[Want] = frozenset()

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:  # noqa: ARG002 - all they have, whatever is wanted
        """Every row of every file; a file with a mistake is refused whole and its last good prices are kept."""
        winners: dict[PriceKey, tuple[Row, ...]] = {}
        problems: list[str] = []
        for path in self.paths:
            try:
                winners |= _by_key(_read(Path(path), dict(self.currencies)))
            except PriceSourceError as err:  # noqa: PERF203 - one file leaves the others alone
                problems.append(str(err))
        if len(problems) == len(self.paths):
            raise PriceSourceError("; ".join(problems))
        listed = catalogue([row for rows in winners.values() for row in rows], self.name, now)
        return replace(listed, problems=tuple(problems))


def _read(path: Path, rates: Rates) -> tuple[Row, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix in (".yml", ".yaml"):
            return parse_yaml(text, rates)
        return parse(io.StringIO(text, newline=""), rates)
    except PriceListError as err:
        raise PriceSourceError(f"listed_file: {path}: {err}") from None
    except OSError as err:
        raise PriceSourceError(f"listed_file: {path}: cannot be read: {err.strerror or err}") from None
    except UnicodeDecodeError as err:
        raise PriceSourceError(f"listed_file: {path}: is not UTF-8 text: byte {err.start}") from None


def _by_key(rows: tuple[Row, ...]) -> dict[PriceKey, tuple[Row, ...]]:
    keys: dict[PriceKey, tuple[Row, ...]] = {}
    for row in rows:
        keys[row.key] = (*keys.get(row.key, ()), row)
    return keys


def make(settings: ListedSettings) -> tuple[ListedFiles | Listed, ...]:
    """The list in the package, and the users' files where there are any."""
    own = (ListedFiles(settings.listed_files, settings.currencies),) if settings.listed_files else ()
    return (*own, Listed())
