"""Arrays to and from a fake GPU, in a session as the agent opens it: none may cross kinds of devices by TVM RPC."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fake_cuda import UUID, FakeCuda

# In a process of its own, that has no threads and whose runtime is all there is of TVM, as the agent's has.
_SCRIPT = """
import json, sys, ml_dtypes, numpy as np
from tunefarm_agent.arrays import Arrays
from tunefarm_agent.commands import Argument, Confinement, Place
from tunefarm_agent.rpc_session import RpcSession

folder, uuid, staged = sys.argv[1], sys.argv[2], sys.argv[3] == "staged"
session = RpcSession(Confinement(folder, (0,), 0, place=Place("cuda", gpu=uuid)))
arrays = Arrays(session.device, 0, session.staging if staged else None)
random = np.random.default_rng(0)
given = {
    "scalar": np.asarray(2.5, np.float32),
    "transposed": random.standard_normal((8, 5)).astype(np.float32).T,
    "half": random.standard_normal((3, 7)).astype(np.float16),
    "bool": random.random((4, 9)) < 0.5,
    "index": random.integers(-9, 9, (16,)),
    "large": random.standard_normal((1024, 1024)).astype(np.float32),
}
said = {"type": session.device.dlpack_device_type(), "room": session.room.total}
for position, (name, values) in enumerate(given.items()):
    argument = Argument(values.shape, str(values.dtype))
    back = arrays.read(arrays.holding("file", name, values))
    spoilt = arrays.read(arrays.spoil(position, argument, values))
    unequal = (spoilt != values).all()
    said[name] = [back.shape == values.shape, bool((back == values).all()), bool(unequal)]
    arrays.scratch(position, argument)
session.close()
print(json.dumps(said))
"""


@pytest.mark.parametrize("way", ["staged", "uploaded"])
def test_arrays_come_back_as_they_went(tmp_path: Path, way: str) -> None:
    gpu = FakeCuda(tmp_path / "gpu")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(scratch), UUID, way],
        env={**gpu.environment(), "TVM_USE_RUNTIME_LIB": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    # CUDA's, behind a session.
    assert said.pop("type") % 128 == 2
    assert said.pop("room") == gpu["memory"]
    assert len(said) == 6
    assert [name for name, right in said.items() if right != [True, True, True]] == []
    assert gpu["to_device"] >= 6
    assert gpu["from_device"] >= 12
    assert [path.name for path in scratch.iterdir()] == ["session.log"]
