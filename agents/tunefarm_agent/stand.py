"""The place on a device where candidates run: one measuring process, opened anew for each lease."""

import asyncio
import contextlib
import math
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from tunefarm_agent import commands
from tunefarm_agent.commands import RUN_ERROR, RUN_TIMEOUT, Confinement, Json, Place
from tunefarm_agent.errors import CommandTimedOut, DeviceFailed, LeaseGivenUp, ProcessDied
from tunefarm_agent.results import Failed, Measured, ReferenceTime, Result
from tunefarm_agent.supervised import Household, SupervisedProcess

# For what the measuring process does on its own behalf.
_OWN_SECONDS = 30.0
_TRIES = 3
_REFERENCE_TRIES = 2

_log = structlog.get_logger()


class Stand:
    """Runs candidates one after another; survives every one of them."""

    def __init__(
        self,
        state_dir: Path,
        household: Household,
        cores: tuple[int, ...],
        memory: int,
        uid: int,
        place: Place,
    ) -> None:
        """`memory`: bytes; `uid`: whom candidates run as, 0 for the agent's own user."""
        self._process = SupervisedProcess("tunefarm_agent.measurer", state_dir, household, children_first=True)
        self._scratches = state_dir / "scratch"
        self._cores = cores
        self._memory = memory
        self._uid = uid
        self._place = place
        # What is wrong with a board, no other process of ours mends.
        self._tries = 1 if place.address else _TRIES
        self._confinement: Confinement | None = None
        self._fresh = False
        self._starting = asyncio.Lock()
        # What the living process was told last.
        self._knows: Confinement | None = None

    async def warm_up(self) -> None:
        """Start the measuring process, unless it is there. Raises ProcessDied."""
        async with self._starting:
            if not self._process.alive:
                await self._process.start()
                self._knows = None

    async def close(self) -> None:
        await self._process.kill()

    @contextlib.asynccontextmanager
    async def set_up(self, time_limit: float = 0.0) -> AsyncIterator[Path]:
        """A scratch folder and a measuring process for one lease; nothing is left of either's work after.

        `time_limit`: seconds of work that the lease has, 0 for no limit. No process may take more of the cores' time
        than they have in it: what gets away from the watchdog still ends.
        """
        self._scratches.mkdir(exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=self._scratches))
        try:
            if self._uid:
                os.chown(scratch, self._uid, self._uid)
            cpu_seconds = math.ceil(time_limit * len(self._cores))
            self._confinement = Confinement(
                str(scratch), self._cores, self._memory, self._uid, cpu_seconds, time_limit, self._place
            )
            self._fresh = True
            await self._own(commands.configure(self._confinement))
            yield scratch
        finally:
            await self._tidy(scratch)

    async def _tidy(self, scratch: Path) -> None:
        try:
            if self._process.alive:
                self._granted(await self._process.call(commands.end(), _OWN_SECONDS))
        except (ProcessDied, CommandTimedOut, LeaseGivenUp) as error:
            _log.warning("the measuring process had to go", error=str(error))
            await self._process.kill()
        finally:
            self._confinement = None
            shutil.rmtree(scratch, ignore_errors=True)

    def renew(self) -> None:
        """The next candidate gets a session of its own."""
        self._fresh = True

    async def run(
        self,
        kernel: commands.Kernel,
        expected: tuple[commands.Expected, ...],
        evaluation: commands.Evaluation | None,
        limit: float,
        keep: bool = False,
    ) -> Result:
        """What comes of a candidate within `limit` seconds. Raises LeaseGivenUp.

        One that fails where others ran before it is tried once more in a session of its own: they may have
        harmed the session's memory, and it must not pay for that. A timeout is final.
        """
        command = commands.run_kernel(kernel, expected, evaluation, keep)
        result, alone = await self._once(command, limit)
        if isinstance(result, Failed) and result.kind != RUN_TIMEOUT and not alone:
            result, _ = await self._once(command, limit)
        return result

    async def time_reference(
        self, kernel: commands.Kernel, evaluation: commands.Evaluation, limit: float
    ) -> ReferenceTime:
        """What the reference kernel takes now. Raises LeaseGivenUp; DeviceFailed where it can't be timed, not even in a
        session of its own (candidates may have harmed the one that it shared with them)."""
        command, reason = commands.time_reference(kernel, evaluation), ""
        for _ in range(_REFERENCE_TRIES):
            opened = await self._own(commands.open_session(self._fresh))
            self._fresh = False
            try:
                reply = await self._process.call(command, limit, session=opened["pid"])
            except (CommandTimedOut, ProcessDied) as error:
                reply = commands.lost(str(error))
            if "ok" in reply:
                return ReferenceTime(tuple(reply["ok"]["seconds"]))
            reason = commands.reason_of(reply)
            _log.warning("the reference kernel can't be timed", reason=reason)
            self._fresh = True
        raise DeviceFailed(f"its reference kernel can't be timed, not even in a fresh session: {reason}")

    async def _once(self, command: Json, limit: float) -> tuple[Result, bool]:
        """(the result, whether the session was the candidate's alone)."""
        opened = await self._own(commands.open_session(self._fresh))
        self._fresh = False
        alone = not opened["used"]
        try:
            reply = await self._process.call(command, limit, session=opened["pid"])
        except CommandTimedOut as error:
            return await self._failure(commands.failed(RUN_TIMEOUT, str(error))["failed"]), alone
        except ProcessDied as error:
            return Failed(RUN_ERROR, f"took the measuring process with it: {error}"), False
        if "failed" in reply:
            return await self._failure(reply["failed"]), alone
        values = self._granted(reply)
        measured = Measured(tuple(values["seconds"]), values["number"], values["max_rel_error"], values["let_go"])
        return measured, alone

    async def _failure(self, failed: Json) -> Failed:
        """What a candidate failed with. Raises LeaseGivenUp: the device did.

        Only a new session tells: after a kernel's fault, its process can't use a GPU any more.
        """
        self._fresh = True
        note = ""
        if self._place.gpu:
            note = (await self._own(commands.check_device(failed["exhausted"])))["note"]
            self._fresh = False
        return Failed(failed["kind"], f"{note}{failed['message']}")

    async def _own(self, command: Json) -> Json:
        """Have a command of ours done, with a new process if the old one can't. Raises LeaseGivenUp."""
        reason = ""
        for _ in range(self._tries):
            try:
                await self._make_sure(command)
                return self._granted(await self._process.call(command, _OWN_SECONDS))
            except (ProcessDied, CommandTimedOut, LeaseGivenUp) as error:
                reason = str(error)
                _log.warning("the measuring process is started again", error=reason)
                await self._process.kill()
        failed = LeaseGivenUp if self._place.address else DeviceFailed
        raise failed(f"the device can't run candidates: {reason}")

    async def _make_sure(self, command: Json) -> None:
        """A living process that knows its confinement."""
        await self.warm_up()
        if self._confinement is not None and command["op"] != "configure" and self._knows is None:
            self._granted(await self._process.call(commands.configure(self._confinement), _OWN_SECONDS))
        self._knows = self._confinement

    @staticmethod
    def _granted(reply: Json) -> Json:
        """The values of a reply that is no failure. Raises LeaseGivenUp."""
        if "ok" not in reply:
            raise LeaseGivenUp(str(reply.get("lost") or reply))
        values: Json = reply["ok"]
        return values
