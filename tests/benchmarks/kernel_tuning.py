"""A row's kernels tuned on this machine by the product's own search: the best after so many trials, and after more."""

import statistics
import tempfile
from pathlib import Path

from templates import SEED, Measurer, Tuned, finalist, tune

from tunefarm_coordinator.engines.cost_model import CostModelTrainer
from tunefarm_coordinator.engines.engine import Observation, Search, engine
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.default_schedule import default_trace
from tunefarm_coordinator.models.prepare import PreparedModel
from tunefarm_coordinator.models.task import TuningTask


class _Kernel:
    """One task's search, with a cost model of its own, and what its trials gave; the default schedule is among it."""

    def __init__(self, task: TuningTask, search: Search, default: str, measurer: Measurer, module: Path) -> None:
        self.workload = task.workload
        self._search, self._measurer, self._module = search, measurer, module
        self._trainer = CostModelTrainer(SEED)
        module.write_text(task.module)
        measurer.work_on(module)
        seconds = statistics.median(measurer.ask({"name": "default", "trace": default})["seconds"])
        self._trainer.update(search.observe([Observation(search.adopt(default).identity, seconds)]))
        self._tuned = Tuned([(seconds, default)])
        self._spent = 0

    def best_after(self, trials: int) -> str:
        """Trace of the fastest, after so many trials in all."""
        self._measurer.work_on(self._module)
        more = tune(self._search, self._trainer, self._measurer, trials - self._spent)
        self._spent = trials
        self._tuned.found += more.found
        return finalist("best", self._tuned, self._measurer)


class Tuning:
    """The tasks of a prepared model. What is no task, or has no space, keeps its default."""

    def __init__(self, prepared: PreparedModel, target: str, tuner: str, threads: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bench-")
        self._measurer = Measurer(target, threads)
        self._kernels = []
        for number, task in enumerate(prepared.tasks):
            default = default_trace(task.module, target)
            try:
                search = engine(tuner).open(task.name, task.module, target, SEED, seeds=(default,))
                module = Path(self._folder.name) / f"{number}.json"
                self._kernels.append(_Kernel(task, search, default, self._measurer, module))
            except InvalidInput as error:
                print(f"   {task.name} is not tuned: {error}")

    def best_after(self, trials: int) -> dict[str, str]:
        """Traces by workload, after so many trials of each kernel."""
        return {kernel.workload: kernel.best_after(trials) for kernel in self._kernels}

    def close(self) -> None:
        self._measurer.close()
        self._folder.cleanup()
