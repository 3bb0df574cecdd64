"""Callback classes with a framework's base class, made on first use."""

from __future__ import annotations

from collections.abc import Callable


def callback_class_getter(module: str, hooks: type, bases: Callable[[], tuple[type, ...]]) -> Callable[[str], type]:
    """A ``__getattr__`` for ``module`` that makes ``EpochcostCallback`` of ``hooks`` and the framework's ``bases()``.

    The class belongs to the module by name, so that it can be pickled.
    """
    classes: list[type] = []

    def get(name: str) -> type:
        if name != "EpochcostCallback":
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        if not classes:
            classes.append(type(name, (hooks, *bases()), {"__module__": module, "__doc__": hooks.__doc__}))
        return classes[0]

    return get
