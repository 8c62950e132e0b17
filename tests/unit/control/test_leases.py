"""Instructions as leases and outcomes as events: what stands at an index means the same on both sides."""

import json

from tunefarm_coordinator.control import leases
from tunefarm_coordinator.farm.messages import Reference
from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_proto.v1 import common_pb2, farm_pb2


def artifact(name: str) -> ev.Artifact:
    return ev.Artifact(f"sha256:{name}", (((1, 8), "float32"), ((8, 4), "float32")), ((1, "prepack_1"),))


EXPECTED = farm_pb2.ExpectedOutputs(artifact="sha256:e", rtol=1e-3)


def test_candidates_stand_at_their_items_index() -> None:
    items = (ins.MeasureItem(1, "b", artifact("b")), ins.MeasureItem(3, "d", artifact("d")))
    lease, indices = leases.measure_work(ins.Measure(7, "w", items), EXPECTED)
    assert indices == (1, 3)
    assert [candidate.candidate_id for candidate in lease.measure.candidates] == ["", "b", "", "d"]
    candidate = lease.measure.candidates[3]
    assert candidate.artifact == "sha256:d"
    assert [(list(each.shape), each.dtype) for each in candidate.arguments] == [
        ([1, 8], "float32"),
        ([8, 4], "float32"),
    ]
    assert [(each.argument, each.function) for each in candidate.prepacks] == [(1, "prepack_1")]


def test_the_reference_kernel_and_the_first_look_travel_with_a_round() -> None:
    kernel = farm_pb2.CalibrateWork(
        reference=farm_pb2.Candidate(artifact="sha256:r"), evaluator=farm_pb2.Evaluator(number=10)
    )
    reference = Reference("sha256:r", farm_pb2.Lease(calibrate=kernel))
    items = (ins.MeasureItem(0, "a", artifact("a")),)
    bare, _ = leases.measure_work(ins.Measure(7, "w", items), EXPECTED)
    assert not bare.measure.HasField("reference")
    assert not bare.measure.HasField("give_up_seconds")
    lease, _ = leases.measure_work(ins.Measure(7, "w", items, give_up=3e-3), EXPECTED, reference)
    assert lease.measure.reference.artifact == "sha256:r"
    assert lease.measure.reference_evaluator.number == 10
    assert lease.measure.give_up_seconds == 3e-3


def test_what_a_slowed_device_measured_is_believed_with_a_note() -> None:
    report = farm_pb2.OutcomeReport(conditions=farm_pb2.Conditions(reference_seconds=4e-5))
    assert leases.conditions(report) == {"reference_seconds": 4e-5}
    assert leases.conditions(report, 1.6) == {"reference_seconds": 4e-5, "slowed": 1.6}


def test_how_a_gpu_ran_and_who_shared_it_goes_on_record() -> None:
    conditions = farm_pb2.Conditions(sm_clock_mhz=1980, throttle_reasons=0x4, strangers=1, disturbed=True)
    assert json.loads(json.dumps(leases.conditions(farm_pb2.OutcomeReport(conditions=conditions)))) == {
        "sm_clock_mhz": 1980,
        "throttle_reasons": 4,
        "strangers": 1,
        "disturbed": True,
    }


def test_groups_stand_at_their_index() -> None:
    group = ins.CompareGroup("w", (ins.Finalist("a", artifact("a")), ins.Finalist("b", artifact("b"))))
    lease, indices = leases.compare_work(ins.Compare(0, ((2, group),)), {"w": [EXPECTED, EXPECTED]})
    assert indices == (2,)
    assert [len(each.candidates) for each in lease.compare.groups] == [0, 0, 2]
    assert len(lease.compare.groups[2].expected) == 2


def test_outcomes_become_events() -> None:
    measured = farm_pb2.OutcomeReport(measured=farm_pb2.Measured(seconds=[0.1, 0.2]))
    assert leases.item_measured(1, 2, measured).samples == (0.1, 0.2)
    censored = farm_pb2.OutcomeReport(censored=farm_pb2.Censored(at_least_seconds=0.5))
    assert leases.item_measured(1, 2, censored).at_least == 0.5
    wrong = common_pb2.Failure(kind=common_pb2.FAILURE_KIND_WRONG_OUTPUT, message="off by 2")
    failed = leases.item_measured(1, 2, farm_pb2.OutcomeReport(failed=wrong))
    assert failed.failure == ev.Failure("WRONG_OUTPUT", "off by 2")


def test_an_outcome_without_samples_is_no_measurement() -> None:
    for report in (farm_pb2.OutcomeReport(), farm_pb2.OutcomeReport(measured=farm_pb2.Measured())):
        event = leases.item_measured(1, 2, report)
        assert event.failure is not None
        assert event.failure.kind == "RUN_ERROR"


def test_a_comparison_names_every_finalist() -> None:
    group = ins.CompareGroup("w", tuple(ins.Finalist(name, artifact(name)) for name in "abc"))
    wrong = common_pb2.Failure(kind=common_pb2.FAILURE_KIND_WRONG_OUTPUT, message="no")
    items = [
        farm_pb2.ComparedItem(measured=farm_pb2.Measured(seconds=[0.1], max_rel_error=1e-6)),
        farm_pb2.ComparedItem(failed=wrong),
    ]
    report = farm_pb2.OutcomeReport(compared=farm_pb2.ComparedGroup(items=items))
    event = leases.group_compared(4, 5, group, report)
    assert (event.compare, event.index, event.workload) == (4, 5, "w")
    assert [result.identity for result in event.results] == ["a", "b", "c"]
    assert event.results[0].samples == (0.1,)
    assert event.results[1].failure == ev.Failure("WRONG_OUTPUT", "no")
    # The agent said nothing of the third: it can't have won.
    assert event.results[2].failure is not None
    assert leases.max_rel_errors(report) == {0: 1e-6}


def test_a_lost_comparison_fails_every_finalist_alike() -> None:
    group = ins.CompareGroup("w", (ins.Finalist("a", artifact("a")),))
    lost = common_pb2.Failure(kind=common_pb2.FAILURE_KIND_DEVICE_LOST, message="gone")
    event = leases.group_compared(0, 0, group, farm_pb2.OutcomeReport(failed=lost))
    assert [result.failure for result in event.results] == [ev.Failure("DEVICE_LOST", "gone")]


def test_kernels_of_two_packages_meet_by_workload() -> None:
    """Laid out weights give a kernel a new name; a workload may be in a model under several."""

    def timing(name: str, **kernels: list[float]) -> farm_pb2.ModelTiming:
        rows = [farm_pb2.KernelTiming(name=kernel, seconds=seconds) for kernel, seconds in kernels.items()]
        return farm_pb2.ModelTiming(name=name, kernels=rows)

    timings = [
        timing("tuned", conv_prepacked=[1.0, 2.0], conv1_prepacked=[0.5, 0.5], pool=[9.0, 9.0]),
        timing("untuned", conv=[2.0, 3.0], conv1=[1.0, 1.0], pool=[8.0, 8.0]),
    ]
    report = farm_pb2.OutcomeReport(benchmark=farm_pb2.ModelBenchmark(timings=timings))
    functions = {
        "tuned": {"conv_prepacked": "w", "conv1_prepacked": "w"},
        "untuned": {"conv": "w", "conv1": "w"},
    }
    assert leases.kernel_timings(report, "tuned", "untuned", functions) == (
        ev.KernelTiming("w", tuned=(1.5, 2.5), default=(3.0, 4.0)),
    )
