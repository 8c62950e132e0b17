"""A fake of NVIDIA's management library as its Python package has it: one GPU, in whatever state a test wants."""

from types import SimpleNamespace
from typing import Any


class FakeNvml:
    """Set the public attributes; what is named in `silent` raises, as with a driver or a container that does not tell.

    Attributes:
        processes: numbers of those that have the GPU open; shares: percent of its time that each took lately.
        utilisation: percent of its time that it worked lately, for whomever.
        asked: names of the functions called.
    """

    class NVMLError(Exception):
        pass

    class NVMLError_NotFound(NVMLError):
        pass

    class NVMLLibraryMismatchError(Exception):
        """Not an NVMLError in the real one either."""

    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2

    def __init__(self) -> None:
        self.processes: list[int] = []
        self.shares: dict[int, int] = {}
        self.utilisation = 0
        self.reasons = 0
        self.silent: set[str] = set()
        self.silence: type[Exception] = self.NVMLError
        self.asked: list[str] = []
        self.moment = 0

    def _told(self, name: str) -> None:
        self.asked.append(name)
        if name in self.silent:
            raise self.silence("Not Supported")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self._told("handle")
        return uuid

    def nvmlDeviceGetClockInfo(self, _handle: Any, kind: int) -> int:
        self._told("clocks")
        return {self.NVML_CLOCK_SM: 1980, self.NVML_CLOCK_MEM: 2619}[kind]

    def nvmlDeviceGetCurrentClocksEventReasons(self, _handle: Any) -> int:
        self._told("reasons")
        return self.reasons

    def nvmlDeviceGetComputeRunningProcesses(self, _handle: Any) -> list[Any]:
        self._told("processes")
        return [SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in self.processes]

    def nvmlDeviceGetUtilizationRates(self, _handle: Any) -> Any:
        self._told("utilisation")
        return SimpleNamespace(gpu=self.utilisation, memory=0)

    def nvmlDeviceGetProcessUtilization(self, _handle: Any, since: int) -> list[Any]:
        self._told("shares")
        if since >= self.moment or not self.shares:
            raise self.NVMLError_NotFound("Not Found")
        return [SimpleNamespace(pid=pid, smUtil=share, timeStamp=self.moment) for pid, share in self.shares.items()]
