"""MetaSchedule JSON databases, slice by slice: a record counts once its trace was replayed on its workload.

TVM's own `JSONDatabase` reads all or nothing, into memory: one torn line makes its files unreadable.
"""

import base64
import json
import math
import struct
from array import array
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import tvm
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.analysis import estimate_tir_flops
from tvm.target import Target

from tunefarm_coordinator.engines import trace_text
from tunefarm_coordinator.engines.prepack import LAID_OUT_BEFORE
from tunefarm_coordinator.engines.space import schedule_identity
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS, first_line
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.log_lines import (
    WORKLOAD_FILE,
    ReadRecord,
    ReadSlice,
    ReadWorkload,
    RefusedLine,
    next_line,
)
from tunefarm_coordinator.models.target import resolve_target
from tunefarm_coordinator.models.tasks import normalized, readable_name, shapes_of, workload_of

# Of the record file in one slice; a single line may be longer.
_SLICE_BYTES = 4 << 20
# `WorkloadAsJSON` writes a string as its length in bytes (little endian) and its text, and that as base64.
_LENGTH = struct.Struct("<Q")


class _Unusable(Exception):
    """Why a line is not taken. `sentinel`: see `RefusedLine`."""

    def __init__(self, reason: str, *, sentinel: bool = False) -> None:
        super().__init__(reason)
        self.sentinel = sentinel


@dataclass(frozen=True)
class _Kernel:
    module: Any
    known: ReadWorkload


def read_slice(
    workloads: Path, records: Path, *, offset: int, line: int, count: int, longest_seconds: float
) -> ReadSlice:
    """At most `count` lines of the file `records` from byte `offset`, where line `line` begins (the first one is 1).

    `longest_seconds`: a time as long stands for a failure. Raises OSError where a file can't be read.
    """
    kernels = _Kernels(workloads)
    targets: dict[str, str] = {}
    read: list[ReadRecord] = []
    refused: list[RefusedLine] = []
    lines = 0
    with records.open("rb") as stream:
        stream.seek(offset)
        while lines < count and stream.tell() - offset < _SLICE_BYTES:
            text = next_line(stream)
            if text == b"":
                break
            number = line + lines
            lines += 1
            try:
                if text is None or text.strip():
                    read.append(_record(number, text, kernels, targets, longest_seconds))
            except _Unusable as error:
                refused.append(RefusedLine(number, str(error), error.sentinel))
        end = stream.tell()
    used = {record.workload for record in read}
    known = {kernel.known.workload: kernel.known for kernel in kernels.read if kernel.known.workload in used}
    return ReadSlice(tuple(known.values()), tuple(read), tuple(refused), lines, end)


