"""What model workers do: the model pipeline's functions in terms of the messages. Imports TVM."""

from tunefarm_coordinator.compute.messages import PreparedSummary, PrepareModel, Tensor
from tunefarm_coordinator.models.default_schedule import default_trace
from tunefarm_coordinator.models.prepare import PreparedModel, TensorSpec, load_prepared, prepare
from tunefarm_coordinator.models.target import resolve_target


def prepare_model(request: PrepareModel) -> PreparedSummary:
    """See `PrepareModel`. A folder that holds a prepared model is taken as it is."""
    target = resolve_target(request.target)
    try:
        prepared = load_prepared(request.out_dir)
    except OSError:
        prepared = prepare(request.model, request.shapes, target, request.out_dir)
    return _summary(prepared)


def _summary(prepared: PreparedModel) -> PreparedSummary:
    return PreparedSummary(
        target=prepared.target,
        layout=prepared.layout,
        pipeline_version=prepared.pipeline_version,
        tasks=prepared.tasks,
        baselines={task.workload: default_trace(task.module, prepared.target) for task in prepared.tasks},
        inputs=tuple(_tensor(spec) for spec in prepared.inputs),
        outputs=tuple(_tensor(spec) for spec in prepared.outputs),
    )


def _tensor(spec: TensorSpec) -> Tensor:
    return Tensor(spec.name, spec.shape, spec.dtype)
