# The tests watch other processes from outside: polling and small files are what that takes.
# ruff: noqa: ASYNC110, ASYNC240
"""A real agent process, and the leases that tests give it."""

import asyncio
import contextlib
import io
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from google.protobuf.duration_pb2 import Duration

from tests.farm_stand_in import FakeCoordinator
from tests.hostile_kernels import HOSTILE, hostile
from tunefarm_proto.v1 import common_pb2, farm_pb2

SHAPE = (64, 64)
# What an idle host promises. Where others take its cores everything takes longer, an ordinary lease too.
_AT_ONCE_SECONDS = 2.0
_LEASES_OF_TIME = 10
_STARTS_OF_TIME = 3
# Seconds: for a candidate that ends by itself, and for one that never does.
RUN_TIMEOUT = 20.0
NEVER_ENDS_TIMEOUT = 1.0


class AgentProcess:
    """`tunefarm-agent run` as a user starts it."""

    def __init__(self, process: asyncio.subprocess.Process, state_dir: Path, log: Path) -> None:
        self.process = process
        self.state_dir = state_dir
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def below(self) -> list[psutil.Process]:
        """Its processes; the agent's own not among them."""
        below: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return below

    def tree(self) -> list[psutil.Process]:
        return [psutil.Process(self.process.pid), *self.below()]

    def marked(self) -> list[psutil.Process]:
        """Whatever lives on this machine and was started for this agent, in its tree or not."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("TUNEFARM_AGENT_STATE") == str(self.state_dir):
                    found.append(process)
        return found

    async def ended(self, seconds: float = 30.0) -> int:
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    async def killed(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        for process in self.marked():
            with contextlib.suppress(psutil.Error):
                process.kill()


async def start_agent(address: str, state_dir: Path, *options: str, pass_fds: tuple[int, ...] = ()) -> AgentProcess:
    state_dir.mkdir(exist_ok=True)
    log = state_dir.parent / f"{state_dir.name}.log"
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tunefarm_agent", "run", "--connect", address),
            *("--state-dir", str(state_dir), "--memory-limit", "256", "--json-logs", *options),
            stdout=file,
            stderr=file,
            pass_fds=pass_fds,
        )
    return AgentProcess(process, state_dir.resolve(), log)


def expected(farm: FakeCoordinator, seed: int = 0) -> farm_pb2.ExpectedOutputs:
    return farm_pb2.ExpectedOutputs(artifact=farm.put(expected_blob(seed)), rtol=1e-3, atol=1e-6)


def expected_blob(seed: int) -> bytes:
    """An input and what the honest kernel makes of it."""
    values = np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)
    return npz(arg0=values, out0=values + 1)


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def candidate(farm: FakeCoordinator, kernel: bytes, timeout: float = RUN_TIMEOUT) -> farm_pb2.Candidate:
    argument = farm_pb2.KernelArgument(shape=SHAPE, dtype="float32")
    return farm_pb2.Candidate(artifact=farm.put(kernel), arguments=[argument] * 2, run_timeout=timeout)


def hostile_candidate(farm: FakeCoordinator, name: str) -> farm_pb2.Candidate:
    """One of `HOSTILE`, with little time if it needs to run out of it."""
    timeout = NEVER_ENDS_TIMEOUT if HOSTILE[name][1] == "RUN_TIMEOUT" else RUN_TIMEOUT
    return candidate(farm, hostile(name), timeout)


EVALUATOR = farm_pb2.Evaluator(number=1, repeat=3, min_repeat_ms=1.0)


def measure(
    farm: FakeCoordinator,
    lease_id: str,
    *kernels: bytes,
    limit: float = 60.0,
    timeout: float = RUN_TIMEOUT,
    device: str = "cpu0",
) -> None:
    """Give out a lease to check and time these kernels."""
    measure_all(farm, lease_id, [candidate(farm, kernel, timeout) for kernel in kernels], limit, device)


def measure_all(
    farm: FakeCoordinator,
    lease_id: str,
    candidates: list[farm_pb2.Candidate],
    limit: float = 60.0,
    device: str = "cpu0",
) -> None:
    """Give out a lease to check and time these candidates."""
    work = farm_pb2.MeasureWork(
        candidates=candidates, evaluator=EVALUATOR, expected=[expected(farm, 0), expected(farm, 1)]
    )
    one_lease(farm, lease_id, limit, device, measure=work)


def seconds(value: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(int(value * 1000))
    return duration


def one_lease(farm: FakeCoordinator, lease_id: str, limit: float = 60.0, device: str = "cpu0", **work: object) -> None:
    """Give out a lease with the given work, such as `measure=MeasureWork(...)`."""
    farm.lease(
        farm_pb2.Lease(
            lease_id=lease_id,
            attempt=1,
            device_id=device,
            time_limit=seconds(limit),
            **work,  # type: ignore[arg-type]
        )
    )


def kind(report: farm_pb2.OutcomeReport) -> str:
    """ "measured", or the failure's kind without its prefix."""
    outcome = report.WhichOneof("outcome")
    name = common_pb2.FailureKind.Name(report.failed.kind).removeprefix("FAILURE_KIND_")
    return name if outcome == "failed" else str(outcome)


def at_once(ordinary: float) -> float:
    """Seconds within which a device takes its next work, on a host where an ordinary lease takes `ordinary`."""
    return max(_AT_ONCE_SECONDS, _LEASES_OF_TIME * ordinary)


async def at_once_anew() -> float:
    """The same where a new measuring process is needed: most of the time goes into its import of TVM."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import tunefarm_agent.measurer")
    assert await process.wait() == 0
    return max(_AT_ONCE_SECONDS, _STARTS_OF_TIME * (time.monotonic() - began))


async def none_left(agent: AgentProcess) -> None:
    """In a moment: the agent, its measurer, and nothing else; no scratch."""
    scratch = agent.state_dir / "scratch"
    for _ in range(1500):
        folders = list(scratch.iterdir()) if scratch.exists() else []
        if len(agent.below()) <= 1 and len(agent.marked()) <= 1 and not folders:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"left: {agent.below()}, {agent.marked()}, {folders}")


async def spool_empties(agent: AgentProcess) -> None:
    async with asyncio.timeout(30):
        while list((agent.state_dir / "spool").iterdir()):
            await asyncio.sleep(0.02)
