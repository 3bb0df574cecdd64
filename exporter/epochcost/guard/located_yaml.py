"""A YAML file whose values know their line, so that an error names file, line and field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
MAX_VALUES = 10_000
"""An anchor that is used again and again makes a small file a huge document."""
Path = tuple[Any, ...]


class PolicyError(ValueError):
    """A policy file is wrong; the text names file, line and field, what it was and what is allowed."""


@dataclass(slots=True)
class Located:
    """A document, and the line of each of its values by their path."""

    where: str
    document: Any = None
    lines: dict[Path, int] = field(default_factory=dict)

    def error(self, path: Path, text: str) -> PolicyError:
        """The error for the value at ``path``."""
        line = next((self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), None)
        place = f"{self.where}: line {line}" if line is not None else self.where
        name = named(path)
        return PolicyError(f"{place}: {name}: {text}" if name else f"{place}: {text}")


def named(path: Path) -> str:
    """``("policies", 0, "when")`` -> ``policies[0].when``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def parsed(text: str, where: str) -> Located:
    """The document in ``text``.

    Raises:
        PolicyError: when it is not YAML, has a key twice, or is too large.
    """
    import yaml

    it = Located(where)
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        it.document = None if root is None else _value(it, root, (), yaml)
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        place = f": line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(err, "problem", None)
        raise PolicyError(f"{where}{place}: is not valid YAML{f': {problem}' if problem else ''}") from None
    except RecursionError:
        raise PolicyError(f"{where}: is nested too deeply") from None
    return it


def _value(it: Located, node: Any, path: Path, yaml: Any) -> Any:  # noqa: ANN401 - PyYAML has no types of its own
    it.lines[path] = node.start_mark.line + 1
    if len(it.lines) > MAX_VALUES:
        raise PolicyError(f"{it.where}: holds more than {MAX_VALUES} values")
    if isinstance(node, yaml.SequenceNode):
        return [_value(it, one, (*path, n), yaml) for n, one in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            name = str(getattr(key, "value", ""))
            at = (*path, name)
            it.lines[at] = key.start_mark.line + 1
            if name in mapping:
                raise it.error(at, "occurs twice")
            mapping[name] = _value(it, value, at, yaml)
        return mapping
    return _scalar(node)


def _scalar(node: Any) -> str | None:  # noqa: ANN401
    """Text as it is written (``off`` is a word, not a boolean): the code that takes a field knows how it is read."""
    return None if node.tag.endswith(":null") else str(node.value)


class Fields:
    """One mapping of a document, whose fields are taken one by one; what is left over is an error."""

    def __init__(self, it: Located, value: Any, path: Path) -> None:  # noqa: ANN401
        if not isinstance(value, Mapping):
            raise it.error(path, "must be a mapping")
        self._it, self._value, self._path = it, value, path
        self._known: list[str] = []

    def has(self, name: str) -> bool:
        """Whether the field is present."""
        self._known.append(name)
        return self._value.get(name) is not None

    def raw(self, name: str) -> Any:  # noqa: ANN401
        """The value as it is; None if it is absent."""
        self._known.append(name)
        return self._value.get(name)

    def take(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """One value, read by ``parse`` (which may raise ValueError)."""
        raw = self.raw(name)
        if raw is None:
            return default
        if isinstance(raw, (Mapping, list)):
            raise self.error(name, "must be one value")
        return self._parse(name, raw, parse)

    def listed(self, name: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        """A list of values, or one alone."""
        raw = self.raw(name)
        entries = raw if isinstance(raw, list) else [] if raw is None else [raw]
        if any(isinstance(one, (Mapping, list)) or one is None for one in entries):
            raise self.error(name, "must be a list of values")
        return tuple(self._parse(name, one, parse) for one in entries)

    def inner(self, name: str) -> Fields | None:
        """A mapping within; None if it is absent."""
        raw = self.raw(name)
        return None if raw is None else Fields(self._it, raw, (*self._path, name))

    def items(self, name: str) -> Iterator[tuple[Any, Path]]:
        """The entries of a list, each with its path."""
        raw = self.raw(name)
        if raw is not None and not isinstance(raw, list):
            raise self.error(name, "must be a list")
        for n, one in enumerate(raw or []):
            yield one, (*self._path, name, n)

    @contextmanager
    def complete(self) -> Iterator[Fields]:
        """Within it the fields are taken; one that was not taken is a typo."""
        yield self
        for name in self._value:
            if name not in self._known:
                allowed = ", ".join(sorted(set(self._known)))
                raise self._it.error((*self._path, name), f"unknown field; allowed: {allowed}")

    def error(self, name: str, text: str) -> PolicyError:
        """The error for one field."""
        return self._it.error((*self._path, name) if name else self._path, text)

    def _parse(self, name: str, raw: Any, parse: Callable[[str], T]) -> T:  # noqa: ANN401
        text = str(raw)  # of a ready policy it may be a number
        try:
            return parse(text)
        except (ValueError, KeyError) as err:
            raise self.error(name, f"{text!r} is not valid: {err}") from None
