"""A measuring process as the agent sees it: commands in, replies out, a watch on each, killed for sure."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from tunefarm_agent.commands import Json, encode
from tunefarm_agent.confinement import MARK, descendants, kill, kill_descendants, reap, signal_tree
from tunefarm_agent.errors import CommandTimedOut, ProcessDied

_START_SECONDS = 60.0
# How long a process has to answer for its shot children before it is shot itself.
_GRACE_SECONDS = 2.0
_NEXT_SHOT_SECONDS = 0.05
_LONGEST_REPLY = 64 << 20


class Household:
    """The agent's own child processes. Any other child is an orphan that a dead one left to the agent."""

    def __init__(self) -> None:
        self.own: set[int] = set()
        # A child that was just started must not be taken for an orphan.
        self.changing = asyncio.Lock()

    async def bury_all(self) -> None:
        """The end: kill and reap every process below this one."""
        self.own.clear()
        await self.bury_orphans(patience=10.0)

    async def bury_orphans(self, patience: float = 2.0) -> None:
        """Kill and reap everything below this process that is none of its own."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        async with self.changing:
            while (orphans := descendants(os.getpid(), spare=self.own, zombies=True)) and loop.time() < deadline:
                for pid in orphans:
                    kill(pid)
                    reap(pid)
                await asyncio.sleep(0.002)


class SupervisedProcess:
    """One `python -m MODULE` that answers commands. Not started until `start`.

    `children_first`: a command that takes too long is ended by killing the process's children, and the
    process lives on. Otherwise the process itself is killed.
    """

    def __init__(self, module: str, state_dir: Path, household: Household, children_first: bool) -> None:
        self._module = module
        self._state_dir = state_dir
        self._household = household
        self._children_first = children_first
        self._process: asyncio.subprocess.Process | None = None
        self._ready = False

    @property
    def alive(self) -> bool:
        """Started, ready, and not known to be dead."""
        return self._ready and self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start, and wait until it is ready. Raises ProcessDied."""
        async with self._household.changing:
            self._ready = False
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", self._module, str(os.getpid())),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=_environment(self._state_dir),
                cwd=self._state_dir,
                start_new_session=True,
                limit=_LONGEST_REPLY,
            )
            self._household.own.add(self._process.pid)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._reply()
            self._ready = True
        except TimeoutError as error:
            await self.kill()
            raise ProcessDied(f"{self._module} did not start within {_START_SECONDS:g} s") from error
        except (asyncio.CancelledError, ProcessDied):
            await self.kill()
            raise

    async def call(self, command: Json, limit: float, session: int = 0) -> Json:
        """The reply to a command. `session`: the child that the command runs in; its death ends the command.

        Raises:
            CommandTimedOut: after `limit` seconds; what ran for the command is dead.
            ProcessDied: the process ended; it and its children are gone. `start` brings it back.
        """
        try:
            async with asyncio.timeout(limit):
                with self._orphans_shot(session):
                    await self._send(command)
                    return await self._reply()
        except TimeoutError as error:
            await self._end_command()
            raise CommandTimedOut(f"took longer than {limit:.3g} s") from error
        except (asyncio.CancelledError, ProcessDied):
            # After a cancel the reply may still come: this process can't be asked anything else.
            await self.kill()
            raise

    def hold(self) -> None:
        """Stop the process, and everything under it, where it stands: none of its threads takes any core's time until
        `go_on`. It can still be killed, and dies with the agent."""
        if self.alive and self._process is not None:
            signal_tree(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """After `hold`."""
        if self.alive and self._process is not None:
            signal_tree(self._process.pid, signal.SIGCONT)

    async def kill(self) -> None:
        """SIGKILL to the process and everything under it; returns when all are gone.

        Goes on to its end if the caller is cancelled: half a kill would leave orphans.
        """
        process, self._process, self._ready = self._process, None, False
        if process is not None:
            await asyncio.shield(asyncio.ensure_future(self._kill(process)))

    async def _kill(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()
        self._household.own.discard(process.pid)
        # A session dies with its parent, by prctl; what it forked comes to the agent, which adopts orphans.
        await self._household.bury_orphans()

    @contextlib.contextmanager
    def _orphans_shot(self, session: int) -> Iterator[None]:
        """When the session dies, shoot what it forked: that may hold the connection open, and the process
        would wait at it until the command's time is up."""
        if not session or self._process is None:
            yield
            return
        loop, pid = asyncio.get_running_loop(), self._process.pid
        try:
            handle = os.pidfd_open(session)
        except ProcessLookupError:
            yield
            return

        shots: list[asyncio.TimerHandle] = []

        def gone() -> None:
            loop.remove_reader(handle)
            kill_descendants(pid)
            # One that forked while it was counted got away: again, until the command has ended.
            shots[:] = [loop.call_later(_NEXT_SHOT_SECONDS, gone)]

        loop.add_reader(handle, gone)
        try:
            yield
        finally:
            for shot in shots:
                shot.cancel()
            loop.remove_reader(handle)
            os.close(handle)

    async def _end_command(self) -> None:
        """After a timeout: shoot the children until the process answers, or else shoot it too."""
        if self._children_first and self._process is not None:
            reply = asyncio.ensure_future(self._reply())
            try:
                async with asyncio.timeout(_GRACE_SECONDS):
                    while not reply.done():
                        kill_descendants(self._process.pid)
                        await asyncio.wait([reply], timeout=_NEXT_SHOT_SECONDS)
                await reply
                return
            except (TimeoutError, ProcessDied):
                pass
            finally:
                reply.cancel()
        await self.kill()

    async def _send(self, command: Json) -> None:
        if self._process is None or self._process.stdin is None:
            raise ProcessDied(f"{self._module} is not running")
        try:
            self._process.stdin.write(encode(command))
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ProcessDied(f"{self._module} died") from error

    async def _reply(self) -> Json:
        process = self._process
        if process is None or process.stdout is None:
            raise ProcessDied(f"{self._module} is not running")
        line = await process.stdout.readline()
        if not line.endswith(b"\n"):
            code = await process.wait()
            raise ProcessDied(f"{self._module} died with exit code {code}")
        reply: Json = json.loads(line)
        return reply


def _environment(state_dir: Path) -> dict[str, str]:
    """Runtime libraries alone, no threads but the main one, and the mark that strays are found by."""
    return {
        **os.environ,
        MARK: str(state_dir),
        "TVM_USE_RUNTIME_LIB": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
