"""Recordings: the trials of real jobs, kept as test data, to compare policies without a device."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "data" / "recordings"
_VERSION = 1


@dataclass(frozen=True)
class RecordedTask:
    """One tuning task and its trials in the order in which search proposed them.

    Attributes:
        name: readable name of the task, unique within its recording.
        weight: how often the model calls it.
        flops: of one call.
        baseline: seconds of one call with the default schedule; None where it could not be measured.
        trials: seconds of one call, or the kind of failure.
    """

    name: str
    weight: int
    flops: float
    baseline: float | None
    trials: tuple[float | str, ...]

    @property
    def best(self) -> float | None:
        """The fastest that the recording has."""
        return min((each for each in (self.baseline, *self.trials) if isinstance(each, float)), default=None)


@dataclass(frozen=True)
class Recording:
    """All tasks of one model, recorded in turns, so that each has the same number of trials.

    Attributes:
        model: its name in `tests/model_zoo.py`.
        target: TVM's JSON.
    """

    model: str
    target: str
    tasks: tuple[RecordedTask, ...]

    @property
    def depth(self) -> int:
        """Trials that every task has."""
        return min(len(task.trials) for task in self.tasks)


def path_of(model: str) -> Path:
    return FOLDER / f"{model}.json.gz"


def names() -> list[str]:
    """Models of which there is a recording."""
    return sorted(path.name.removesuffix(".json.gz") for path in FOLDER.glob("*.json.gz"))


def load(model: str) -> Recording:
    """The committed recording of that model."""
    data = json.loads(gzip.decompress(path_of(model).read_bytes()))
    if data["version"] != _VERSION:
        raise ValueError(f"{path_of(model)}: version {data['version']}; this program reads {_VERSION}: record it again")
    tasks = tuple(RecordedTask(**{**task, "trials": tuple(task["trials"])}) for task in data["tasks"])
    return Recording(data["model"], data["target"], tasks)


def save(recording: Recording) -> Path:
    """Writes it where `load` finds it. The same recording gives the same bytes."""
    document = {"version": _VERSION, **asdict(recording)}
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = path_of(recording.model)
    path.write_bytes(gzip.compress(json.dumps(_rounded(document)).encode(), mtime=0))
    return path


def _rounded(value: Any) -> Any:
    """Four digits are more than any clock here can tell."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(item) for item in value]
    return value
