"""What can become of a worker process. No Ray here."""


class WorkerDied(Exception):
    """The process ended during the call. `seconds`: how long it had been computing."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class WorkerHung(WorkerDied):
    """The call took longer than its limit; the process was killed."""


class WorkerGone(Exception):
    """The process had ended, or did not come up, before the call began: another one may do it."""
