"""The table of semantics: what a user gives, which tuner it picks, with which options; or what has to be dropped.

Every row goes three ways to the real service: through the SDK, the command line, and gRPC itself, each time as a plan
and as a job.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from tests.tiny_models import save_tiny_cnn
from tests.tuning_service import TuningService
from tunefarm import AutoschedulerOptions, AutoTVMOptions, BothOptions, Client
from tunefarm.cli import main
from tunefarm.errors import InvalidInput
from tunefarm.options import TuningOptions
from tunefarm_proto.v1 import common_pb2, tuning_pb2, tuning_pb2_grpc


@dataclass(frozen=True)
class Row:
    """What is given, in each of the three ways, and what it means.

    `wire` None: the contract has no way to say it. `options` are the tuner's, all of them; `drop`: what the error
    names, once for the SDK and once for the command line.
    """

    name: str
    sdk: tuple[TuningOptions | None, dict[str, int]]
    cli: str
    wire: dict[str, dict[str, int]] | None = field(default_factory=dict)
    tuner: str = ""
    options: dict[str, int] = field(default_factory=dict)
    drop: tuple[str, str] | None = None


def _auto(trials: int = 1000, patience: int = 250, top: int = 3) -> dict[str, Any]:
    options = {"trials_per_kernel": trials, "early_stopping_threshold": patience, "top_trials_per_kernel": top}
    return {"tuner": "autoscheduler", "options": options}


def _tvm(trials: int = 2000, patience: int = 500, exploration: int = 0, random: int = 0) -> dict[str, Any]:
    options = {
        "kernel_trials": trials,
        "early_stopping_threshold": patience,
        "exploration_trials": exploration,
        "random_trials": random,
    }
    return {"tuner": "autotvm", "options": options}


def _scheduler_wire(**given: int) -> dict[str, dict[str, int]]:
    return {"autoscheduler": given}


def _tvm_wire(**given: int) -> dict[str, dict[str, int]]:
    return {"autotvm": given}


def _both(trials: int = 1000, patience: int = 250, top: int = 3) -> dict[str, Any]:
    return {**_auto(trials, patience, top), "tuner": "both"}


S, T, B = AutoschedulerOptions, AutoTVMOptions, BothOptions
TABLE = [
    Row("nothing", (None, {}), "", {}, **_auto()),
    Row("Auto-scheduler by name", (S(), {}), "--tuner autoscheduler", _scheduler_wire(), **_auto()),
    Row("AutoTVM by name", (T(), {}), "--tuner autotvm", _tvm_wire(), **_tvm()),
    Row("both by name", (B(), {}), "--tuner both", {"both": {}}, **_both()),
    Row(
        "both tuners' options",
        (B(trials_per_kernel=4, early_stopping_threshold=3, top_trials_per_kernel=2), {}),
        "--tuner both --trials-per-kernel 4 --early-stopping-threshold 3 --top-trials-per-kernel 2",
        {"both": {"trials_per_kernel": 4, "early_stopping_threshold": 3, "top_trials_per_kernel": 2}},
        **_both(4, 3, 2),
    ),
    Row(
        "Auto-scheduler's options",
        (S(trials_per_kernel=4, early_stopping_threshold=3, top_trials_per_kernel=2), {}),
        "--tuner autoscheduler --trials-per-kernel 4 --early-stopping-threshold 3 --top-trials-per-kernel 2",
        _scheduler_wire(trials_per_kernel=4, early_stopping_threshold=3, top_trials_per_kernel=2),
        **_auto(4, 3, 2),
    ),
    Row(
        "AutoTVM's options",
        (T(kernel_trials=4, early_stopping_threshold=3, exploration_trials=2, random_trials=1), {}),
        "--tuner autotvm --kernel-trials 4 --early-stopping-threshold 3 --exploration-trials 2 --random-trials 1",
        _tvm_wire(kernel_trials=4, early_stopping_threshold=3, exploration_trials=2, random_trials=1),
        **_tvm(4, 3, 2, 1),
    ),
    Row(
        "an option that is given as its default",
        (T(kernel_trials=2000), {}),
        "--tuner autotvm --kernel-trials 2000",
        _tvm_wire(kernel_trials=2000),
        **_tvm(),
    ),
    Row(
        "loose kernel_trials",
        (None, {"kernel_trials": 7}),
        "--kernel-trials 7",
        _tvm_wire(kernel_trials=7),
        **_tvm(7),
    ),
    Row(
        "loose early_stopping_threshold",
        (None, {"early_stopping_threshold": 7}),
        "--early-stopping-threshold 7",
        _tvm_wire(early_stopping_threshold=7),
        **_tvm(patience=7),
    ),
    Row(
        "loose kernel_trials and early_stopping_threshold",
        (None, {"kernel_trials": 9, "early_stopping_threshold": 7}),
        "--kernel-trials 9 --early-stopping-threshold 7",
        _tvm_wire(kernel_trials=9, early_stopping_threshold=7),
        **_tvm(9, 7),
    ),
    Row(
        "loose trials_per_kernel",
        (None, {"trials_per_kernel": 7}),
        "--trials-per-kernel 7",
        _scheduler_wire(trials_per_kernel=7),
        **_auto(7),
    ),
    Row(
        "loose trials_per_kernel and early_stopping_threshold",
        (None, {"trials_per_kernel": 9, "early_stopping_threshold": 7}),
        "--trials-per-kernel 9 --early-stopping-threshold 7",
        _scheduler_wire(trials_per_kernel=9, early_stopping_threshold=7),
        **_auto(9, 7),
    ),
    Row(
        "options and a loose parameter of the same tuner",
        (S(), {"trials_per_kernel": 3}),
        # Named parameters of the named tuner are its options on a command line: there is nothing to drop.
        "--tuner autotvm --trials-per-kernel 3",
        None,
        drop=("trials_per_kernel given beside tuning_options: drop it", "drop it, or the tuner's name"),
    ),
    Row(
        "options and a loose parameter of the other tuner",
        (S(trials_per_kernel=3), {"kernel_trials": 3}),
        "--tuner autoscheduler --kernel-trials 3",
        None,
        drop=(
            "kernel_trials given beside tuning_options: drop it",
            "kernel_trials is not a parameter of autoscheduler",
        ),
    ),
    Row(
        "options and a loose early_stopping_threshold",
        (T(), {"early_stopping_threshold": 3}),
        "--tuner autoscheduler --random-trials 3",
        None,
        drop=("early_stopping_threshold given beside", "random_trials is not a parameter of autoscheduler: drop it"),
    ),
    Row(
        "loose parameters of both tuners",
        (None, {"trials_per_kernel": 3, "kernel_trials": 4}),
        "--trials-per-kernel 3 --kernel-trials 4",
        None,
        drop=("drop kernel_trials for Auto-scheduler, or trials_per_kernel for AutoTVM",) * 2,
    ),
]
PICKS = [pytest.param(row, id=row.name) for row in TABLE if row.drop is None]
REFUSES = [pytest.param(row, id=row.name) for row in TABLE if row.drop is not None]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_cnn(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TuningService]:
    with TuningService(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(scope="module")
def stub(service: TuningService) -> Iterator[Any]:
    with grpc.insecure_channel(service.address) as channel:
        yield cast(Any, tuning_pb2_grpc).TuningServiceStub(channel)


def _of(message: tuning_pb2.Plan | tuning_pb2.JobSpec) -> tuple[str | None, dict[str, int]]:
    which = message.WhichOneof("tuning")
    return which, {} if which is None else {key.name: value for key, value in getattr(message, which).ListFields()}


def _job(stub: Any, job_id: str) -> tuning_pb2.Job:
    return cast(tuning_pb2.Job, stub.GetJob(tuning_pb2.GetJobRequest(job_id=job_id), timeout=10))


@pytest.mark.parametrize("row", PICKS)
def test_through_the_sdk(service: TuningService, stub: Any, model: Path, row: Row) -> None:
    options, loose = row.sdk
    with Client(service.address) as client:
        variant = client.upload_model(model)
        plan = variant.plan("host", options, **loose)  # type: ignore[arg-type]
        job = _job(stub, variant.optimize("host", options, **loose).id)  # type: ignore[arg-type]
    assert plan.options is not None
    assert (plan.tuner, dataclasses.asdict(plan.options)) == (row.tuner, row.options)
    assert (job.tuner, _of(job.spec)) == (row.tuner, (row.tuner, row.options))


@pytest.mark.parametrize("row", PICKS)
def test_through_the_command_line(
    service: TuningService, stub: Any, model: Path, row: Row, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [str(model), "--connect", service.address, "--json", *row.cli.split()]
    assert main(["plan", *common]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["tuner"], plan["options"]) == (row.tuner, row.options)
    assert main(["tune", *common, "--detach"]) == 0
    job = _job(stub, json.loads(capsys.readouterr().out)["job_id"])
    assert (job.tuner, _of(job.spec)) == (row.tuner, (row.tuner, row.options))


@pytest.mark.parametrize("row", PICKS)
def test_through_grpc(service: TuningService, stub: Any, model: Path, row: Row) -> None:
    with Client(service.address) as client:
        model_id = client.upload_model(model).id
    assert row.wire is not None
    spec = tuning_pb2.JobSpec(model_id=model_id, targets=[common_pb2.TargetSpec(text="host")], **cast(Any, row.wire))
    plan = stub.PlanJob(tuning_pb2.PlanJobRequest(spec=spec), timeout=10)
    assert (plan.tuner, _of(plan)) == (row.tuner, (row.tuner, row.options))
    job = stub.SubmitJob(tuning_pb2.SubmitJobRequest(idempotency_key=row.name, spec=spec), timeout=10)
    assert (job.tuner, _of(job.spec)) == (row.tuner, (row.tuner, row.options))


@pytest.mark.parametrize("row", REFUSES)
def test_what_is_to_be_dropped(
    service: TuningService, stub: Any, model: Path, row: Row, capsys: pytest.CaptureFixture[str]
) -> None:
    assert row.drop is not None
    before = len(stub.ListJobs(tuning_pb2.ListJobsRequest(page_size=500), timeout=10).jobs)
    options, loose = row.sdk
    with Client(service.address) as client:
        variant = client.upload_model(model)
        calls: tuple[Any, ...] = (variant.plan, variant.optimize)
        for call in calls:
            with pytest.raises(InvalidInput, match=row.drop[0]):
                call("host", options, **loose)
    for command in ("plan", "tune"):
        assert main([command, str(model), "--connect", service.address, *row.cli.split()]) == 2
        assert row.drop[1] in capsys.readouterr().err
    assert len(stub.ListJobs(tuning_pb2.ListJobsRequest(page_size=500), timeout=10).jobs) == before


def test_grpc_has_no_way_to_ask_for_two_tuners_options() -> None:
    """Whichever is set last is the one that is set: a mixture can't arrive."""
    spec = tuning_pb2.JobSpec(autoscheduler=tuning_pb2.AutoschedulerOptions(trials_per_kernel=3))
    spec.autotvm.kernel_trials = 4
    assert _of(spec) == ("autotvm", {"kernel_trials": 4})


def test_autotvm_where_no_kernel_has_a_template(tmp_path: Path, model: Path) -> None:
    with TuningService(tmp_path, templates={}) as service, Client(service.address) as client:
        variant = client.upload_model(model)
        with pytest.raises(InvalidInput, match=r"none of the model's 3 kernels has an AutoTVM template.*autoscheduler"):
            variant.plan(kernel_trials=3)
        assert variant.plan(trials_per_kernel=3).budget == 9


def test_what_a_plan_tells(service: TuningService, model: Path) -> None:
    with Client(service.address) as client:
        variant = client.upload_model(model)
        small = variant.plan(max_trials=2)
        templated = variant.plan(kernel_trials=5)
    assert (small.budget, sorted(task.first_round_trials for task in small.tasks)) == (2, [0, 1, 1])
    assert [note for note in small.notes if "the budget of 2 trials does not reach 1 task (conv2)" in note]
    assert small.estimated_seconds is None
    assert small.measured_jobs == 0
    assert [(task.template, task.trials) for task in templated.tasks] == [("conv2d", 5), ("dense", 5), ("", 0)]
    assert templated.budget == 10
    assert [note for note in templated.notes if "no template for 1 task (conv2)" in note]
