"""Instructions as leases, outcomes as events: the one place where wire and brain meet. Pure."""

from collections.abc import Mapping, Sequence

from tunefarm_coordinator.farm.messages import Reference
from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_proto.v1 import common_pb2, farm_pb2

# One candidate's loading, checking and timing on the device; a default schedule of a large kernel takes seconds.
RUN_TIMEOUT_SECONDS = 30.0
MODEL_TIMEOUT_SECONDS = 300.0
COMPARE_ROUNDS = 5
BENCHMARK_ROUNDS = 16
# Of a ratio: so wide may its interval be for the rounds to end earlier.
BENCHMARK_NARROW = 0.03
# A turn: as many calls, or as many as fill the seconds; so long a contender runs before, until threads, caches and the
# clock are as they are where calls follow one another. Five calls of a model of half a millisecond after a pause took
# twice their time.
CALLS_PER_ROUND, SECONDS_PER_ROUND, WARM_UP_SECONDS = 5, 0.06, 0.03
# Kernels inside the model: enough rounds that a median of ratios tells 1%.
KERNEL_ROUNDS = 12

# In a model a kernel finds its input in the cache and its weights not: so it is timed, call by call.
MEASURE = farm_pb2.Evaluator(number=1, repeat=10, flush_cache=True)
COMPARE = farm_pb2.Evaluator(number=1, repeat=8, flush_cache=True)


def measure_work(
    instruction: ins.Measure, expected: farm_pb2.ExpectedOutputs, reference: Reference | None = None
) -> tuple[farm_pb2.Lease, tuple[int, ...]]:
    """The lease of a round and the indices that are wanted. A candidate stands at its item's index, so that outcomes
    mean the same after a restart; places of items that are not wanted stay empty. `reference`: timed around each."""
    wanted = {item.index: item for item in instruction.items}
    candidates = [
        _candidate(wanted[index].identity, wanted[index].artifact) if index in wanted else farm_pb2.Candidate()
        for index in range(max(wanted) + 1)
    ]
    work = farm_pb2.MeasureWork(
        workload=instruction.workload,
        candidates=candidates,
        evaluator=MEASURE,
        expected=[expected],
        give_up_seconds=instruction.give_up,
    )
    if reference is not None and isinstance(reference.payload, farm_pb2.Lease):
        work.reference.CopyFrom(reference.payload.calibrate.reference)
        work.reference_evaluator.CopyFrom(reference.payload.calibrate.evaluator)
    return farm_pb2.Lease(measure=work), tuple(sorted(wanted))


def compare_work(
    instruction: ins.Compare, expected: Mapping[str, Sequence[farm_pb2.ExpectedOutputs]]
) -> tuple[farm_pb2.Lease, tuple[int, ...]]:
    """The lease of a comparison; groups stand at their index, as candidates do in `measure_work`."""
    wanted = dict(instruction.groups)
    groups = [
        farm_pb2.CompareGroup(
            workload=wanted[index].workload,
            candidates=[_candidate(finalist.identity, finalist.artifact) for finalist in wanted[index].finalists],
            expected=expected[wanted[index].workload],
        )
        if index in wanted
        else farm_pb2.CompareGroup()
        for index in range(max(wanted) + 1)
    ]
    return farm_pb2.Lease(compare=farm_pb2.CompareWork(groups=groups, evaluator=COMPARE, rounds=COMPARE_ROUNDS)), tuple(
        sorted(wanted)
    )


def _candidate(identity: str, artifact: ev.Artifact) -> farm_pb2.Candidate:
    return farm_pb2.Candidate(
        candidate_id=identity,
        artifact=artifact.digest,
        arguments=[farm_pb2.KernelArgument(shape=shape, dtype=dtype) for shape, dtype in artifact.arguments],
        prepacks=[farm_pb2.PrepackStep(argument=argument, function=name) for argument, name in artifact.prepacks],
        run_timeout=RUN_TIMEOUT_SECONDS,
    )


def failure(message: common_pb2.Failure) -> ev.Failure:
    """The contract's failure with its kind as the brain names it."""
    return ev.Failure(failure_name(message.kind), message.message)


def failure_name(kind: int) -> str:
    name: str = common_pb2.FailureKind.Name(kind)
    return name.removeprefix("FAILURE_KIND_")


