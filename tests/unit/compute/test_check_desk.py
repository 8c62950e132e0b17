"""A model whose check ends its process is told apart from a process that was unlucky."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.compute.fake_workers import FakeWorker, Starter
from tunefarm_coordinator.compute.check_desk import CHECK_SECONDS, STEP_FILE, check
from tunefarm_coordinator.compute.messages import Checked, CheckModel, ComputeFailed, Reference
from tunefarm_coordinator.compute.model_pool import ModelPool
from tunefarm_coordinator.compute.worker_errors import WorkerDied, WorkerHung
from tunefarm_coordinator.errors import InvalidInput


def models(*outcomes: Any) -> tuple[ModelPool, Starter]:
    """A pool whose checks end like this, one after the other."""
    left = list(outcomes)

    def answer(worker: FakeWorker, *_: Any) -> Any:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            worker.dead = isinstance(outcome, WorkerDied)
            raise outcome
        return outcome

    starter = Starter(answer)
    return ModelPool(starter, 1, time_limit=3600, idle_seconds=60), starter


def request(folder: Path) -> CheckModel:
    return CheckModel(folder, Reference(Path("model.onnx"), {}, (0,)))


async def test_a_check_has_a_limit_of_its_own(tmp_path: Path) -> None:
    pool, starter = models(Checked(notes=("fine",)))
    assert (await check(pool, request(tmp_path))).notes == ("fine",)
    assert starter.started[0].limit == CHECK_SECONDS


async def test_a_process_that_dies_once_was_unlucky(tmp_path: Path) -> None:
    pool, starter = models(WorkerDied("killed", 1.0), Checked())
    assert await check(pool, request(tmp_path)) == Checked()
    assert len(starter.started) == 2


async def test_a_model_that_ends_its_process_twice_is_refused_with_what_was_done(tmp_path: Path) -> None:
    (tmp_path / STEP_FILE).write_text("it ran untuned")
    pool, _ = models(WorkerDied("SIGFPE", 1.0), WorkerDied("SIGFPE", 1.0))
    with pytest.raises(InvalidInput, match=r"model\.onnx: .* while it ran untuned \(SIGFPE\)"):
        await check(pool, request(tmp_path))


async def test_what_takes_too_long_is_tuned_unchecked(tmp_path: Path) -> None:
    pool, _ = models(WorkerHung("no answer", 900.0))
    assert "not checked" in (await check(pool, request(tmp_path))).notes[0]


async def test_other_failures_are_what_they_were(tmp_path: Path) -> None:
    pool, _ = models(ComputeFailed("a bug"))
    with pytest.raises(ComputeFailed, match="a bug"):
        await check(pool, request(tmp_path))
