"""Settings from flags, environment and one YAML file, in that order of precedence; frozen once read.

An application declares a frozen dataclass whose fields are made by `option`. Each option has a dotted flag as in the
Prometheus world (``--web.listen-address``), an environment variable made from it (``EPOCHCOST_WEB_LISTEN_ADDRESS``) and
the same name as a key in its section of the YAML file. A bad value raises `SettingsError`, which names its place, the
value, and what is allowed; a secret's value is never repeated.
"""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
PREFIX = "EPOCHCOST_"
CONFIG_FLAG = "config.file"
SECTIONS = ("agent", "prices", "report", "compare", "demo", "guard")
"""Of the YAML file: one for each program."""
MOST_PORT = 65535
MOST_SHOWN, MOST_DETAIL = 200, 600
"""Characters of a wrong value, and of what is wrong with it."""


class SettingsError(ValueError):
    """A setting is wrong; the text contains its name, its value and what is allowed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One setting: its dotted name, how its text becomes a value, and its ``--help`` text."""

    flag: str
    parse: Callable[[str], Any]
    help: str
    secret: bool = False
    structured: bool = False

    @property
    def env(self) -> str:
        """The environment variable of this option."""
        return env_name(self.flag)


def env_name(flag: str) -> str:
    """``web.listen-address`` -> ``EPOCHCOST_WEB_LISTEN_ADDRESS``."""
    return PREFIX + re.sub(r"[.-]", "_", flag).upper()


def option(
    flag: str,
    default: T,
    help: str,  # noqa: A002 - argparse's name
    *,
    parse: Callable[[str], T] = str,  # type: ignore[assignment]
    secret: bool = False,
) -> T:
    """Declare a dataclass field as a setting that can be set by a flag, the environment or the file."""
    return dataclasses.field(default=default, metadata={"option": Option(flag, parse, help, secret=secret)})


def structured(key: str, help: str, parse: Callable[[object], T], default: T) -> T:  # noqa: A002
    """Declare a field that can only be set in the YAML file (a list or a mapping); ``parse`` may raise ValueError."""
    return dataclasses.field(
        default=default,
        metadata={"option": Option(key, parse, help, structured=True)},
    )


def options(settings: type) -> dict[str, Option]:
    """The options of a settings dataclass by field name."""
    return {f.name: f.metadata["option"] for f in dataclasses.fields(settings) if "option" in f.metadata}


def add_flags(parser: argparse.ArgumentParser, settings: type) -> None:
    """Add ``--config.file`` and every option of ``settings`` to ``parser``; absent flags stay absent (default None)."""
    parser.add_argument(
        f"--{CONFIG_FLAG}", dest=CONFIG_FLAG, metavar="FILE", help=f"YAML file [env {env_name(CONFIG_FLAG)}]"
    )
    defaults = {f.name: f.default for f in dataclasses.fields(settings)}
    for name, opt in options(settings).items():
        if opt.structured:
            continue
        text = default_text(defaults[name], opt)
        default = f", default {text}" if text else ""
        parser.add_argument(
            f"--{opt.flag}",
            dest=opt.flag,
            metavar="VALUE",
            help=f"{opt.help} [env {opt.env}{default}]".replace("%", "%%"),
        )


def default_text(default: object, opt: Option) -> str:
    """A default in the form of a value; empty if there is none."""
    if default in ("", None, ()):
        return ""
    if isinstance(opt.parse, Duration) and isinstance(default, float):
        return spelled(default)
    if isinstance(default, tuple) and isinstance(default[-1], int):
        host, port = default
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(default, float):
        return f"{default:.15g}"
    return ",".join(map(str, default)) if isinstance(default, tuple) else f"{default}"


def load(settings: type[T], section: str, flags: Mapping[str, str | None], environ: Mapping[str, str]) -> T:
    """Read ``settings`` from flags, then the environment, then section ``section`` of the YAML file.

    Args:
        settings: a dataclass made of `option` and `structured` fields.
        section: name of this program's section in the file (``agent``, ``prices``).
        flags: values by dotted flag name, None if not set.
        environ: the environment as a mapping.

    Raises:
        SettingsError: naming the place, the value and what is allowed.
    """
    path = flags.get(CONFIG_FLAG) or environ.get(env_name(CONFIG_FLAG))
    from_file = _read_section(Path(path), section, settings) if path else {}
    values: dict[str, Any] = {}
    for name, opt in options(settings).items():
        if (text := flags.get(opt.flag)) is not None and not opt.structured:
            values[name] = _parse(opt, text, f"--{opt.flag}")
        elif opt.env in environ and not opt.structured:
            values[name] = _parse(opt, environ[opt.env], opt.env)
        elif opt.flag in from_file:
            raw = from_file[opt.flag]
            values[name] = _parse(opt, raw if opt.structured else _as_text(raw), f"{path}: {section}: {opt.flag}")
    return settings(**values)


