"""What a user means by a target."""

import json
from dataclasses import replace

import pytest

from tunefarm_coordinator.control import targets
from tunefarm_coordinator.errors import InvalidInput, NoDevice
from tunefarm_coordinator.farm.messages import FarmDevice

ZEN = '{"kind": "llvm", "mcpu": "znver4", "mtriple": "x86_64-linux-gnu", "num-cores": 2}'
PI = '{"kind": "llvm", "mcpu": "cortex-a72", "mtriple": "aarch64-linux-gnu", "num-cores": 4}'
HERE = FarmDevice("cpu0", "f1", ZEN, name="bench", device_class="zen", labels={"site": "lab"})
THERE = FarmDevice("cpu0", "f2", ZEN, name="bench2", device_class="zen-slow")
BOARD = FarmDevice("cpu0", "f3", PI, name="pi", device_class="pi")


def test_host_is_the_only_cpu_target() -> None:
    assert targets.by_name("host", [HERE, THERE]) == ZEN


def test_host_of_two_kinds_of_cpu_asks_which() -> None:
    with pytest.raises(InvalidInput, match=r"cortex-a72.*znver4"):
        targets.by_name("host", [HERE, BOARD])


def test_host_without_a_cpu_says_how_to_bring_one() -> None:
    with pytest.raises(NoDevice, match="tunefarm-agent run"):
        targets.by_name("host", [])


@pytest.mark.parametrize("text", ["pi", PI])
def test_names_labels_and_json(text: str) -> None:
    found = targets.by_name(text, [HERE, BOARD])
    assert found == (PI if text == "pi" else None)
    assert targets.by_name("lab", [HERE, BOARD]) == ZEN


def test_a_kind_names_the_devices_of_it() -> None:
    gpu = FarmDevice("cuda0", "f5", '{"kind": "cuda", "arch": "sm_90"}', name="gpu")
    assert targets.by_name("cuda", [HERE, gpu]) == gpu.target
    assert targets.by_name("cuda", [HERE]) is None
    other = FarmDevice("cuda0", "f6", '{"kind": "cuda", "arch": "sm_80"}', name="gpu2")
    with pytest.raises(InvalidInput, match=r"sm_80.*sm_90"):
        targets.by_name("cuda", [gpu, other])


@pytest.mark.parametrize(
    ("system", "same"),
    [(None, True), ("x86_64-unknown-linux-gnu", True), ("x86_64-linux-gnu", True), ("x86_64-apple-darwin", False)],
)
def test_a_target_is_put_in_the_words_of_what_is_measured(
    system: str | None, same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    said = json.loads(ZEN)
    written = {**said, "mtriple": system}
    if system is None:
        del written["mtriple"]
    assert (json.loads(targets.as_measured(json.dumps(written), [PI, ZEN])) == said) is same
    assert targets.as_measured(json.dumps({**written, "num-cores": 3}), [PI, ZEN]) != ZEN


@pytest.mark.parametrize("arch", ["sm_80", "sm_89", "sm_90a", "sm_100", "sm_120f"])
def test_tf32_is_there_from_capability_8_on(arch: str) -> None:
    targets.check_tf32(json.dumps({"kind": "cuda", "arch": arch}))


@pytest.mark.parametrize("target", [ZEN, '{"kind": "cuda", "arch": "sm_75"}', '{"kind": "cuda"}'])
def test_tf32_is_refused_elsewhere(target: str) -> None:
    with pytest.raises(InvalidInput, match="allow_tf32"):
        targets.check_tf32(target)


def test_no_device_names_those_that_there_are() -> None:
    with pytest.raises(NoDevice, match="bench"):
        targets.check_served(PI, [HERE])
    targets.check_served(ZEN, [HERE])


def test_a_job_measures_on_the_most_common_class() -> None:
    third = FarmDevice("cpu0", "f4", ZEN, name="bench3", device_class="zen-slow")
    assert targets.common_class(ZEN, [HERE, THERE, third, BOARD]) == "zen-slow"
    with pytest.raises(NoDevice):
        targets.common_class(PI, [HERE])


def test_a_model_that_no_device_holds_is_refused() -> None:
    small = replace(HERE, facts={"memory_gib": "16", "gpu_memory_gib": "80"})
    gpu = FarmDevice(
        "cuda0", "f5", '{"kind": "cuda", "arch": "sm_90"}', facts={"memory_gib": "16", "gpu_memory_gib": "80"}
    )
    targets.check_memory(12 * targets.GIB, ZEN, [small, gpu])
    targets.check_memory(60 * targets.GIB, gpu.target, [small, gpu])
    with pytest.raises(NoDevice, match=r"about 60\.0 GiB of memory .* no device of this target has more than 16"):
        targets.check_memory(60 * targets.GIB, ZEN, [small, gpu])
    # One that does not say how much it has may hold it.
    targets.check_memory(60 * targets.GIB, ZEN, [small, THERE])