class _Kernels:
    """The workloads of a database by their place in its file, each read when a record asks for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._starts = _starts(str(path), path.stat().st_size)
        self._known: dict[int, _Kernel | str] = {}

    @property
    def read(self) -> list[_Kernel]:
        return [kernel for kernel in self._known.values() if isinstance(kernel, _Kernel)]

    def at(self, place: int) -> _Kernel:
        """Raises _Unusable."""
        if place not in self._known:
            try:
                self._known[place] = _kernel(self._line(place))
            except _Unusable as error:
                self._known[place] = str(error)
        kernel = self._known[place]
        if isinstance(kernel, str):
            raise _Unusable(f"its workload (line {place + 1} of {WORKLOAD_FILE}) can't be used: {kernel}")
        return kernel

    def _line(self, place: int) -> bytes:
        if not 0 <= place < len(self._starts):
            raise _Unusable("there is no such line")
        with self._path.open("rb") as stream:
            stream.seek(self._starts[place])
            line = next_line(stream)
        if line is None:
            raise _Unusable("it is too long")
        return line


@lru_cache(maxsize=2)
def _starts(path: str, size: int) -> "array[int]":  # noqa: ARG001 - a file that grew is another one
    """Where each line of the file begins, in bytes. Kept between the slices of one database."""
    starts = array("Q")
    with Path(path).open("rb") as stream:
        at = 0
        while next_line(stream) != b"":
            starts.append(at)
            at = stream.tell()
    return starts


def _kernel(line: bytes) -> _Kernel:
    try:
        written = json.loads(line)
        if not (isinstance(written, list) and len(written) == 2 and all(isinstance(part, str) for part in written)):
            raise _Unusable("it is no workload that TVM wrote")
        _check_graph(written[1])
        module = normalized(ms.database.Workload.from_json(written).mod)
        if [str(function.name_hint) for function in module.get_global_vars()] != ["main"]:
            raise _Unusable("it has more than one function")
        known = ReadWorkload(
            workload=workload_of(module),
            name=readable_name(_computed(module), module),
            module=str(tvm.ir.save_json(module)),
            flops=float(estimate_tir_flops(module)),
            shapes=shapes_of(module),
        )
    except TVM_ERRORS as error:
        raise _Unusable(first_line(error)) from error
    return _Kernel(module, known)


def _check_graph(text: str) -> None:
    """TVM believes the length that it reads, and would ask for as much memory. Raises ValueError."""
    data = base64.b64decode(text, validate=True)
    if len(data) < _LENGTH.size or _LENGTH.unpack_from(data)[0] != len(data) - _LENGTH.size:
        raise ValueError("its module is cut off")
    if not isinstance(json.loads(data[_LENGTH.size :]), dict):
        raise ValueError("its module is none that TVM wrote")


def _computed(module: Any) -> str:
    """What the kernel computes, by its blocks that reduce, for people: its function's own name is not in the file."""
    schedule = Schedule(module, debug_mask="none", error_render_level="fast")
    blocks = [schedule.get(block) for block in schedule.get_child_blocks(schedule.get_sblock("root"))]
    names = [str(block.name_hint).removeprefix("T_") for block in blocks if block.init is not None]
    return "_".join(dict.fromkeys(names)) or "kernel"


def _record(
    number: int, line: bytes | None, kernels: _Kernels, targets: dict[str, str], longest_seconds: float
) -> ReadRecord:
    if line is None:
        raise _Unusable("the line is too long for a record")
    place, trace, seconds, target = _parts(line)
    if max(seconds) >= longest_seconds:
        raise _Unusable(f"its time of {max(seconds):g} s stands for a failure", sentinel=True)
    kernel = kernels.at(place)
    try:
        resolved = targets.get(target) or targets.setdefault(target, resolve_target(target))
    except (InvalidInput, *TVM_ERRORS) as error:
        raise _Unusable(f"its target can't be used: {error}") from error
    try:
        schedule = trace_text.replay(kernel.module, trace, Target(resolved))
        identity = schedule_identity(kernel.module, schedule.mod)
        text = trace_text.encode(schedule.trace)
    except TVM_ERRORS as error:
        raise _Unusable(f"its trace does not fit its workload: {first_line(error)}") from error
    return ReadRecord(number, kernel.known.workload, kernel.known.name, resolved, identity, text, seconds)


def _parts(line: bytes) -> tuple[int, str, tuple[float, ...], str]:
    """Place of the workload, trace and target (JSON text), seconds. Raises _Unusable."""
    try:
        written = json.loads(line)
    except (ValueError, RecursionError) as error:
        if not line.endswith(b"\n"):
            raise _Unusable("the file ends within this line: it was not written to its end") from error
        raise _Unusable(f"the line is no JSON ({error})") from error
    match written:
        case [int() as place, [list() as trace, list() as seconds, dict() as target, *_]] if seconds:
            pass
        case [int(), [list(), None | [], *_]]:
            raise _Unusable("it was not measured: it has no time")
        case _:
            raise _Unusable("the line is no tuning record that TVM wrote")
    if not all(isinstance(value, int | float) and math.isfinite(value) and value > 0 for value in seconds):
        raise _Unusable("its times are no numbers of seconds")
    return int(place), json.dumps(_with_truths(trace)), tuple(float(value) for value in seconds), json.dumps(target)


def _with_truths(trace: list[Any]) -> list[Any]:
    """The trace with the mark of what is laid out before a call as the truth value that it was: TVM writes it as a
    number, which replays to a program of another name than the one that was measured."""
    instructions = trace[0] if trace and isinstance(trace[0], list) else []
    for instruction in instructions:
        match instruction:
            case ["Annotate", [_, 1] as inputs, [mark], *_] if mark == LAID_OUT_BEFORE:
                inputs[1] = True
            case _:
                pass
    return trace
