"""Outcomes that nobody has acknowledged yet, on disk: they outlive a crash of the agent, or of the machine."""

import hashlib
import os
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from tunefarm_proto.v1 import farm_pb2

_log = structlog.get_logger()


class Spool:
    """One file for each outcome, there from `put` to `remove`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, report: farm_pb2.OutcomeReport) -> None:
        """Durable when this returns. Raises OSError."""
        path = self._path(report.lease_id, report.attempt, report.index)
        draft = path.with_suffix(".draft")
        with draft.open("wb") as file:
            file.write(report.SerializeToString())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def remove(self, lease_id: str, attempt: int, index: int) -> None:
        self._path(lease_id, attempt, index).unlink(missing_ok=True)

    def remove_lease(self, lease_id: str, attempt: int) -> None:
        for path in self._folder.glob(f"{_stem(lease_id, attempt)}-*"):
            path.unlink(missing_ok=True)

    def load(self) -> list[farm_pb2.OutcomeReport]:
        """Everything spooled, in the order in which it was measured. A torn draft was never an outcome."""
        reports = []
        for path in sorted(self._folder.iterdir(), key=lambda p: p.stat().st_mtime_ns):
            if path.suffix == ".draft":
                path.unlink()
                continue
            try:
                reports.append(farm_pb2.OutcomeReport.FromString(path.read_bytes()))
            except DecodeError:
                _log.warning("an unreadable spooled outcome is dropped", file=path.name)
                path.unlink()
        return reports

    def _path(self, lease_id: str, attempt: int, index: int) -> Path:
        return self._folder / f"{_stem(lease_id, attempt)}-{index}.outcome"


def _stem(lease_id: str, attempt: int) -> str:
    """The coordinator's ids are no file names."""
    return f"{hashlib.sha256(lease_id.encode()).hexdigest()[:32]}-{attempt}"
