"""Whole models, each in a process of its own, timed in turn: A B C A B C."""

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Protocol

from tunefarm_agent import commands, wire
from tunefarm_agent.artifacts import Artifacts
from tunefarm_agent.commands import LOAD_ERROR, RUN_ERROR, RUN_TIMEOUT, Confinement, Json, Place
from tunefarm_agent.errors import CommandTimedOut, DeviceFailed, LeaseGivenUp, ProcessDied
from tunefarm_agent.gate import TimingGate
from tunefarm_agent.results import Failed, Measured, Result
from tunefarm_agent.rounds import narrow_enough
from tunefarm_agent.steady import Turn
from tunefarm_agent.supervised import Household, SupervisedProcess
from tunefarm_proto.v1 import farm_pb2

_MODULES = {
    farm_pb2.ModelContender.RUNTIME_TVM: "tunefarm_agent.measurer",
    farm_pb2.ModelContender.RUNTIME_ONNXRUNTIME: "tunefarm_agent.onnx_session",
}
# For a session on a GPU, opened to see whether it works.
_CHECK_SECONDS = 30.0


class Clock(Protocol):
    """Counts a lease's time while its block runs."""

    def running(self) -> contextlib.AbstractAsyncContextManager[None]: ...


@dataclass
class _Entrant:
    """A contender: its process, what is left of its time, what came of it. `gpu`: it runs on one of this host's."""

    contender: farm_pb2.ModelContender
    scratch: Path
    left: float
    gpu: bool
    process: SupervisedProcess | None = None
    failure: Failed | None = None
    # Of the first call, and the median of each turn's.
    first: float | None = None
    seconds: list[float] = field(default_factory=list)
    kernels: dict[str, list[float]] = field(default_factory=dict)
    outputs: Path | None = None

    def result(self) -> Result:
        return self.failure or Measured(tuple(self.seconds), 1, None)

    async def call(self, command: Json) -> Json | None:
        """The values of the reply; None if the contender failed, now or before. Raises LeaseGivenUp."""
        if self.failure is not None or self.process is None:
            return None
        start = time.monotonic()
        try:
            reply = await self.process.call(command, max(0.0, self.left))
        except CommandTimedOut:
            self.failure = Failed(RUN_TIMEOUT, f"took longer than {wire.time_of(self.contender):.3g} s")
            return None
        except ProcessDied as error:
            self.failure = Failed(RUN_ERROR, str(error))
            return None
        finally:
            self.left -= time.monotonic() - start
        if "failed" in reply:
            note = await self._device_note(reply["failed"]["exhausted"])
            self.failure = Failed(reply["failed"]["kind"], f"{note}{reply['failed']['message']}")
            return None
        if "lost" in reply:
            raise LeaseGivenUp(f"benchmark of {self.contender.name}: {reply['lost']}")
        values: Json = reply["ok"]
        return values

    async def _device_note(self, exhausted: int | None) -> str:
        """What is to be said of a GPU after a failure. Raises DeviceFailed: the failure is the device's."""
        if not self.gpu or self.process is None:
            return ""
        try:
            reply = await self.process.call(commands.check_device(exhausted), _CHECK_SECONDS)
        except (CommandTimedOut, ProcessDied) as error:
            reply = commands.lost(str(error))
        if "ok" not in reply:
            raise DeviceFailed(f"benchmark of {self.contender.name}: {commands.reason_of(reply)}")
        return str(reply["ok"]["note"])

    def hold(self) -> None:
        """Its process stands still until its turn."""
        if self.process is not None:
            self.process.hold()

    async def begin(self, inputs: str, sets: int) -> None:
        """The first call, and the outputs where they are asked for; nothing the second time. Raises LeaseGivenUp."""
        if self.first is None and not self.contender.time_kernels:
            values = await self.call(commands.first_call())
            self.first = values["seconds"] if values is not None else None
        if self.contender.report_outputs and self.outputs is None:
            out = self.scratch / "outputs.npz"
            if await self.call(commands.model_outputs(inputs, sets, str(out))) is not None:
                self.outputs = out

    async def run(self, turn: Turn) -> None:
        """One turn: whole inferences, or the kernels in them where those are asked for. Raises LeaseGivenUp."""
        if not self.contender.time_kernels:
            values = await self.call(commands.time_model(turn))
            self.seconds += [median(values["seconds"])] if values is not None else []
            return
        values = await self.call(commands.time_kernels(turn))
        for name, seconds in (values["kernels"] if values is not None else {}).items():
            self.kernels.setdefault(name, []).extend(seconds)