def _parse(opt: Option, raw: Any, where: str) -> Any:  # noqa: ANN401
    try:
        return opt.parse(raw)
    except (ValueError, TypeError, KeyError) as err:
        value = "(secret)" if opt.secret else _shortened(without_password(repr(raw)))
        detail = "" if opt.secret else f": {_shortened(without_password(str(err)), MOST_DETAIL)}"
        raise SettingsError(f"{where}: {value} is not valid{detail}") from None


def _shortened(text: str, most: int = MOST_SHOWN) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def without_password(text: str) -> str:
    """``text`` without what precedes the ``@`` of URLs in it."""
    return re.sub(r"//\S*@", "//(secret)@", text)


def _as_text(raw: object) -> str:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, list):
        return ",".join(map(str, raw))
    return str(raw)


def _read_section(path: Path, section: str, settings: type) -> dict[str, Any]:
    try:
        import yaml
    except ImportError:
        raise SettingsError(f"{path}: reading a YAML file needs PyYAML: pip install 'epochcost[agent]'") from None
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as err:
        raise SettingsError(f"{path}: cannot be read: {err.strerror or err}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: is not UTF-8 text") from None
    except yaml.YAMLError as err:
        # The parser's own message quotes the line, which may contain a secret.
        mark = getattr(err, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(err, "problem", None)
        raise SettingsError(f"{path}: is not valid YAML{where}{f': {problem}' if problem else ''}") from None
    except ValueError:
        raise SettingsError(f"{path}: is not valid YAML: it contains a date or a number that does not exist") from None
    except RecursionError:
        raise SettingsError(f"{path}: is not valid YAML: it is nested too deeply") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: must be a mapping of sections: {', '.join(SECTIONS)}")
    unknown = set(document) - set(SECTIONS)
    if unknown:
        raise SettingsError(f"{path}: unknown section {min(map(str, unknown))!r}; allowed: {', '.join(SECTIONS)}")
    content = document.get(section) or {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: {section}: must be a mapping of settings")
    return _flatten(content, settings, f"{path}: {section}")


def _flatten(content: Mapping[str, Any], settings: type, where: str) -> dict[str, Any]:
    """Accept both ``web.listen-address: x`` and ``web: {listen-address: x}``."""
    known = {opt.flag: opt for opt in options(settings).values()}
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: object) -> None:
        if prefix not in known and isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), inner)
        elif prefix not in known:
            raise SettingsError(f"{where}: unknown setting {prefix!r}; allowed: {', '.join(sorted(known))}")
        elif value is not None:
            flat[prefix] = value

    walk("", dict(content))
    return flat


def address(text: str) -> tuple[str, int]:
    """``127.0.0.1:10835``, ``[::1]:10835``, ``:10835`` (every interface) -> host, port."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > MOST_PORT:
        raise ValueError("expected HOST:PORT with a port of 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        return str(ipaddress.IPv6Address(host[1:-1])), int(port)
    if ":" in host:
        raise ValueError("an IPv6 address needs brackets: [::1]:10835")
    return host, int(port)


_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SHORTEST_SECONDS, LONGEST_SECONDS = 0.001, 10 * 366 * 86400.0


@dataclasses.dataclass(frozen=True, slots=True)
class Duration:
    """Reads ``15s``, ``5m``, ``1h``, ``500ms``, ``2d``, or seconds (``60``, ``0.5``); returns seconds within bounds."""

    least: float = SHORTEST_SECONDS
    most: float = LONGEST_SECONDS

    def __call__(self, text: str) -> float:
        """The seconds of ``text``.

        Raises:
            ValueError: when it is not a duration, or one that makes no sense here.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?", text.strip(), re.ASCII)
        seconds = float(match[1]) * _SECONDS[match[2] or "s"] if match else 0.0
        if not match or seconds <= 0:
            raise ValueError("expected a duration above 0 such as 500ms, 15s, 5m, 1h or 2d; without a unit, seconds")
        if not self.least <= seconds <= self.most:
            raise ValueError(f"expected a duration from {spelled(self.least)} to {spelled(self.most)}")
        return seconds


