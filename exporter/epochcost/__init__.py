"""What one epoch of training costs, live.

Training code imports this package and nothing else of it::

    with epochcost.run(experiment="char-lm", epochs=25, batch_size=20) as run:
        for epoch in run.epochs():
            for batch in run.batches(loader):
                ...

Importing loads next to nothing: names come into being when first used, from the standard library alone, and nothing of
the agent is touched. Whatever goes wrong in here never raises into, blocks or ends a training run.
"""

from __future__ import annotations

from epochcost._version import __version__

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the 8 ms that module typing costs

if TYPE_CHECKING:
    from epochcost.training.api import (
        Run,
        checkpoint,
        composer_callback,
        current,
        end,
        epoch_end,
        fastai_callback,
        huggingface_callback,
        jax_run,
        keras_callback,
        lightning_callback,
        log,
        phase,
        report,
        resume,
        run,
        start,
        step,
        ultralytics_callbacks,
    )

__all__ = [
    "Run",
    "__version__",
    "checkpoint",
    "composer_callback",
    "current",
    "end",
    "epoch_end",
    "fastai_callback",
    "huggingface_callback",
    "jax_run",
    "keras_callback",
    "lightning_callback",
    "log",
    "phase",
    "report",
    "resume",
    "run",
    "start",
    "step",
    "ultralytics_callbacks",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from epochcost.training import api

    value: object = getattr(api, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
