"""Builds, checks and times candidates of one kernel; a process of its own, because candidates may hang or crash.

    python kernel_timer.py TARGET < requests

A request and its answer are a line of JSON each:
    {"module": FILE}                        a kernel to work on: its inputs and outputs are computed anew
    {"name": TEXT, "trace": TEXT}           {"seconds": [...]} or {"error": TEXT}
    {"turns": [NAME, ...], "rounds": N}     {"seconds": {NAME: [one of each round, ...]}}: timed in turn
"""

import itertools
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tvm

from tunefarm_coordinator.engines.build import build_candidate
from tunefarm_coordinator.engines.candidate import BuildError

# As leases have it (control.leases.MEASURE).
REPEAT = 10
FLUSH = "cache_flush_cpu_non_first_arg"
# Most that an output may be off, of the greatest of the expected ones.
TOLERANCE = 1e-4


class Timer:
    """Holds one kernel and the candidates of it that were right."""

    def __init__(self, module: str, target: str, folder: Path) -> None:
        self._module, self._target, self._folder = module, target, folder
        self._numbers = itertools.count()
        parameters = tvm.ir.load_json(module)["main"].params
        shapes = [tuple(int(size) for size in parameter.shape) for parameter in parameters]
        random = np.random.default_rng(0)
        self._inputs = [tvm.runtime.tensor(random.standard_normal(shape).astype("float32")) for shape in shapes[:-1]]
        output = tvm.runtime.empty(shapes[-1], "float32")
        tvm.tirx.build(tvm.ir.load_json(module), target=tvm.target.Target(target))["main"](*self._inputs, output)
        self._expected = output.numpy()
        self._kernels: dict[str, tuple[Any, list[Any]]] = {}

    def measure(self, name: str, trace: str) -> list[float]:
        """Seconds of `REPEAT` calls. Raises BuildError for one that can't be built, ValueError for wrong output."""
        built = build_candidate(self._module, trace, self._target)
        path = self._folder / f"{next(self._numbers)}.so"  # a library that is loaded must not be overwritten
        path.write_bytes(built.library)
        module = tvm.runtime.load_module(str(path))
        tensors = list(self._inputs)
        for prepack in built.prepacks:
            argument = built.arguments[prepack.argument]
            packed = tvm.runtime.empty(argument.shape, argument.dtype)
            module[prepack.function](tensors[prepack.argument], packed)
            tensors[prepack.argument] = packed
        output = tvm.runtime.empty(built.arguments[-1].shape, built.arguments[-1].dtype)
        module["main"](*tensors, output)
        error = np.abs(output.numpy() - self._expected).max() / np.abs(self._expected).max()
        if not error <= TOLERANCE:
            raise ValueError(f"the output is off by {error:.2g} of the greatest value")
        self._kernels[name] = module, [*tensors, output]
        return self._seconds(name, REPEAT)

    def turns(self, names: list[str], rounds: int) -> dict[str, list[float]]:
        """Candidates timed in a rotating order; a name that stands twice ends in `#2` the second time."""
        keys = [f"{name}#2" if name in names[:index] else name for index, name in enumerate(names)]
        seconds: dict[str, list[float]] = {key: [] for key in keys}
        for number in range(rounds):
            start = number % len(names)
            for index in [*range(start, len(names)), *range(start)]:
                seconds[keys[index]].append(statistics.median(self._seconds(names[index], REPEAT)))
        return seconds

    def _seconds(self, name: str, repeat: int) -> list[float]:
        module, arguments = self._kernels[name]
        evaluator = module.time_evaluator("main", tvm.cpu(), number=1, repeat=repeat, f_preproc=FLUSH)
        return list(evaluator(*arguments).results)


def main() -> None:
    target, timer = sys.argv[1], None
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for number, line in enumerate(sys.stdin):
            request = json.loads(line)
            answer: dict[str, Any] = {}
            if "module" in request:
                place = Path(folder) / str(number)
                place.mkdir()
                timer = Timer(Path(request["module"]).read_text(), target, place)
            elif timer is not None and "turns" in request:
                answer = {"seconds": timer.turns(request["turns"], request["rounds"])}
            elif timer is not None:
                try:
                    answer = {"seconds": timer.measure(request["name"], request["trace"])}
                except (BuildError, ValueError) as error:
                    answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