duration = Duration()
"""A duration where nothing more is known of it."""


def between(least: str, most: str) -> Duration:
    """A duration within bounds, each written as one: ``between("100ms", "1m")``."""
    return Duration(duration(least), duration(most))


def spelled(seconds: float) -> str:
    """Seconds as a duration is written: 900.0 -> ``15m``."""
    for unit, length in sorted(_SECONDS.items(), key=lambda item: -item[1]):
        count = seconds / length
        if count >= 1 and math.isclose(count, round(count), rel_tol=1e-12):
            return f"{round(count)}{unit}"
    return f"{seconds!r}s"


def ratio(text: str) -> float:
    """A number from 0 to 1."""
    value = number(text)
    if not 0 <= value <= 1:
        raise ValueError("expected a number from 0 to 1")
    return value


def number(text: str) -> float:
    """A finite number of 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise ValueError("expected a finite number of 0 or more")
    return value


def positive(text: str) -> float:
    """A finite number above 0."""
    value = number(text)
    if value == 0:
        raise ValueError("expected a number above 0")
    return value


def above_0_to(most: float, unit: str) -> Callable[[str], float]:
    """A number above 0, and of ``unit`` no more than ``most``: more is another unit (cents, MWh)."""

    def parse(text: str) -> float:
        value = positive(text)
        if value > most:
            raise ValueError(f"expected at most {most:g} {unit}")
        return value

    return parse


def optional(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    """An empty text means "not set"."""
    return lambda text: parse(text) if text.strip() else None


def choice(*allowed: str) -> Callable[[str], str]:
    """One of ``allowed``. YAML reads a bare ``off`` as false: that is taken as the word that was written."""
    by_boolean = {"false": "off", "true": "on"}

    def parse(text: str) -> str:
        if text not in allowed and by_boolean.get(text) in allowed:
            return by_boolean[text]
        if text not in allowed:
            raise ValueError(f"allowed: {', '.join(filter(None, allowed))}{' or nothing' if '' in allowed else ''}")
        return text

    return parse


def interfaces(text: str) -> tuple[str, ...]:
    """Names of network interfaces, with commas between them.

    Raises:
        ValueError: for anything else.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,14}", name):
            raise ValueError(f"{name!r} is not the name of a network interface (eth0, ens5)")
    return names


def some_of(*allowed: str) -> Callable[[str], tuple[str, ...]]:
    """A comma-separated list of any of ``allowed``; empty for none."""

    def parse(text: str) -> tuple[str, ...]:
        items = words(text)
        if unknown := [word for word in items if word not in allowed]:
            raise ValueError(f"{unknown[0]!r} is not allowed; allowed: {', '.join(allowed)}")
        return items

    return parse


def words(text: str) -> tuple[str, ...]:
    """A comma-separated list."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def absolute_patterns(text: str) -> tuple[str, ...]:
    """A comma-separated list of absolute paths, whose components may be patterns."""
    items = words(text)
    for path in items:
        if not path.startswith("/") or path.rstrip("/") == "" or ".." in path.split("/") or "\0" in path:
            raise ValueError(f"{path!r}: expected an absolute path of a directory, without '..', such as /run/events/*")
    return tuple(path.rstrip("/") for path in items)


def http_url(text: str) -> str:
    """An http or https URL with a host and without a password, or empty; without a trailing slash."""
    if not text:
        return ""
    if "@" in text:  # urllib refuses it, with the password in an error that ends in a log
        raise ValueError("expected http://HOST:PORT or https://HOST:PORT without user and password")
    match = re.fullmatch(r"https?://(?:\[[0-9A-Fa-f:.]+(?:%[\w.~-]+)?\]|[^/\s:\[\]]+)(?::([0-9]{1,5}))?(?:/\S*)?", text)
    if not match or not 1 <= int(match[1] or 1) <= MOST_PORT:
        raise ValueError("expected http://HOST:PORT or https://HOST:PORT")
    return text.rstrip("/")


def boolean(text: str) -> bool:
    """``true``/``false``."""
    lowered = text.strip().lower()
    if lowered not in ("true", "false", "1", "0", "yes", "no"):
        raise ValueError("expected true or false")
    return lowered in ("true", "1", "yes")


def unknown_environment(settings: Sequence[type], environ: Mapping[str, str], also: Sequence[str]) -> list[str]:
    """Variables with our prefix that name no option: most likely misspelt, worth a warning."""
    known = {opt.env for cls in settings for opt in options(cls).values()} | {env_name(CONFIG_FLAG), *also}
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
