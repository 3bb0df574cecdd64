"""The most device memory that the process ever held."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from epochcost.training.validation import whole
from epochcost.training.warning import warn_once


class MemoryPeak:
    """Calls ``read_peak`` (-> bytes), or torch if the program has loaded it itself; keeps the largest result."""

    def __init__(self, read_peak: Callable[[], Any] | None) -> None:
        self._read_peak = read_peak
        self._peak: int | None = None

    def fragment(self) -> str:
        """The peak as a key of a JSON object, led by a comma; empty if unknown."""
        if self._read_peak is None and "torch" not in sys.modules:
            return ""
        peak = self.peak_bytes()
        return "" if peak is None else f',"memory_peak_bytes":{peak}'

    def peak_bytes(self) -> int | None:
        """In bytes, of the fullest device; None if unknown."""
        try:
            peak = _torch_peak_bytes() if self._read_peak is None else whole("memory_peak()", self._read_peak())
        except Exception as err:  # noqa: BLE001 - the user's function, the user's exceptions
            warn_once("memory_peak", f"memory_peak failed ({type(err).__name__}: {err}); peak memory is not reported")
            self._read_peak = lambda: None
            return self._peak
        if peak is not None:  # the program may reset torch's own peak
            self._peak = peak if self._peak is None else max(self._peak, peak)
        return self._peak


def _torch_peak_bytes() -> int | None:
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    try:
        if cuda is None or not cuda.is_initialized():
            return None
        return max((int(cuda.max_memory_allocated(device)) for device in range(cuda.device_count())), default=None)
    except Exception:  # noqa: BLE001 - the user did not ask for it: a torch half loaded or built without devices is not an error
        return None
