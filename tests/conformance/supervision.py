"""Each case in a forked child of this process, which has everything imported and no threads: some at a time, with a
time limit, so that a crash or a hang is a finding and not an end."""

import contextlib
import os
import pickle
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.conformance.verdict import CRASH, HANG, Verdict


@dataclass(frozen=True)
class _Child:
    index: int
    pid: int
    reader: int
    deadline: float


def judged(jobs: Sequence[Callable[[], Verdict]], at_once: int, limit_s: float) -> Iterator[tuple[int, Verdict, float]]:
    """(index of the job, its verdict, seconds), in the order in which they end."""
    selector = selectors.DefaultSelector()
    children: dict[int, _Child] = {}
    waiting = list(enumerate(jobs))[::-1]
    while waiting or children:
        while waiting and len(children) < at_once:
            child = _started(*waiting.pop(), limit_s)
            children[child.reader] = child
            selector.register(child.reader, selectors.EVENT_READ)
        soonest = min(child.deadline for child in children.values())
        ready = [key.fd for key, _ in selector.select(max(0.0, soonest - time.monotonic()))]
        late = [fd for fd, child in children.items() if child.deadline <= time.monotonic() and fd not in ready]
        for fd in (*ready, *late):
            selector.unregister(fd)
            child = children.pop(fd)
            verdict = Verdict(HANG, f"not done after {limit_s:.0f} s") if fd in late else _read(child)
            yield child.index, verdict, limit_s - (child.deadline - time.monotonic())
            _ended(child)


def _started(index: int, job: Callable[[], Verdict], limit_s: float) -> _Child:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.setsid()
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(job(), pipe)
        # Not `exit`: what the parent registered is the parent's to do.
        os._exit(0)
    os.close(writer)
    return _Child(index, pid, reader, time.monotonic() + limit_s)


def _read(child: _Child) -> Verdict:
    with os.fdopen(os.dup(child.reader), "rb") as pipe:
        content = pipe.read()
    if content:
        verdict: Verdict = pickle.loads(content)
        return verdict
    return Verdict(CRASH, "the process died")


def _ended(child: _Child) -> None:
    os.close(child.reader)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    os.waitpid(child.pid, 0)
