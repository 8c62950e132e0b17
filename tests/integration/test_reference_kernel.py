"""The reference kernel of each kind of target: built as a candidate is, and right where it can run."""

import json
import platform
from pathlib import Path

import numpy as np
import pytest
import tvm

from tunefarm_agent.detection import cpu_info, proposed_target
from tunefarm_coordinator.engines.candidate import BuildError
from tunefarm_coordinator.engines.reference_kernel import CPU_EDGE, GPU_EDGE, build_reference

HOST = json.dumps(proposed_target(platform.machine(), cpu_info(Path("/proc/cpuinfo").read_text()), 2))


def test_it_multiplies_on_this_host_and_is_the_same_every_time(tmp_path: Path) -> None:
    built = build_reference(HOST)
    assert built.library == build_reference(HOST).library
    assert [(a.shape, a.dtype) for a in built.arguments] == [((CPU_EDGE, CPU_EDGE), "float32")] * 3
    path = tmp_path / "reference.so"
    path.write_bytes(built.library)
    random = np.random.default_rng(0)
    a, b = (random.random((CPU_EDGE, CPU_EDGE), dtype=np.float32) for _ in range(2))
    arguments = [tvm.runtime.tensor(array) for array in (a, b, np.full_like(a, np.nan))]
    module = tvm.runtime.load_module(str(path))
    module["main"](*arguments)
    np.testing.assert_allclose(arguments[2].numpy(), a @ b, rtol=1e-5)
    seconds = np.median(module.time_evaluator("main", tvm.cpu(0), number=10, repeat=5)(*arguments).results)
    print(f"reference kernel: {seconds * 1e6:.1f} us")
    assert 1e-6 < seconds < 2e-3


def test_it_is_built_for_a_gpu_that_is_not_here() -> None:
    target = {"kind": "cuda", "arch": "sm_90", "host": json.loads(HOST)}
    built = build_reference(json.dumps(target))
    assert built.arguments[0].shape == (GPU_EDGE, GPU_EDGE)


def test_a_target_that_is_none_is_a_build_error() -> None:
    with pytest.raises(BuildError):
        build_reference('{"kind": "abacus"}')
