"""Which devices an agent owns, and how it describes them."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tunefarm_agent import detection, nvidia
from tunefarm_agent.boards import Board, board_facts, device_kind
from tunefarm_agent.commands import Place
from tunefarm_agent.devices import own_devices
from tunefarm_agent.errors import InvalidInput
from tunefarm_agent.settings import Settings

ARM = '{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72", "mattr": ["+neon"], "num-cores": 4}'
CORES = tuple(sorted(os.sched_getaffinity(0)))
FAKE_GPU = nvidia.Gpu(0, "GPU-1", "NVIDIA Fake", (9, 0), 80 << 30)
FAKE_GPUS = (FAKE_GPU, replace(FAKE_GPU, index=1, uuid="GPU-2"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings("127.0.0.1:7700", None, False, "a", tmp_path, cores=(), memory=1 << 30, cache=1 << 30)


@pytest.fixture
def with_fake_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "gpus", lambda: FAKE_GPUS)


def test_a_host_without_gpus_owns_its_cpu_with_all_cores(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "gpus", lambda: ())
    (cpu,) = own_devices(settings)
    assert (cpu.device_id, cpu.place, cpu.cores, cpu.gated) == ("cpu0", Place(), CORES, True)
    assert tuple(cpu.described.cores) == CORES


@pytest.mark.usefixtures("with_fake_gpus")
@pytest.mark.skipif(len(CORES) < 2, reason="one core")
def test_gpus_get_a_core_of_their_own_and_reserve_none(settings: Settings) -> None:
    cpu, first, second = own_devices(settings)
    assert [each.device_id for each in (cpu, first, second)] == ["cpu0", "cuda0", "cuda1"]
    assert cpu.cores == CORES[:-1]
    assert first.cores == CORES[-1:]
    assert not first.gated
    assert list(first.described.cores) == []
    assert (first.place, second.place) == (Place("cuda", gpu="GPU-1"), Place("cuda", gpu="GPU-2"))
    target = json.loads(first.described.target)
    assert (target["kind"], target["arch"], target["host"]["kind"]) == ("cuda", "sm_90", "llvm")


@pytest.mark.usefixtures("with_fake_gpus")
def test_gpus_on_cores_that_the_cpu_reserves_wait_for_its_timing(settings: Settings) -> None:
    _, first, _ = own_devices(replace(settings, cores=CORES))
    assert first.gated
    (alone,) = own_devices(replace(settings, devices=("cuda1",)))
    assert (alone.cores, alone.gated) == (CORES, False)


def test_gpus_of_one_kind_are_of_one_class_and_have_fingerprints_of_their_own() -> None:
    one, other = (gpu.facts() for gpu in FAKE_GPUS)
    assert {key: value for key, value in one.items() if key != "machine"} == {
        key: value for key, value in other.items() if key != "machine"
    }
    assert detection.fingerprint(one) != detection.fingerprint(other)
    assert "GPU-1" not in str(one)


def test_a_board_is_what_it_was_said_to_be(settings: Settings) -> None:
    board = Board("rpi4", "10.0.0.7:9090", False)
    chosen = replace(settings, boards=(board,), devices=("rpi4",), targets={"rpi4": ARM}, labels={"rack": "7"})
    (device,) = own_devices(chosen)
    assert device.place == Place("cpu", address="10.0.0.7:9090", key="rpi4")
    assert device.described.target == ARM
    assert dict(device.described.labels) == {"rack": "7"}
    assert device.described.facts["cpu"] == "cortex-a72"
    assert not device.gated
    elsewhere = board_facts(replace(board, address="10.0.0.8:9090"), ARM, detection.machine_id())
    assert detection.fingerprint(elsewhere) == device.described.fingerprint


@pytest.mark.parametrize(("target", "kind"), [(ARM, "cpu"), ('{"kind": "c"}', "cpu"), ('{"kind": "opencl"}', "opencl")])
def test_the_kind_of_a_boards_device(target: str, kind: str) -> None:
    assert device_kind(target) == kind


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boards": (Board("rpi4", "h:1", False),)}, "--target rpi4="),
        ({"devices": ("cuda7",)}, "--device: there is no device cuda7 here, only cpu0"),
        ({"targets": {"cuda7": ARM}}, "--target: there is no device cuda7"),
        ({"device_labels": {"rpi4": {"a": "b"}}}, "--label: there is no device rpi4"),
        ({"cores": (0,), "devices": ("rpi4",), "boards": (Board("rpi4", "h:1", False),)}, "--cores are cpu0's"),
        ({"boards": (Board("cpu0", "h:1", False),)}, "--rpc: cpu0 is the name of a device of this host"),
        ({"cores": (4096,)}, "--cores: .*4096"),
    ],
)
def test_what_is_not_there(settings: Settings, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        own_devices(replace(settings, **changes))  # type: ignore[arg-type]
