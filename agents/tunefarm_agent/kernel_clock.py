"""Times every kernel inside a running model. Runs on the far side of a session, beside TVM's virtual machine."""

import json
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from tunefarm_agent import steady

FUNCTION = "tunefarm.time_kernels"
_BUILTIN = "vm.builtin."


def time_kernels(wait: Callable[[], None], machine: Any, entry: str, runs: int, warm_up: float) -> str:
    """Runs a model whose inputs are set, `runs` times after one, or as many as fill `warm_up` seconds.

    `wait`: returns when the device has done what it was given.

    Returns:
        JSON, by name of the kernel: seconds of all its calls in one run, summed, one value a run. They hold the
        cost of the hook (microseconds a call), which is the same whatever the schedule.
    """
    clock = _Clock(wait)
    run, instrument = machine["invoke_stateful"], machine["set_instrument"]

    def finish() -> None:
        run(entry)
        wait()

    steady.warm_up(finish, warm_up)
    instrument(clock.tick)
    for _ in range(runs):
        clock.begin_run()
        run(entry)
    return json.dumps(clock.runs())


class _Clock:
    """Told before and after each call that the virtual machine makes."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait = wait
        self._runs: list[dict[str, float]] = []
        self._started = 0.0

    def begin_run(self) -> None:
        self._runs.append(defaultdict(float))

    def tick(self, _function: Any, name: str, before: bool, *_: Any) -> int:
        """The signature that the virtual machine asks for; 0 lets it go on."""
        if before:
            self._started = time.perf_counter()
        elif not name.startswith(_BUILTIN):
            self._wait()
            self._runs[-1][name] += time.perf_counter() - self._started
        return 0

    def runs(self) -> dict[str, list[float]]:
        names = dict.fromkeys(name for run in self._runs for name in run)
        return {name: [run.get(name, 0.0) for run in self._runs] for name in names}
