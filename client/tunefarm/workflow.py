"""A job, as the code that started it (or found it again) holds it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from tunefarm.calls import Calls
from tunefarm.errors import InvalidInput, JobCancelled, JobFailed, JobNotFinished, Unavailable, Unreachable
from tunefarm.job import Job, JobState, Metrics, Progress
from tunefarm.request import ResumeTotals
from tunefarm.transfer import fetch_package
from tunefarm.watching import OUTAGE_SECONDS, Outage, watch_job
from tunefarm.wire import job_from, resume_request


class Workflow:
    """A handle on one job. Holds no state of its own: every answer is the coordinator's, now."""

    def __init__(self, calls: Calls, job_id: str, await_device: Callable[[], None] = lambda: None) -> None:
        self._calls = calls
        self._await_device = await_device
        self.id = job_id

    def __repr__(self) -> str:
        return f"Workflow({self.id!r})"

    def status(self) -> Job:
        """Everything that is known about the job now."""
        return job_from(self._calls.job(self.id))

    @property
    def state(self) -> JobState:
        """The job's state now."""
        return self.status().state

    def done(self) -> bool:
        """Whether the job is SUCCEEDED, FAILED or CANCELLED."""
        return self.state.terminal

    def progress(self) -> Progress:
        """Trials, rate and the model's estimated latency so far."""
        return self.status().progress

    def watch(self) -> Iterator[Job]:
        """The job now and after every change until it is terminal; resumed when the connection breaks."""
        return watch_job(self._calls, self.id)

    def wait(
        self,
        timeout: float | None = None,
        poll_interval: float = 1.0,
        poll_callback: Callable[[Progress], object] | None = None,
    ) -> bool:
        """Waits until the job is terminal, however it ends: True; False if `timeout` seconds pass before.

        `poll_callback` is given the progress every `poll_interval` seconds, and once at the end. A
        coordinator that does not answer is tried again for two minutes before Unavailable is raised.
        """
        if poll_interval <= 0:
            raise InvalidInput(f"poll_interval is {poll_interval}, but must be more than 0 seconds")
        deadline = None if timeout is None else time.monotonic() + timeout
        outage = Outage(OUTAGE_SECONDS, time.monotonic)
        while True:
            pause = poll_interval
            try:
                job = self.status()
            except Unreachable:
                raise
            except Unavailable as error:
                pause = outage.next_pause(error)
            else:
                outage.over()
                if poll_callback is not None:
                    poll_callback(job.progress)
                if job.state.terminal:
                    return True
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                pause = min(pause, left)
            time.sleep(pause)

    def cancel(self, reason: str = "cancelled by the user") -> Job:
        """Asks the job to end; a terminal job stays as it is. Returns it as it is now."""
        return job_from(self._calls.cancel(self.id, reason))

    def resume(
        self,
        *,
        trials_per_kernel: int | None = None,
        kernel_trials: int | None = None,
        max_trials: int | None = None,
        max_seconds: float | None = None,
    ) -> Job:
        """Goes on with a job that failed, was cancelled or was interrupted, or extends one that succeeded.

        What it spent stays spent, what it found stays found. The numbers are new totals (what was spent counts);
        one that is not given stays as it was, and `max_seconds` counts from now. Returns the job as it is now.

        Raises Conflict for a job that is running and for one that succeeded and would have nothing to spend,
        InvalidInput for a total below what was spent or of the other tuner, NotFound.
        """
        totals = ResumeTotals(trials_per_kernel, kernel_trials, max_trials, max_seconds)
        self._await_device()
        return job_from(self._calls.resume(resume_request(self.id, totals, uuid.uuid4().hex)))

    def metrics(self) -> Metrics:
        """Latencies of the finished job. Raises as `result` does."""
        return self.result().metrics

    def result(self) -> Job:
        """The SUCCEEDED job. Raises JobNotFinished, JobFailed (with the job's own message), JobCancelled."""
        job = self.status()
        raise_unless_succeeded(job)
        return job

    def packaged(self) -> Job:
        """The job, which has a package. Raises as `result` does if it has none."""
        job = self.status()
        if not job.has_package:
            raise_unless_succeeded(job)
        return job

    def save_package(self, path: str | Path) -> Path:
        """Writes the package into the folder `path` (made if missing) and returns the folder.

        A job that succeeded, went on, and then failed or was cancelled still has the package of before. Raises as
        `result` does where there is none; NoPackage, BrokenTransfer, and InvalidInput if the folder can't be written.
        """
        self.packaged()
        folder = Path(path)
        fetch_package(self._calls, self.id, folder)
        return folder


def raise_unless_succeeded(job: Job) -> None:
    """Raises JobNotFinished, JobFailed or JobCancelled unless the job is SUCCEEDED."""
    if not job.state.terminal:
        raise JobNotFinished(f"job {job.job_id} is {job.state}: wait for it first")
    if job.state is JobState.CANCELLED:
        raise JobCancelled(f"job {job.job_id} was cancelled")
    if job.state is JobState.FAILED:
        message = job.error.message if job.error else f"job {job.job_id} failed"
        raise JobFailed(message, job.error.kind if job.error else "UNSPECIFIED")
