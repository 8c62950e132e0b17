"""Which devices are compared with each other."""

import pytest

from tests.unit.schedules.schedule_examples import PI, WORKLOAD, X86, ZEN, record
from tunefarm_coordinator.schedules.changes import (
    AddDevices,
    AddRecords,
    Calibrate,
    DeviceFacts,
    DrainDevices,
    ResumeDevices,
)
from tunefarm_coordinator.schedules.device_class import KnownDevice, device_class, device_classes
from tunefarm_coordinator.schedules.store import Store

FULL = {**ZEN, "features": "avx2 avx512f fma"}


@pytest.mark.parametrize(
    "same",
    [
        {"memory_gib": "1"},
        {"machine": "other"},
        {"stepping": "2"},
        {"reserved_cores": "4,9"},
        {"cpu": "zen  4"},
        {"features": "fma,avx2,avx512f"},
    ],
)
def test_what_does_not_decide_speed_makes_no_class(same: dict[str, str]) -> None:
    assert device_class({**FULL, **same}) == device_class(FULL)


@pytest.mark.parametrize(
    "other", [{"cpu": "Zen 5"}, {"cores": "4"}, {"features": "avx2 fma"}, {"gpu": "H100"}, {"reserved_cores": "0"}]
)
def test_what_decides_speed_makes_another_class(other: dict[str, str]) -> None:
    assert device_class({**FULL, **other}) != device_class(FULL)


def test_a_class_can_be_read_and_names_its_mapping() -> None:
    assert device_class(ZEN).startswith("v1:zen-4-")
    assert device_class(PI).startswith("v1:cortex-a72-")


def test_devices_that_say_nothing_of_themselves_share_nothing() -> None:
    assert device_class({"serial": "1"}) != device_class({"serial": "2"})


def test_the_first_mapping_never_changes() -> None:
    """Classes stand in users' queries and scripts: another mapping is another version."""
    assert device_class(FULL) == "v1:zen-4-03d5ec301840"


def boards(*times: float | None) -> list[KnownDevice]:
    """Devices of equal facts, f0, f1, ..., and what their reference kernel takes."""
    return [KnownDevice(f"f{i}", FULL, {} if t is None else {"kernel": t}) for i, t in enumerate(times)]


@pytest.mark.parametrize(
    ("times", "classes"),
    [
        ((1.0, 1.2, 0.8), [1, 1, 1]),
        ((1.0, 1.6), [1, 2]),
        ((1.0, 1.6, 1.1, 1.5, 9.0), [1, 2, 1, 2, 3]),
        ((None, 1.0, 5.0), [1, 1, 1]),  # the founder was never calibrated: nothing speaks against it
        ((1.0, None), [1, 1]),
    ],
)
def test_equal_devices_whose_reference_times_disagree_are_not_compared(
    times: tuple[float | None, ...], classes: list[int]
) -> None:
    name = device_class(FULL)
    assert list(device_classes(boards(*times)).values()) == [name if n == 1 else f"{name}/{n}" for n in classes]


def test_times_of_different_reference_kernels_are_not_compared() -> None:
    one, other = KnownDevice("a", FULL, {"old": 1.0}), KnownDevice("b", FULL, {"new": 9.0})
    assert len(set(device_classes([one, other]).values())) == 1


def test_the_first_device_never_changes_its_class_whatever_comes() -> None:
    known = boards(1.0, 3.0, 0.2)
    for count in (1, 2, 3):
        assert device_classes(known[:count])["f0"] == device_class(FULL)


class TestInTheStore:
    def test_classes_follow_calibration_and_records_keep_their_fingerprint(self, store: Store) -> None:
        fast, slow = DeviceFacts("fast", FULL), DeviceFacts("slow", FULL)
        records = tuple(record(name, device=name) for name in ("fast", "slow"))
        store.write(AddDevices((fast, slow)), AddRecords(records)).result()
        name = device_class(FULL)
        assert store.device_classes() == {"fast": name, "slow": name}
        assert len(store.history(WORKLOAD, X86, name, 9)) == 2
        store.write(Calibrate("fast", "kernel", 1e-5), Calibrate("slow", "kernel", 2e-5)).result()
        assert store.device_classes() == {"fast": name, "slow": f"{name}/2"}
        assert [each.identity for each in store.history(WORKLOAD, X86, name, 9)] == ["fast"]
        assert [each.identity for each in store.history(WORKLOAD, X86, f"{name}/2", 9)] == ["slow"]
        store.write(Calibrate("slow", "kernel", 1.1e-5)).result()
        assert store.device_classes()["slow"] == name

    def test_which_devices_drain_is_kept(self, store: Store) -> None:
        both = (("a", "cpu0"), ("b", "cpu0"))
        store.write(DrainDevices(both, "moved", 1.0)).result()
        store.write(DrainDevices(both[:1], "burnt", 2.0)).result()
        assert store.drained() == {both[0]: "burnt", both[1]: "moved"}
        store.write(ResumeDevices((*both[1:], ("c", "cpu0")))).result()
        assert store.drained() == {both[0]: "burnt"}
