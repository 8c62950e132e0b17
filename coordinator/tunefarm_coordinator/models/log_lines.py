"""MetaSchedule databases as plain data: what a slice of one says, how far one is written. No TVM in here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO

WORKLOAD_FILE = "database_workload.json"
RECORD_FILE = "database_tuning_record.json"

# A record takes some 12 KB, a workload 40; whatever is this long is none.
LONGEST_LINE_BYTES = 12 << 20


@dataclass(frozen=True)
class ReadWorkload:
    """A kernel of the database. `module`: its TIR as `TuningTask.module`; `kind` is empty: the files don't say it."""

    workload: str
    name: str
    module: str
    flops: float
    shapes: tuple[tuple[int, ...], ...]
    kind: str = ""


@dataclass(frozen=True)
class ReadRecord:
    """A record whose trace was replayed. `target`: canonical JSON; `seconds` of one call, as the file has them."""

    line: int
    workload: str
    name: str
    target: str
    identity: str
    trace: str
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class RefusedLine:
    """`sentinel`: its time stands for a failure; else it can't be read or replayed."""

    line: int
    reason: str
    sentinel: bool = False


@dataclass(frozen=True)
class ReadSlice:
    """`workloads` of its records, each once. `lines` of the file from where it began; `end`: byte behind them."""

    workloads: tuple[ReadWorkload, ...]
    records: tuple[ReadRecord, ...]
    refused: tuple[RefusedLine, ...]
    lines: int
    end: int


@dataclass(frozen=True)
class Written:
    """How far a database is written.

    Attributes:
        places: line of each workload, by its module's hash, in its file; from 0.
        sizes: of the two files, in bytes; what stands behind was begun and not finished.
        other_algorithm, unfit: left out, as TVM has no trace of them, or can't replay it.
    """

    places: Mapping[str, int] = field(default_factory=dict)
    sizes: tuple[int, int] = (0, 0)
    records: int = 0
    other_algorithm: int = 0
    unfit: int = 0


def next_line(stream: IO[bytes]) -> bytes | None:
    """The next line with its end, empty at the file's end; None in place of one that is too long."""
    line = stream.readline(LONGEST_LINE_BYTES)
    if line.endswith(b"\n") or len(line) < LONGEST_LINE_BYTES:
        return line
    while (rest := stream.readline(LONGEST_LINE_BYTES)) and not rest.endswith(b"\n"):
        pass
    return None
