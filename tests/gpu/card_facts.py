"""What the check says of the machine: its GPU as the driver's library (NVML) tells of it, its cores, its software."""

import contextlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tvm

SAMPLE_SECONDS = 0.5


def machine_facts(commit: str, gpu: bool) -> dict[str, Any]:
    """Card, driver, CUDA, commit, cores; `gpu` False: without a card. Raises RuntimeError where there is none."""
    facts: dict[str, Any] = {
        "commit": commit or _commit(),
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu(),
        "python": platform.python_version(),
        "tvm": tvm.__version__,
        "nvcc": _nvcc(),
        "nvrtc": _nvrtc(),
        "card": None,
    }
    return {**facts, **_card()} if gpu else facts


def _card() -> dict[str, Any]:
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    except Exception as error:
        raise RuntimeError(f"no NVIDIA GPU answers here ({error}): nvidia-smi should list one") from error
    told: dict[str, Callable[[], Any]] = {
        "card": lambda: pynvml.nvmlDeviceGetName(handle),
        "driver": pynvml.nvmlSystemGetDriverVersion,
        "driver_cuda": lambda: "{}.{}".format(*_version(pynvml.nvmlSystemGetCudaDriverVersion())),
        "memory_gib": lambda: round(pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30, 1),
        "power_limit_watts": lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3,
        "max_clock_mhz": lambda: pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM),
    }
    facts: dict[str, Any] = {}
    for name, ask in told.items():
        facts[name] = None
        # A driver in a container does not tell all; the second: one that is older than the Python package.
        with contextlib.suppress(pynvml.NVMLError, pynvml.NVMLLibraryMismatchError):
            facts[name] = ask()
    return facts


def _version(number: int) -> tuple[int, int]:
    """13000 as (13, 0)."""
    return number // 1000, number % 1000 // 10


class Utilisation:
    """Samples how busy the first GPU is while it is entered: the percentage of time in which a kernel ran."""

    def __init__(self, gpu: bool) -> None:
        self._gpu = gpu
        self._samples: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Utilisation":
        if self._gpu:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._gpu:
            self._thread.join()

    @property
    def percent(self) -> float | None:
        """Mean of the samples; None where there are none."""
        return sum(self._samples) / len(self._samples) if self._samples else None

    def _sample(self) -> None:
        import pynvml

        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        while not self._stop.wait(SAMPLE_SECONDS):
            with contextlib.suppress(pynvml.NVMLError):
                self._samples.append(float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu))


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    here = str(Path(__file__).parent)
    git = shutil.which("git")
    if git is None:
        return "unknown"
    done = subprocess.run(
        [git, "-C", here, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _nvrtc() -> str | None:
    """Version of extra `cuda`'s compiler, which comes before nvcc where it is installed."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("nvidia-cuda-nvrtc")
    return None


def _nvcc() -> str | None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        return None
    said = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=False).stdout
    release = [line for line in said.splitlines() if "release" in line]
    return release[0].partition("release ")[2].partition(",")[0] if release else None
