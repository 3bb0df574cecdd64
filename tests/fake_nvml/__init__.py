"""A fake NVIDIA driver for tests: `fake_nvml.c` compiled as ``libnvidia-ml.so.1``, steered by a control file.

The real ``pynvml`` loads it by its soname, in either of two ways:

* in a child process: start it with `FakeDriver.env` in its environment (``LD_LIBRARY_PATH`` comes first in the search);
* in this process: `FakeDriver.load` opens the library by its full path, after which the dynamic linker answers
  ``dlopen("libnvidia-ml.so.1")`` with that same library. pynvml keeps it until the process ends, so all tests of one
  process share one build and differ by their control files only.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.fake_nvml.recorded import control_lines

SOURCE = Path(__file__).with_name("fake_nvml.c")
SONAME = "libnvidia-ml.so.1"
CONTROL_VARIABLE = "FAKE_NVML_CONTROL"
FLAGS = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-pthread")

# The NVML codes that tests inject.
UNINITIALIZED = 1
INVALID_ARGUMENT = 2
NOT_SUPPORTED = 3
NO_PERMISSION = 4
DRIVER_NOT_LOADED = 9
TIMEOUT = 10
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
RESET_REQUIRED = 16
LIB_RM_VERSION_MISMATCH = 18
NO_DATA = 21
VGPU_ECC_NOT_SUPPORTED = 22
ARGUMENT_VERSION_MISMATCH = 25
UNKNOWN = 999


_BUILT: list[Path] = []


class BuildError(RuntimeError):
    """The fake library could not be compiled; the text has the reason."""


def build(directory: Path, without: Sequence[str] = ()) -> Path:
    """Compile the library as ``directory/libnvidia-ml.so.1`` unless it is there; return its path.

    The whole library is compiled once in a process, and later calls return that one: a process has only one library of
    this name, the first that it loaded, and every test must speak with the same.

    Args:
        directory: made where missing; one per set of ``without``.
        without: full names of functions that the library shall lack, as an old driver's does.

    Raises:
        BuildError: without a C compiler, or when the source does not compile.
    """
    if not without and _BUILT and _BUILT[0].exists():
        return _BUILT[0]
    library = directory / SONAME
    if library.exists():
        return library
    _compile(SOURCE, library, [f"-D{name}=absent_{name}" for name in without])
    if not without:
        _BUILT[:] = [library]
    return library


def build_cuda(beside: Path) -> Path:
    """Compile the fake ``libcuda.so.1`` into the directory of the fake driver ``beside``; return its path."""
    library = beside.with_name("libcuda.so.1")
    if not library.exists():
        _compile(SOURCE.with_name("fake_cuda.c"), library)
    return library


def _compile(source: Path, library: Path, flags: Sequence[str] = ()) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise BuildError("the fake NVML library of the tests needs a C compiler: install gcc")
    library.parent.mkdir(parents=True, exist_ok=True)
    unfinished = library.with_name(f"{library.name}.{os.getpid()}")
    command = [compiler, *FLAGS, f"-Wl,-soname,{library.name}", *flags, "-o", str(unfinished), str(source)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    if completed.returncode:
        raise BuildError(f"{source.name} does not compile:\n{completed.stderr}")
    unfinished.replace(library)


class FakeDriver:
    """One fake driver: its control file, and the environment in which a process meets it.

    Every change is written at once and whole; a running process sees it with its next NVML call. GPUs are named by
    index or ``"*"``; functions without their ``nvml`` or ``nvmlDevice`` (``GetPowerUsage``, ``Init``).
    """

    def __init__(self, library: Path, control: Path, gpus: int = 8) -> None:
        self.library = library
        self.control = control
        self._lines: dict[tuple[str, ...], str] = {}
        self._writes = 0
        self.count(gpus)

    def env(self) -> dict[str, str]:
        """What to add to a child's environment."""
        inherited = os.environ.get("LD_LIBRARY_PATH")
        path = str(self.library.parent) + (f":{inherited}" if inherited else "")
        return {"LD_LIBRARY_PATH": path, CONTROL_VARIABLE: str(self.control)}

    def load(self) -> ctypes.CDLL:
        """Make the library the one that pynvml finds in this process; the caller sets `CONTROL_VARIABLE`."""
        return ctypes.CDLL(str(self.library))

    def play(self, recording: Mapping[str, Any]) -> None:
        """Replay the recorded driver, see `scripts.record_gpus`; `heal` does not affect it."""
        self._lines = {("recorded", str(i)): line for i, line in enumerate(control_lines(recording))}
        self._write()

    def count(self, gpus: int) -> None:
        """The driver sees this many GPUs, at most 64."""
        self._set(("count",), f"count {gpus}")

    def version(self, driver: str) -> None:
        """The driver's version, without blanks."""
        self._set(("driver",), f"driver {driver}")

    def reload(self) -> None:
        """The driver was unloaded and loaded again: calls fail as uninitialized until an init."""
        self._set(("generation",), f"generation {self._writes + 1}")

    def gpu(self, index: int | str, **figures: int | str | None) -> None:
        """Set figures of one GPU or of ``"*"``.

        ``util`` and ``memory_util`` in percent, ``memory_total|used|reserved`` in bytes, ``power_mw``, ``energy_mj``
        (unless set, it grows by 400 W), ``temperature``, ``name``, ``uuid``, and others of `fake_nvml.c`; None: the
        driver answers "not supported".
        """
        for name, value in figures.items():
            text = "none" if value is None else value
            key = ("gpu", str(index), name)
            self._lines.pop(key, None)  # the newest instruction is last, and so takes precedence
            self._lines[key] = f"gpu {index} {name} {text}"
        self._write()

    def slice(self, index: int, number: int, **figures: int | str | None) -> None:
        """Slice ``number`` (0 to 7) of GPU ``index`` is there, once ``mig=1`` is set for it.

        ``slices`` of the GPU's 7 parts (1), ``memory_total|used|reserved``, ``gpm_graphics|sm|tensor|dram`` in percent,
        ``name``, ``uuid``; None: not supported.
        """
        for name, value in {"slices": 1, **figures}.items():
            text = "none" if value is None else value
            key = ("slice", str(index), str(number), name)
            self._lines.pop(key, None)
            self._lines[key] = f"gpu {index} slice {number} {name} {text}"
        self._lines.pop(("slice", str(index), str(number), "none"), None)
        self._write()

    def destroy(self, index: int, number: int) -> None:
        """Slice ``number`` of GPU ``index`` is no longer there."""
        self._set(("slice", str(index), str(number), "none"), f"gpu {index} slice {number} none")

    def xid(self, index: int, xid: int) -> None:
        """GPU ``index`` reports this Xid, once."""
        self._set(("xid", str(self._writes)), f"xid {index} {xid}")

    def process(self, index: int, pid: int, memory_bytes: int) -> None:
        """A process computes on GPU ``index``."""
        self._set(("process", str(index), str(pid)), f"gpu {index} process {pid} {memory_bytes}")

    def error(self, function: str, code: int, gpu: int | str | None = None) -> None:
        """``function`` returns NVML code ``code``; with a ``gpu`` for that one only, where ``"*"`` is any function."""
        self._set(("error", function, str(gpu)), f"{_of(gpu)}error {function} {code}")

    def hang(self, function: str, seconds: float, gpu: int | str | None = None) -> None:
        """``function`` returns after ``seconds``, or once `heal` lifts it."""
        self._set(("hang", function, str(gpu)), f"{_of(gpu)}hang {function} {seconds:g}")

    def missing(self, function: str) -> None:
        """This driver is too old to have ``function``: it returns "function not found"."""
        self._set(("missing", function), f"missing {function}")

    def heal(self) -> None:
        """Lift every error, hang and missing function; figures, count and version stay."""
        self._lines = {key: line for key, line in self._lines.items() if key[0] not in ("error", "hang", "missing")}
        self._write()

    def unload(self) -> None:
        """No driver any longer: every call fails, an init returns "driver not loaded"."""
        self.control.unlink()

    def _set(self, key: tuple[str, ...], line: str) -> None:
        self._lines.pop(key, None)
        self._lines[key] = line
        self._write()

    def _write(self) -> None:
        self._writes += 1
        unfinished = self.control.with_name(f"{self.control.name}.new")
        # The library checks the file's time: a stamp set here distinguishes two writes within one tick of the clock.
        unfinished.write_text("\n".join([f"# write {self._writes}", *self._lines.values(), ""]), encoding="utf-8")
        os.utime(unfinished, ns=(self._writes, self._writes))
        unfinished.replace(self.control)


def _of(gpu: int | str | None) -> str:
    return "" if gpu is None else f"gpu {gpu} "
