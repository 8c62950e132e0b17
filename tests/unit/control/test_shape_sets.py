"""Several shape sets in a job: what is tuned is the union of their kernels, each workload once."""

from tunefarm_coordinator.compute.messages import PreparedSummary
from tunefarm_coordinator.control.shape_sets import joined
from tunefarm_coordinator.models.task import TuningTask


def summary(*tasks: TuningTask, layout: str = "NHWC", notes: tuple[str, ...] = ()) -> PreparedSummary:
    baselines = {task.workload: f"trace of {task.workload}" for task in tasks}
    templates = {task.workload: "conv2d" for task in tasks if task.name.startswith("conv")}
    return PreparedSummary("{}", layout, "1", tasks, baselines, (), (), notes, templates)


SHARED = TuningTask("w-head", "dense_1x10", 2, "{}", 100.0)
NARROW = TuningTask("w-narrow", "conv_1x8", 1, "{}", 1000.0)
WIDE = TuningTask("w-wide", "conv_1x8", 3, "{}", 4000.0)


def test_a_kernel_of_several_sets_is_one_task_with_their_weights() -> None:
    union = joined([summary(SHARED, NARROW), summary(WIDE, SHARED)])
    assert [(task.workload, task.weight) for task in union.tasks] == [("w-wide", 3), ("w-narrow", 1), ("w-head", 4)]
    assert [union.weights(task.workload) for task in union.tasks] == [(0, 3), (1, 0), (2, 2)]
    assert union.baselines.keys() == {"w-wide", "w-narrow", "w-head"}
    assert union.templates == {"w-wide": "conv2d", "w-narrow": "conv2d"}


def test_names_stay_unique() -> None:
    again = TuningTask("w-third", "conv_1x8", 1, "{}", 10.0)
    union = joined([summary(NARROW), summary(WIDE), summary(again)])
    assert [task.name for task in union.tasks] == ["conv_1x8", "conv_1x8_2", "conv_1x8_3"]


def test_one_set_is_as_it_was_prepared() -> None:
    alone = joined([summary(NARROW, SHARED)])
    assert alone.tasks == (NARROW, SHARED)
    assert alone.weights("w-head") == ()


def test_what_is_said_of_the_sets_is_said_once() -> None:
    union = joined([summary(NARROW, notes=("a", "b")), summary(WIDE, layout="NCHW", notes=("b", "c"))])
    assert union.notes == ("a", "b", "c")
    assert union.layout == "NHWC, NCHW"
