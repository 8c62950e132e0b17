"""The one place where the contract's messages and the agent's own data are turned into one another."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tunefarm_agent.commands import Argument, Evaluation, Expected, Kernel, Prepack
from tunefarm_agent.desk import Ref
from tunefarm_agent.gpu_watch import GpuReading
from tunefarm_agent.results import Failed, Measured, Result
from tunefarm_proto.v1 import common_pb2, farm_pb2

Files = Mapping[str, Path]
Item = TypeVar("Item")

# Seconds, where the lease does not say.
_RUN_TIMEOUT = 30.0


def ref_of(message: farm_pb2.Lease | farm_pb2.LeaseRef | farm_pb2.OutcomeAck | farm_pb2.OutcomeReport) -> Ref:
    return Ref(message.lease_id, message.attempt)


def ref_to_wire(ref: Ref, *, device: str = "", waiting: bool = False) -> farm_pb2.LeaseRef:
    return farm_pb2.LeaseRef(lease_id=ref.lease_id, attempt=ref.attempt, device_id=device, waiting=waiting)


def time_of(item: farm_pb2.Candidate | farm_pb2.ModelContender) -> float:
    """Seconds that a candidate or contender may take."""
    return item.run_timeout or _RUN_TIMEOUT


def kernel_of(candidate: farm_pb2.Candidate, files: Files) -> Kernel:
    return Kernel(
        library=str(files[candidate.artifact]),
        arguments=tuple(Argument(tuple(a.shape), a.dtype) for a in candidate.arguments),
        prepacks=tuple(Prepack(p.argument, p.function) for p in candidate.prepacks),
    )


def expected_of(expected: Iterable[farm_pb2.ExpectedOutputs], files: Files) -> tuple[Expected, ...]:
    return tuple(Expected(str(files[e.artifact]), e.rtol, e.atol) for e in expected)


def evaluation_of(evaluator: farm_pb2.Evaluator, give_up: float = 0.0) -> Evaluation:
    """`give_up`: see Evaluation."""
    return Evaluation(
        number=max(1, evaluator.number),
        repeat=max(1, evaluator.repeat),
        min_repeat_ms=evaluator.min_repeat_ms,
        flush_cache=evaluator.flush_cache,
        give_up=give_up,
    )


def failure(kind: str, message: str) -> common_pb2.Failure:
    """`kind` without its prefix, as `commands` has it."""
    return common_pb2.Failure(kind=f"FAILURE_KIND_{kind}", message=message)


def measured_to_wire(measured: Measured) -> farm_pb2.Measured:
    return farm_pb2.Measured(seconds=measured.seconds, max_rel_error=measured.max_rel_error)


def item_report(result: Result, conditions: farm_pb2.Conditions) -> farm_pb2.OutcomeReport:
    """An outcome without its address; the holdings add that."""
    if isinstance(result, Failed):
        return farm_pb2.OutcomeReport(failed=failure(result.kind, result.message), conditions=conditions)
    conditions.number = result.number
    if result.let_go:
        censored = farm_pb2.Censored(at_least_seconds=min(result.seconds))
        return farm_pb2.OutcomeReport(censored=censored, conditions=conditions)
    return farm_pb2.OutcomeReport(measured=measured_to_wire(result), conditions=conditions)


def reading_to_wire(reading: GpuReading) -> farm_pb2.Conditions:
    """What is known of a GPU's state; what is unknown stays unset."""
    return farm_pb2.Conditions(
        sm_clock_mhz=reading.sm_clock,
        memory_clock_mhz=reading.memory_clock,
        throttle_reasons=reading.throttle_reasons,
        strangers=reading.strangers,
        disturbed=reading.busy,
    )


def compared_item(result: Result) -> farm_pb2.ComparedItem:
    if isinstance(result, Failed):
        return farm_pb2.ComparedItem(failed=failure(result.kind, result.message))
    return farm_pb2.ComparedItem(measured=measured_to_wire(result))


def model_timing(
    name: str, result: Result, outputs: str, kernels: Mapping[str, Sequence[float]], first: float | None = None
) -> farm_pb2.ModelTiming:
    if isinstance(result, Failed):
        timing = farm_pb2.ModelTiming(name=name, failed=failure(result.kind, result.message))
    else:
        timing = farm_pb2.ModelTiming(name=name, measured=measured_to_wire(result))
    timing.outputs_digest = outputs
    if first is not None:
        timing.first_seconds = first
    timing.kernels.extend(farm_pb2.KernelTiming(name=kernel, seconds=kernels[kernel]) for kernel in kernels)
    return timing


def artifacts_of(lease: farm_pb2.Lease) -> set[str]:
    """Digests of everything that the lease needs."""
    match lease.WhichOneof("work"):
        case "measure":
            reference = {lease.measure.reference.artifact} if lease.measure.HasField("reference") else set()
            return _of_batch(wanted(lease, lease.measure.candidates), lease.measure.expected) | reference
        case "verify":
            return _of_batch(wanted(lease, lease.verify.candidates), lease.verify.expected)
        case "compare":
            groups = wanted(lease, lease.compare.groups).values()
            return set().union(*(_of_batch(dict(enumerate(g.candidates)), g.expected) for g in groups))
        case "calibrate":
            return {lease.calibrate.reference.artifact}
        case "benchmark":
            return _of_benchmark(lease.benchmark)
        case _:
            return set()


def wanted(lease: farm_pb2.Lease, items: Iterable[Item]) -> dict[int, Item]:
    """The items to work on, by index. The others have their outcome already, or never had an artifact."""
    chosen = set(lease.indices)
    return {index: item for index, item in enumerate(items) if not chosen or index in chosen}


def _of_batch(candidates: Mapping[int, farm_pb2.Candidate], expected: Iterable[farm_pb2.ExpectedOutputs]) -> set[str]:
    return {c.artifact for c in candidates.values()} | {e.artifact for e in expected}


def _of_benchmark(work: farm_pb2.BenchmarkWork) -> set[str]:
    digests = {work.inputs}
    for contender in work.contenders:
        digests |= {contender.artifact, *contender.external_data.values()}
        if contender.parameters:
            digests.add(contender.parameters)
    return digests
