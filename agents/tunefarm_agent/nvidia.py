"""NVIDIA GPUs of this host, as the driver's own library tells of them (NVML). No driver, no GPUs; no CUDA needed."""

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

_GIB = 1 << 30
# Of every GPU since compute capability 2.0 (CUDA C++ programming guide, table of technical specifications): what a
# block may have without asking the driver for more.
_THREADS_PER_BLOCK = 1024
_SHARED_BYTES_PER_BLOCK = 48 << 10
_WARP = 32

_log = structlog.get_logger()


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        index: the driver's.
        uuid: as the driver and CUDA_VISIBLE_DEVICES name it.
        capability: compute capability.
        memory: bytes.
    """

    index: int
    uuid: str
    name: str
    capability: tuple[int, int]
    memory: int

    def facts(self) -> dict[str, str]:
        """What outlives a reboot and an update of the driver."""
        return {
            "gpu": self.name,
            "gpu_compute": ".".join(map(str, self.capability)),
            "gpu_memory_gib": str(round(self.memory / _GIB)),
            "machine": hashlib.sha256(f"tunefarm{self.uuid}".encode()).hexdigest()[:16],
        }

    def target(self, host: Mapping[str, object]) -> dict[str, object]:
        """The TVM target to propose; `host`: target of the CPU that calls the kernels."""
        return {
            "kind": "cuda",
            "arch": "sm_{}{}".format(*self.capability),
            "max_threads_per_block": _THREADS_PER_BLOCK,
            "max_shared_memory_per_block": _SHARED_BYTES_PER_BLOCK,
            "thread_warp_size": _WARP,
            "host": dict(host),
        }


def nvml_of_driver() -> Any:
    """NVML as a Python module, ready to be asked; None where there is no driver, or no package to ask it with."""
    if importlib.util.find_spec("pynvml") is None:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return None
    return pynvml


def gpus() -> tuple[Gpu, ...]:
    """In the driver's order; none where there is no driver, or no package to ask it with. One that does not answer is
    left out, with a warning."""
    nvml = nvml_of_driver()
    if nvml is None:
        return ()
    found = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            found.append(_gpu(nvml, index))
        except nvml.NVMLError as error:
            _log.warning("a GPU does not answer and is left out", gpu=index, error=str(error))
    return tuple(found)


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    return Gpu(
        index=index,
        uuid=nvml.nvmlDeviceGetUUID(handle),
        name=nvml.nvmlDeviceGetName(handle),
        capability=tuple(nvml.nvmlDeviceGetCudaComputeCapability(handle)),
        memory=nvml.nvmlDeviceGetMemoryInfo(handle).total,
    )


def temperature(gpu: Gpu) -> float | None:
    """Degrees Celsius; None where the driver does not tell."""
    import pynvml

    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
        return float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
    except pynvml.NVMLError:
        return None