def item_measured(round_: int, index: int, report: farm_pb2.OutcomeReport) -> ev.ItemMeasured:
    """One outcome of a measure lease. An agent that reports something else has failed the item."""
    seconds = report.conditions.elapsed
    match report.WhichOneof("outcome"):
        case "measured" if report.measured.seconds:
            return ev.ItemMeasured(round_, index, samples=tuple(report.measured.seconds), seconds=seconds)
        case "censored":
            return ev.ItemMeasured(round_, index, at_least=report.censored.at_least_seconds, seconds=seconds)
        case "failed":
            return ev.ItemMeasured(round_, index, failure=failure(report.failed), seconds=seconds)
    return ev.ItemMeasured(
        round_, index, failure=ev.Failure("RUN_ERROR", "the agent reported no samples"), seconds=seconds
    )


def group_compared(
    compare: int, index: int, group: ins.CompareGroup, report: farm_pb2.OutcomeReport
) -> ev.GroupCompared:
    """One outcome of a compare lease."""
    lost = failure(report.failed) if report.WhichOneof("outcome") == "failed" else None
    items = report.compared.items
    results = []
    for at, finalist in enumerate(group.finalists):
        if lost is not None or at >= len(items):
            results.append(
                ev.FinalistResult(finalist.identity, failure=lost or ev.Failure("RUN_ERROR", "not reported"))
            )
        elif items[at].WhichOneof("outcome") == "failed":
            results.append(ev.FinalistResult(finalist.identity, failure=failure(items[at].failed)))
        else:
            results.append(ev.FinalistResult(finalist.identity, samples=tuple(items[at].measured.seconds)))
    return ev.GroupCompared(compare, index, group.workload, tuple(results), report.conditions.elapsed)


def model_timings(report: farm_pb2.OutcomeReport) -> tuple[ev.ModelTiming, ...]:
    """The contenders of a benchmark lease."""
    return tuple(
        ev.ModelTiming(timing.name, failure=failure(timing.failed))
        if timing.WhichOneof("outcome") == "failed"
        else ev.ModelTiming(
            timing.name,
            samples=tuple(timing.measured.seconds),
            first=timing.first_seconds if timing.HasField("first_seconds") else None,
        )
        for timing in report.benchmark.timings
    )


def kernel_timings(
    report: farm_pb2.OutcomeReport, tuned: str, default: str, functions: Mapping[str, Mapping[str, str]]
) -> tuple[ev.KernelTiming, ...]:
    """What the contenders `tuned` and `default` spend in each workload; `functions`: of each contender, workload by
    kernel name."""
    seconds = {timing.name: _by_workload(timing, functions.get(timing.name, {})) for timing in report.benchmark.timings}
    ours, theirs = seconds.get(tuned, {}), seconds.get(default, {})
    return tuple(
        ev.KernelTiming(workload, tuple(ours[workload]), tuple(theirs[workload]))
        for workload in ours
        if workload in theirs
    )


def _by_workload(timing: farm_pb2.ModelTiming, functions: Mapping[str, str]) -> dict[str, list[float]]:
    """Seconds in one inference, a value a run; a workload may be in the model under several names."""
    found: dict[str, list[float]] = {}
    for kernel in timing.kernels:
        workload = functions.get(kernel.name)
        if workload is not None:
            so_far = found.get(workload, [0.0] * len(kernel.seconds))
            found[workload] = [a + b for a, b in zip(so_far, kernel.seconds, strict=False)]
    return found


def conditions(report: farm_pb2.OutcomeReport, slowed: float | None = None) -> dict[str, float]:
    """The device's state around an outcome, as it goes on record; what is unknown is left out. `slowed`: how many times
    its usual time the reference kernel took, where the outcome was believed all the same."""
    known = {field.name: value for field, value in report.conditions.ListFields()}
    return known if slowed is None else {**known, "slowed": slowed}


def max_rel_errors(report: farm_pb2.OutcomeReport) -> dict[int, float]:
    """Greatest error against the expected outputs, by position in a comparison's group."""
    return {
        at: item.measured.max_rel_error
        for at, item in enumerate(report.compared.items)
        if item.measured.HasField("max_rel_error")
    }
