"""Keeps one NVIDIA GPU busy, or fills its memory, with nothing but the driver: ``python -m scripts.gpu_load``.

For `scripts.record_gpus`. It calls CUDA's own driver library, so no framework has to be there.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from collections.abc import Callable

LIBRARY = "libcuda.so.1"
LOAD_BYTES = 1 << 30
FILLED_PART = 0.8
"""Of the free memory."""
NAP_SECONDS = 0.2


class Cuda:
    """The primary context of one device; every call that fails ends the program with its name and code."""

    def __init__(self, device: int) -> None:
        self._library = ctypes.CDLL(LIBRARY)
        number, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuInit", ctypes.c_uint(0))
        self.call("cuDeviceGet", ctypes.byref(number), ctypes.c_int(device))
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), number)
        self.call("cuCtxSetCurrent", context)

    def call(self, name: str, *arguments: object) -> None:
        """One call of the library."""
        code = getattr(self._library, name)(*arguments)
        if code:
            sys.exit(f"{name}: CUDA error {code}")

    def free_bytes(self) -> int:
        """Memory that nobody holds."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def allocated(self, size: int) -> ctypes.c_uint64:
        """Where ``size`` bytes of the device's memory begin, held until this program ends."""
        pointer = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        return pointer

    def written(self, pointer: ctypes.c_uint64, size: int) -> None:
        """Write all of ``size`` bytes from ``pointer`` on, and wait for it."""
        self.call("cuMemsetD32_v2", pointer, ctypes.c_uint(0), ctypes.c_size_t(size // 4))
        self.call("cuCtxSynchronize")


def load(cuda: Cuda, goes_on: Callable[[], bool]) -> None:
    """Write to the same memory without a pause."""
    pointer = cuda.allocated(LOAD_BYTES)
    while goes_on():
        cuda.written(pointer, LOAD_BYTES)


def memory(cuda: Cuda, goes_on: Callable[[], bool]) -> None:
    """Hold most of the memory, and do nothing."""
    cuda.allocated(int(FILLED_PART * cuda.free_bytes()))
    while goes_on():
        time.sleep(NAP_SECONDS)


KINDS = {"load": load, "memory": memory}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--seconds", type=float, default=60.0, help="at most so long")
    parser.add_argument("--device", type=int, default=0)
    args = parser.parse_args()
    end = time.monotonic() + args.seconds
    KINDS[args.kind](Cuda(args.device), lambda: time.monotonic() < end)
    return 0


if __name__ == "__main__":
    sys.exit(main())