class Benchmark:
    """Times whole models on one device. A contender that can't run fails alone."""

    def __init__(
        self,
        state_dir: Path,
        household: Household,
        confinement: Confinement,
        artifacts: Artifacts,
        gate: TimingGate,
    ) -> None:
        """`confinement`: its scratch is replaced for each contender."""
        self._state_dir = state_dir
        self._household = household
        self._confinement = confinement
        self._artifacts = artifacts
        self._gate = gate

    async def run(
        self, work: farm_pb2.BenchmarkWork, files: wire.Files, scratch: Path, clock: Clock
    ) -> farm_pb2.ModelBenchmark:
        """Every contender's samples, or its failure. Raises LeaseGivenUp, ArtifactUnavailable."""
        inputs, gpu = str(files[work.inputs]), bool(self._confinement.place.gpu)
        entrants = [
            _Entrant(contender, scratch / f"contender{i}", wire.time_of(contender), gpu)
            for i, contender in enumerate(work.contenders)
        ]
        turn = Turn(max(1, work.calls_per_round), work.seconds_per_round, work.warm_up)
        async with self._ended(entrants):
            if self._confinement.place.address:
                async with self._gate.closed(), clock.running():
                    await self._one_by_one(entrants, files, work, turn)
            else:
                async with clock.running():
                    await self._open_all(entrants, files, inputs)
                async with self._gate.closed(), clock.running():
                    await self._rounds(entrants, work, turn, inputs)
        timings = [await self._timing(entrant) for entrant in entrants]
        return farm_pb2.ModelBenchmark(timings=timings)

    @contextlib.asynccontextmanager
    async def _ended(self, entrants: list[_Entrant]) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for entrant in entrants:
                if entrant.process is not None:
                    await entrant.process.kill()

    async def _open_all(self, entrants: list[_Entrant], files: wire.Files, inputs: str) -> None:
        """Side by side where that costs no device's memory: nothing is timed yet."""
        if self._confinement.place.kind != "cpu":
            for entrant in entrants:
                await self._open(entrant, files, inputs)
            return
        try:
            async with asyncio.TaskGroup() as opening:
                for entrant in entrants:
                    opening.create_task(self._open(entrant, files, inputs))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    async def _open(self, entrant: _Entrant, files: wire.Files, inputs: str) -> None:
        """Start the contender's process and load the model."""
        contender = entrant.contender
        module = _MODULES.get(contender.runtime)
        if module is None:
            entrant.failure = Failed(LOAD_ERROR, "this agent does not know the contender's runtime")
            return
        if contender.runtime == farm_pb2.ModelContender.RUNTIME_ONNXRUNTIME and self._confinement.place != Place():
            entrant.failure = Failed(LOAD_ERROR, "ONNX Runtime runs on the agent's own CPU, not on this device")
            return
        entrant.scratch.mkdir(exist_ok=True)
        model = commands.Model(
            artifact=str(_laid_out(contender, files, entrant.scratch)),
            parameters=str(files[contender.parameters]) if contender.parameters else "",
            inputs=tuple(commands.ModelInput(i.name, i.dtype) for i in contender.inputs),
            entry=contender.entry or "main",
        )
        entrant.process = SupervisedProcess(module, self._state_dir, self._household, children_first=False)
        try:
            await entrant.process.start()
        except ProcessDied as error:
            raise LeaseGivenUp(f"benchmark of {contender.name}: {error}") from error
        confinement = replace(self._confinement, scratch=str(entrant.scratch))
        if confinement.uid:
            os.chown(entrant.scratch, confinement.uid, confinement.uid)
        await entrant.call(commands.open_model(model, confinement, inputs))

    async def _one_by_one(
        self, entrants: list[_Entrant], files: wire.Files, work: farm_pb2.BenchmarkWork, turn: Turn
    ) -> None:
        """In turn as ever, but opened anew for each turn: a board's server has one session at a time."""
        for _ in range(work.rounds):
            for entrant in entrants:
                if entrant.failure is None:
                    await self._open(entrant, files, str(files[work.inputs]))
                    await entrant.begin(str(files[work.inputs]), work.input_sets)
                    await entrant.run(turn)
                    if entrant.process is not None:
                        await entrant.process.kill()

    async def _rounds(self, entrants: list[_Entrant], work: farm_pb2.BenchmarkWork, turn: Turn, inputs: str) -> None:
        """First calls, then turn by turn, until all rounds are over or the ratios are known well enough."""
        alone = self._confinement.place.kind == "cpu"
        if alone:
            for entrant in entrants:
                entrant.hold()
        for entrant in entrants:
            async with _turn(entrant, alone=alone):
                await entrant.begin(inputs, work.input_sets)
        for _ in range(work.rounds):
            for entrant in entrants:
                async with _turn(entrant, alone=alone):
                    await entrant.run(turn)
            times = [entrant.seconds for entrant in entrants if entrant.failure is None and entrant.seconds]
            if work.narrow and narrow_enough(times, work.narrow):
                return

    async def _timing(self, entrant: _Entrant) -> farm_pb2.ModelTiming:
        outputs = await self._artifacts.upload(entrant.outputs) if entrant.outputs is not None else ""
        return wire.model_timing(entrant.contender.name, entrant.result(), outputs, entrant.kernels, entrant.first)


@contextlib.asynccontextmanager
async def _turn(entrant: _Entrant, *, alone: bool) -> AsyncIterator[None]:
    """`alone`: the others stand still, and so does this one afterwards. The threads of a pool spin for a tenth of a
    second after the last call, and who came next would take three times as long as alone; held, they spin on when it is
    their turn again, as they do where calls follow one another."""
    if alone and entrant.process is not None:
        entrant.process.go_on()
    yield
    if alone:
        entrant.hold()


def _laid_out(contender: farm_pb2.ModelContender, files: wire.Files, scratch: Path) -> Path:
    """The model with its external data around it, as its own paths say. Raises LeaseGivenUp."""
    if not contender.external_data:
        return files[contender.artifact]
    folder = scratch / "model"
    for relative, digest in {"model.onnx": contender.artifact, **contender.external_data}.items():
        parts = PurePosixPath(relative).parts
        if not parts or PurePosixPath(relative).is_absolute() or ".." in parts:
            raise LeaseGivenUp(f"{contender.name}: the path {relative!r} leaves the model's folder")
        place = folder.joinpath(*parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(files[digest], place)
        except OSError:
            shutil.copyfile(files[digest], place)
    return folder / "model.onnx"
