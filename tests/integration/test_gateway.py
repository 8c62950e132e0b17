"""One agent with several devices: this host's CPU, and boards that run a plain TVM RPC server.

The servers are TVM's own (`python -m tvm.exec.rpc_server`), with all their faults: see facts in `board_session`.
"""

import asyncio
import contextlib
import json
import platform
from collections.abc import AsyncIterator
from pathlib import Path

from tests.agent_process import AgentProcess, candidate, hostile_candidate, kind, measure, measure_all, start_agent
from tests.farm_stand_in import FakeCoordinator
from tests.hostile_kernels import good
from tests.network_proxy import NetworkProxy
from tests.plain_rpc import plain_rpc
from tests.programs import free_port
from tunefarm_agent.detection import proposed_target, this_cpu
from tunefarm_proto.v1 import common_pb2

TARGET = json.dumps(proposed_target(platform.machine(), this_cpu(), 1))


@contextlib.asynccontextmanager
async def stock(module: str, port: int, *options: str) -> AsyncIterator[None]:
    """TVM's own server or tracker, ready."""
    with contextlib.ExitStack() as held:
        await asyncio.to_thread(held.enter_context, plain_rpc(module, port, *options))
        yield


@contextlib.asynccontextmanager
async def gateway(farm: FakeCoordinator, state_dir: Path, *options: str) -> AsyncIterator[AgentProcess]:
    agent = await start_agent(farm.address, state_dir, "--target", f"board={TARGET}", *options)
    try:
        await farm.attached()
        yield agent
    finally:
        await agent.killed()


async def outcomes(farm: FakeCoordinator, lease_id: str, count: int, seconds: float = 60.0) -> list[str]:
    return [kind(report) for report in await farm.reports(lease_id, count, seconds)]


async def test_a_board_beside_the_hosts_own_cpu(farm: FakeCoordinator, tmp_path: Path) -> None:
    port = free_port()
    async with (
        stock("tvm.exec.rpc_server", port, "--key", "board"),
        gateway(farm, tmp_path / "state", "--rpc", f"board=127.0.0.1:{port}", "--label", "board/rack=7"),
    ):
        described = {device.device_id: device for device in farm.hellos[0].devices}
        assert described.keys() == {"cpu0", "board"}
        assert dict(described["board"].labels) == {"rack": "7"}
        assert list(described["board"].cores) == []
        await farm.until(lambda: farm.slots == {"cpu0": 2, "board": 2})
        for lease in range(2):
            measure(farm, f"here{lease}", good(), good())
            measure(farm, f"there{lease}", good(), good(), device="board")
        for lease in range(2):
            assert await outcomes(farm, f"here{lease}", 2) == ["measured"] * 2
            # The second lease proves that the first one's session was given back: the server has one at a time.
            assert await outcomes(farm, f"there{lease}", 2) == ["measured"] * 2
            (first, _) = await farm.reports(f"there{lease}", 2, 1)
            assert all(sample > 0 for sample in first.measured.seconds)


async def test_a_wrong_output_and_a_bad_library_are_the_candidates_own(farm: FakeCoordinator, tmp_path: Path) -> None:
    port = free_port()
    async with (
        stock("tvm.exec.rpc_server", port, "--key", "board"),
        gateway(farm, tmp_path / "state", "--device", "board", "--rpc", f"board=127.0.0.1:{port}"),
    ):
        wrong, broken = hostile_candidate(farm, "wrong"), candidate(farm, b"no library")
        measure_all(farm, "batch", [wrong, broken, candidate(farm, good())], device="board")
        assert await outcomes(farm, "batch", 3) == ["WRONG_OUTPUT", "LOAD_ERROR", "measured"]


async def test_a_crash_loses_the_board_until_its_server_is_started_again(farm: FakeCoordinator, tmp_path: Path) -> None:
    port, again = free_port(), free_port()
    # A stock server can't have its old port back for a minute: the line to the board leads to the new one.
    with NetworkProxy("127.0.0.1", port) as line:
        server = f"board=127.0.0.1:{line.port}"
        async with gateway(farm, tmp_path / "state", "--device", "board", "--rpc", server) as agent:
            async with stock("tvm.exec.rpc_server", port, "--key", "board"):
                honest = candidate(farm, good())
                measure_all(farm, "crash", [honest, hostile_candidate(farm, "segfault"), honest], device="board")
                ending = await farm.finished("crash", 60)
                assert ending.failure.kind == common_pb2.FAILURE_KIND_DEVICE_LOST
                assert "start it again" in ending.failure.message
                assert [kind(report) for report in farm.outcomes["crash"]] == ["measured"]
            async with stock("tvm.exec.rpc_server", again, "--key", "board"):
                line.lead_to(again)
                measure(farm, "after", good(), device="board")
                assert await outcomes(farm, "after", 1) == ["measured"]
            assert agent.process.returncode is None


async def test_a_kernel_that_never_ends_is_timed_out_and_its_session_ends_with_the_lease(
    farm: FakeCoordinator, tmp_path: Path
) -> None:
    port = free_port()
    async with (
        stock("tvm.exec.rpc_server", port, "--key", "board"),
        gateway(farm, tmp_path / "state", "--device", "board", "--rpc", f"board=127.0.0.1:{port}"),
    ):
        measure_all(farm, "loops", [hostile_candidate(farm, "loops")], limit=4.0, device="board")
        assert await outcomes(farm, "loops", 1) == ["RUN_TIMEOUT"]
        measure(farm, "after", good(), device="board")
        assert await outcomes(farm, "after", 1) == ["measured"]


async def test_a_board_that_a_tracker_has(farm: FakeCoordinator, tmp_path: Path) -> None:
    tracker, port = free_port(), free_port()
    async with (
        stock("tvm.exec.rpc_tracker", tracker),
        stock("tvm.exec.rpc_server", port, "--key", "board", "--tracker", f"127.0.0.1:{tracker}"),
        gateway(farm, tmp_path / "state", "--device", "board", "--rpc-tracker", f"board=127.0.0.1:{tracker}"),
    ):
        for lease in ("one", "two"):
            measure(farm, lease, good(), device="board")
            assert await outcomes(farm, lease, 1) == ["measured"]


async def test_a_board_that_is_not_there(farm: FakeCoordinator, tmp_path: Path) -> None:
    async with gateway(farm, tmp_path / "state", "--device", "board", "--rpc", f"board=127.0.0.1:{free_port()}"):
        measure(farm, "lost", good(), device="board")
        ending = await farm.finished("lost", 60)
        assert ending.failure.kind == common_pb2.FAILURE_KIND_DEVICE_LOST
        assert "the board board opens no session" in ending.failure.message
