"""The same hardware, the same description."""

import os
from pathlib import Path

import pytest

from tunefarm_agent import detection
from tunefarm_agent.cpu_models import llvm_cpu
from tunefarm_agent.errors import InvalidInput

V2 = "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3"
V3 = f"{V2} avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"
ZEN4 = f"{V4} avx512_vbmi2 avx512_vnni avx512_bf16 avx512_bitalg gfni vaes vpclmulqdq"


def amd(family: int, model: int, flags: str) -> dict[str, str]:
    return {"vendor_id": "AuthenticAMD", "cpu family": str(family), "model": str(model), "flags": flags}


def intel(flags: str) -> dict[str, str]:
    return {"vendor_id": "GenuineIntel", "flags": flags}


@pytest.mark.parametrize(
    ("architecture", "cpu", "name"),
    [
        ("x86_64", amd(25, 17, ZEN4), "znver4"),
        ("x86_64", amd(25, 17, V4), "x86-64-v4"),
        ("x86_64", amd(25, 33, f"{V3} vaes vpclmulqdq"), "znver3"),
        ("x86_64", amd(23, 49, V3), "znver2"),
        ("x86_64", amd(23, 1, V2), "x86-64-v2"),
        ("x86_64", amd(26, 2, ZEN4), "x86-64-v4"),
        ("x86_64", intel(f"{V4} avx512_vnni"), "cascadelake"),
        ("x86_64", intel(V3), "haswell"),
        ("x86_64", intel(""), "x86-64"),
        ("x86_64", {"vendor_id": "Unheard", "flags": V3}, "x86-64-v3"),
        ("aarch64", {"CPU part": "0xd08"}, "cortex-a72"),
        ("aarch64", {"CPU part": "0xfff"}, "generic"),
        ("riscv64", {}, "generic"),
    ],
)
def test_llvm_cpu(architecture: str, cpu: dict[str, str], name: str) -> None:
    assert llvm_cpu(architecture, cpu) == name


def test_cpu_info_is_the_first_block() -> None:
    text = "processor\t: 0\nmodel name\t: A: B\nflags\t\t: x y\n\nprocessor\t: 1\nmodel name\t: C\n"
    assert detection.cpu_info(text) == {"processor": "0", "model name": "A: B", "flags": "x y"}


def test_the_fingerprint_follows_the_facts_alone() -> None:
    facts = {"cpu": "A", "cores": "4"}
    assert detection.fingerprint(facts) == detection.fingerprint(dict(reversed(facts.items())))
    assert detection.fingerprint(facts) != detection.fingerprint({**facts, "cores": "8"})


def test_features_in_another_order_are_the_same_cpu() -> None:
    one = detection.cpu_facts({"flags": "b a"}, (0,))
    other = detection.cpu_facts({"flags": "a b a"}, (0,))
    assert one == other
    assert one["features"] == "a b"


def test_nothing_that_a_reboot_changes_is_a_fact() -> None:
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    facts = detection.cpu_facts(detection.cpu_info(Path("/proc/cpuinfo").read_text()), (0,))
    assert boot_id not in str(facts)
    assert "MHz" not in str(facts)


def test_this_host() -> None:
    cores = tuple(sorted(os.sched_getaffinity(0)))
    device = detection.cpu_device(cores, "", "", {"rack": "7"})
    assert device.fingerprint == detection.fingerprint(dict(device.facts))
    assert device.name == device.facts["cpu"]
    assert dict(device.labels) == {"rack": "7"}
    assert detection.cpu_device(cores, '{"kind": "llvm"}', "mine", {}).target == '{"kind": "llvm"}'


def test_cores_that_are_not_there() -> None:
    with pytest.raises(InvalidInput, match="4096"):
        detection.cpu_device((4096,), "", "", {})


def test_proposed_targets() -> None:
    assert detection.proposed_target("x86_64", amd(25, 17, ZEN4), 2) == {
        "kind": "llvm",
        "mtriple": "x86_64-linux-gnu",
        "mcpu": "znver4",
        "num-cores": 2,
    }
    assert detection.proposed_target("aarch64", {"CPU part": "0xd08"}, 4)["mattr"] == ["+neon"]
