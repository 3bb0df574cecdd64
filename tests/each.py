"""One test that checks many items, where a test for each would cost more than the check itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any


def each(names: str, items: Iterable[Any], name_of: Callable[[Any], str] = str) -> Callable[[Callable[..., None]], Any]:
    """Call a test for every item and fail with all that are wrong, each by its name.

    Instead of ``pytest.mark.parametrize``, which takes some milliseconds per item and process to collect, schedule, set
    up and report. Fixtures are made once for all items.

    Args:
        names: of the arguments, separated by commas as for ``parametrize``; with several, each item is a tuple.
        items: what to check; an empty list is an error, for such a test could not fail.
        name_of: returns the name of an item for the report.
    """
    arguments = [name.strip() for name in names.split(",")]
    every = list(items)
    assert every, "a test that looks at nothing cannot fail"

    def decorate(check: Callable[..., None]) -> Any:
        def test(**fixtures: Any) -> None:
            wrong = []
            for item in every:
                values = (item,) if len(arguments) == 1 else item
                try:
                    check(**dict(zip(arguments, values, strict=True)), **fixtures)
                except Exception as err:  # noqa: BLE001 - whatever one item raises, the others are checked too
                    wrong.append(f"{name_of(item)}: {type(err).__name__}: {err}")
            assert not wrong, f"{len(wrong)} of {len(every)}\n\n" + "\n\n".join(wrong)

        signature = inspect.signature(check)
        rest = [p.replace(kind=p.KEYWORD_ONLY) for name, p in signature.parameters.items() if name not in arguments]
        vars(test).update(vars(check), __signature__=signature.replace(parameters=rest))
        test.__name__, test.__doc__, test.__module__ = check.__name__, check.__doc__, check.__module__
        test.__qualname__ = check.__qualname__
        return test

    return decorate
