"""Watches one GPU through NVML: how it runs, and who else uses it. Whatever the driver does not tell is unknown.

Process numbers are the driver's: inside a container they may be another namespace's, or not be told at all. So numbers
are believed only once one of our own was among them; else whoever is there while nothing of ours is, is a stranger.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from tunefarm_agent.nvidia import Gpu, nvml_of_driver

# Percent of the GPU's time from which on others are taken to work on it: a desktop draws now and then.
_BUSY = 10
# After our own work: until the driver's averages, and processes that end, are of the past.
_SETTLED_SECONDS = 2.0
# A look costs the driver's time; what is younger is good enough.
_FRESH_SECONDS = 0.5
_NAMED = 3

_log = structlog.get_logger()


@dataclass(frozen=True)
class GpuReading:
    """One look at a GPU; None: unknown.

    Attributes:
        sm_clock, memory_clock: MHz.
        throttle_reasons: the bits that NVML names nvmlClocksEventReasons.
        strangers: processes of others that use it.
        busy: others work on it.
        by: who, for people; empty where there is nobody, or nobody tells.
    """

    sm_clock: int | None = None
    memory_clock: int | None = None
    throttle_reasons: int | None = None
    strangers: int | None = None
    busy: bool = False
    by: str = ""


@dataclass
class GpuWatch:
    """`own`: numbers of our own processes; `clock`: seconds, monotonic; `alive`: whether a process is there."""

    gpu: Gpu
    own: Callable[[], Collection[int]]
    nvml: Any = None
    clock: Callable[[], float] = time.monotonic
    alive: Callable[[int], bool] = lambda pid: Path(f"/proc/{pid}").exists()
    _working: bool = False
    _worked: float = field(default=float("-inf"))
    _numbers_are_ours: bool | None = None
    _known: frozenset[int] = frozenset()
    _seen_until: int = 0
    _last: GpuReading | None = None
    _looked: float = field(default=float("-inf"))
    _noted: set[str] = field(default_factory=set)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """While a lease of ours is on the GPU."""
        self._working = True
        try:
            yield
        finally:
            self._working, self._worked = False, self.clock()

    def look(self, inside: bool = False) -> GpuReading:
        """What is known now. `inside`: a process of ours has the GPU open for certain."""
        now = self.clock()
        # Until it is known whose numbers these are, the first look from inside may be the last for long: a lease of
        # short kernels is over sooner than a look gets old.
        learns = inside and self._numbers_are_ours is None
        if self._last is None or learns or now - self._looked >= _FRESH_SECONDS:
            self._last, self._looked = self._read(now, inside), now
        return self._last

    def _read(self, now: float, inside: bool) -> GpuReading:
        nvml = self.nvml = self.nvml or nvml_of_driver()
        if nvml is None:
            return GpuReading()
        handle = self._asked("handle", lambda: nvml.nvmlDeviceGetHandleByUUID(self.gpu.uuid))
        if handle is None:
            return GpuReading()
        strangers = self._strangers(handle, now, inside)
        share = self._share(handle, now)
        return GpuReading(
            sm_clock=self._asked("clocks", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            memory_clock=self._asked("clocks", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
            throttle_reasons=self._asked(
                "throttle reasons", lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)
            ),
            strangers=None if strangers is None else len(strangers),
            busy=share >= _BUSY,
            by=self._told(strangers, share),
        )

    def _strangers(self, handle: Any, now: float, inside: bool) -> frozenset[int] | None:
        """Processes of others; None where the driver does not list any."""
        listed = self._asked("processes", lambda: self.nvml.nvmlDeviceGetComputeRunningProcesses(handle))
        if listed is None:
            return None
        numbers = frozenset(int(each.pid) for each in listed)
        ours = numbers & frozenset(self.own())
        if ours:
            self._numbers_are_ours = True
        elif inside and self._numbers_are_ours is None:
            self._numbers_are_ours = False
            self._note("processes", "it lists none of ours: numbers of another namespace, as in a container")
        if self._numbers_are_ours:
            self._known = frozenset(pid for pid in numbers - ours if self.alive(pid))
        elif not self._working and now - self._worked >= _SETTLED_SECONDS:
            self._known = numbers
        return self._known

    def _share(self, handle: Any, now: float) -> int:
        """Percent of the GPU's time that others take; 0 where nobody tells."""
        if not self._working and now - self._worked >= _SETTLED_SECONDS:
            rates = self._asked("utilisation", lambda: self.nvml.nvmlDeviceGetUtilizationRates(handle))
            return 0 if rates is None else int(rates.gpu)
        if not self._numbers_are_ours or not self._known:
            return 0
        samples = self._samples(handle)
        self._seen_until = max([self._seen_until, *(int(each.timeStamp) for each in samples)])
        return max((int(each.smUtil) for each in samples if each.pid in self._known), default=0)

    def _samples(self, handle: Any) -> list[Any]:
        def question() -> Any:
            try:
                return self.nvml.nvmlDeviceGetProcessUtilization(handle, self._seen_until)
            except self.nvml.NVMLError_NotFound:
                # Nobody did anything since.
                return []

        return list(self._asked("utilisation of processes", question) or [])

    def _told(self, strangers: frozenset[int] | None, share: int) -> str:
        who = ""
        if strangers and self._numbers_are_ours:
            named = ", ".join(f"{_name(pid)} (pid {pid})" for pid in sorted(strangers)[:_NAMED])
            who = named + (f" and {len(strangers) - _NAMED} more" if len(strangers) > _NAMED else "")
        elif strangers:
            who = "a process of others" if len(strangers) == 1 else f"{len(strangers)} processes of others"
        elif share >= _BUSY:
            who = "somebody else"
        return f"{who}, {share}% of its time" if who and share >= _BUSY else who

    def _asked(self, what: str, question: Callable[[], Any]) -> Any:
        """The driver's answer; None, and a note in the log, where it has none."""
        try:
            return question()
        # The second: a driver that is older than the Python package, by name of the function.
        except (self.nvml.NVMLError, self.nvml.NVMLLibraryMismatchError) as error:
            self._note(what, str(error))
            return None

    def _note(self, what: str, why: str) -> None:
        """Once for each thing that is unknown."""
        if what not in self._noted:
            self._noted.add(what)
            _log.warning("the driver does not tell all of a GPU", gpu=self.gpu.index, what=what, reason=why)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "a process"
