"""Which device serves which target, and in what order work gets its turn."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.farm.farm_scenes import TARGET, Scene, device, only, work
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.farm.messages import Grant, LeaseFinished, Requested
from tunefarm_coordinator.farm.placement import serves

X86 = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "znver4", "num-cores": 2}


@pytest.mark.parametrize(
    ("change", "served"),
    [
        ({}, True),
        ({"keys": ["cpu"], "tag": "host", "host": {"kind": "c"}}, True),
        ({"mtriple": "x86_64-unknown-linux-gnu"}, True),
        ({"mcpu": None, "num-cores": None}, True),
        ({"mcpu": "znver3"}, False),
        ({"num-cores": 4}, False),
        ({"mtriple": "aarch64-linux-gnu"}, False),
        ({"mtriple": None}, False),
        ({"kind": "cuda"}, False),
        ({"mattr": ["+avx512f"]}, False),
    ],
)
def test_what_a_target_has_to_share_with_the_device(change: dict[str, object], served: bool) -> None:
    target = {name: value for name, value in (X86 | change).items() if value is not None}
    assert serves(device(target=json.dumps(X86)), json.dumps(target)) is served


def test_the_device_may_have_more_features_than_the_target_asks_for() -> None:
    rich = json.dumps(X86 | {"mattr": ["+neon", "+dotprod"]})
    assert serves(device(target=rich), json.dumps(X86 | {"mattr": ["+dotprod"]}))


@pytest.mark.parametrize("text", ["", "llvm", "[]", '{"mcpu": "x"}', '{"kind": "llvm", "mattr": "+neon"}'])
def test_a_target_that_is_not_tvms_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        serves(device(), text)


@given(st.permutations(list(X86)))
def test_the_order_of_a_targets_attributes_means_nothing(order: list[str]) -> None:
    assert serves(device(), json.dumps({name: X86[name] for name in order}))


def _order_of_grants(scene: Scene) -> list[str]:
    """Let the scene's one device work through everything; the order that work was granted in."""
    scene.attach()
    done = 0
    while done < len(scene.grants):
        lease = scene.grants[done].lease
        done += 1
        scene.outcome_kept(lease, 0)
        scene.tell(LeaseFinished("s1", lease))
        scene.tell(Requested("s1", "cpu0", 1))
    return [grant.work.work_id for grant in scene.grants]


def test_priority_first_then_jobs_in_turn_then_first_in_first_out() -> None:
    scene = Scene()
    scene.submit(
        *(work(f"a{i}", items=1, job_id="a") for i in range(3)),
        *(work(f"b{i}", items=1, job_id="b") for i in range(2)),
        work("urgent", items=1, job_id="a", priority=5),
    )
    assert _order_of_grants(scene) == ["urgent", "b0", "a0", "b1", "a1", "a2"]


def test_pinned_work_goes_to_its_device_only() -> None:
    scene = Scene()
    scene.submit(work("pinned", fingerprint="print-cpu1"), work("any"))
    grants = only(Grant, scene.attach(devices=(device("cpu0"), device("cpu1"))))
    assert {grant.work.work_id: grant.device_id for grant in grants} == {"any": "cpu0", "pinned": "cpu1"}


def test_every_device_gets_a_first_lease_before_one_gets_a_second_and_none_gets_a_third() -> None:
    scene = Scene()
    scene.attach(devices=(device("cpu0"), device("cpu1")), slots=9)
    scene.submit(*(work(f"w{i}") for i in range(6)))
    assert [grant.device_id for grant in scene.grants[:2]] == ["cpu0", "cpu1"]
    assert sorted(grant.device_id for grant in scene.grants) == ["cpu0", "cpu0", "cpu1", "cpu1"]


def test_work_for_a_target_that_no_device_serves_waits_and_blocks_nothing() -> None:
    scene = Scene()
    scene.submit(work("arm", target=json.dumps({"kind": "llvm", "mtriple": "aarch64-linux-gnu"})), work("x86"))
    assert [grant.work.work_id for grant in only(Grant, scene.attach())] == ["x86"]
    assert scene.desk.waiting() == 1
    arm = device("pi", target=json.dumps({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72"}))
    assert [grant.work.work_id for grant in only(Grant, scene.attach("s2", "b", devices=(arm,)))] == ["arm"]


def test_the_scenes_target_is_the_devices_own() -> None:
    assert serves(device(), TARGET)
