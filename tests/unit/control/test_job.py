"""Job specs: what is refused before anything is spent, and what is left out is the platform's default."""

from dataclasses import replace
from pathlib import Path

import pytest

from tunefarm_coordinator.compute.messages import PreparedSummary
from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.control.job import JobSheet, check_spec, check_templates
from tunefarm_coordinator.control.shape_sets import joined
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.task import TuningTask
from tunefarm_proto.v1 import common_pb2, tuning_pb2

Options, Templated = tuning_pb2.AutoschedulerOptions, tuning_pb2.AutoTVMOptions


def sheet(spec: tuning_pb2.JobSpec) -> JobSheet:
    return JobSheet("job", spec, Path("m.onnx"), "m", ({},), "{}", 0.0)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (tuning_pb2.JobSpec(targets=[common_pb2.TargetSpec(text="a"), common_pb2.TargetSpec(text="b")]), "targets"),
        (tuning_pb2.JobSpec(autotvm=Templated(kernel_trials=0)), "kernel_trials"),
        (tuning_pb2.JobSpec(both=tuning_pb2.BothOptions(trials_per_kernel=0)), "trials_per_kernel"),
        (tuning_pb2.JobSpec(autotvm=Templated(early_stopping_threshold=0)), "early_stopping_threshold"),
        (tuning_pb2.JobSpec(autoscheduler=Options(top_trials_per_kernel=0)), "top_trials_per_kernel"),
        (tuning_pb2.JobSpec(autoscheduler=Options(trials_per_kernel=0)), "trials_per_kernel"),
        (tuning_pb2.JobSpec(autoscheduler=Options(early_stopping_threshold=0)), "early_stopping_threshold"),
        (tuning_pb2.JobSpec(max_seconds=0), "max_seconds"),
        (tuning_pb2.JobSpec(max_seconds=float("nan")), "max_seconds"),
    ],
)
def test_refused(spec: tuning_pb2.JobSpec, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        check_spec(spec)


def test_what_is_not_given_is_the_default() -> None:
    options = sheet(tuning_pb2.JobSpec()).options
    assert (options.tuner, options.trials_per_kernel, options.early_stopping) == ("autoscheduler", 1000, 250)
    assert options.max_trials is None
    options = sheet(tuning_pb2.JobSpec(autotvm=Templated())).options
    assert (options.tuner, options.trials_per_kernel, options.early_stopping) == ("autotvm", 2000, 500)
    assert (options.exploration_trials, options.random_trials) == (0, 0)
    options = sheet(tuning_pb2.JobSpec(both=tuning_pb2.BothOptions(early_stopping_threshold=9))).options
    assert (options.tuner, options.trials_per_kernel, options.early_stopping) == ("both", 1000, 9)


def test_what_is_given_counts() -> None:
    spec = tuning_pb2.JobSpec(autoscheduler=Options(trials_per_kernel=4, early_stopping_threshold=9), max_trials=10)
    options = sheet(spec).options
    assert (options.trials_per_kernel, options.early_stopping, options.max_trials) == (4, 9, 10)
    spec = tuning_pb2.JobSpec(autotvm=Templated(kernel_trials=4, exploration_trials=2, random_trials=0))
    options = sheet(spec).options
    assert (options.trials_per_kernel, options.exploration_trials, options.random_trials) == (4, 2, 0)


@pytest.mark.parametrize(("given", "compared"), [(Options(), 3), (Options(top_trials_per_kernel=7), 7)])
def test_more_finalists_are_compared_where_the_user_asks_for_them(
    given: tuning_pb2.AutoschedulerOptions, compared: int
) -> None:
    assert sheet(tuning_pb2.JobSpec(autoscheduler=given)).options.finalists == compared


def test_a_model_is_prepared_apart_for_each_precision() -> None:
    folders = Folders(Path("data"))
    exact = sheet(tuning_pb2.JobSpec(model_id="m")).preparations(folders)[0]
    rounded = sheet(tuning_pb2.JobSpec(model_id="m", allow_tf32=True)).preparations(folders)[0]
    assert (exact.allow_tf32, rounded.allow_tf32) == (False, True)
    assert exact.out_dir != rounded.out_dir
    libm = sheet(tuning_pb2.JobSpec(model_id="m", exact_math=True)).preparations(folders)[0]
    assert (libm.allow_tf32, libm.exact_math, exact.exact_math) == (False, True, False)
    assert len({exact.out_dir, rounded.out_dir, libm.out_dir}) == 3
    assert exact.out_dir == sheet(tuning_pb2.JobSpec(model_id="m", max_trials=9)).preparations(folders)[0].out_dir


def test_nothing_to_do_for_autotvm_without_a_template() -> None:
    summary = PreparedSummary("{}", "NHWC", "1", (TuningTask("w", "dense", 1, "{}", 1e9),), {}, (), ())
    with pytest.raises(InvalidInput, match="--tuner autoscheduler"):
        check_templates("autotvm", joined([summary]))
    check_templates("autoscheduler", joined([summary]))
    check_templates("autotvm", joined([replace(summary, templates={"w": "dense"})]))
    # There is nothing to tune: it is packaged as it is.
    check_templates("autotvm", joined([replace(summary, tasks=())]))
