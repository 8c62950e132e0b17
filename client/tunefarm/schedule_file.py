"""Files of schedules, "tunefarm" format: JSON lines, a header and then one item a line; in .gz packed.

A line is {"workload": {...}}, {"device": {...}} or {"record": {...}}; times are seconds, moments Unix seconds. A
record's trace and a workload's module stay text: their spelling is part of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import enum
import gzip
import importlib.metadata
import json
import math
import os
import secrets
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from google.protobuf.timestamp_pb2 import Timestamp

from tunefarm.errors import InvalidInput
from tunefarm_proto.v1 import common_pb2, schedule_pb2

FORMAT = "tunefarm_schedules"
VERSION = 1
# A coordinator takes messages of 16 MiB.
LARGEST_ITEM_BYTES = 12 << 20
_LARGEST_LINE_BYTES = 2 * LARGEST_ITEM_BYTES
_FAILURE_PREFIX = "FAILURE_KIND_"
_GZIP = b"\x1f\x8b"
_SUFFIXES = (".jsonl", ".jsonl.gz")
_DATABASE_FILE = "database_tuning_record.json"
_DATABASE = "TVM's MetaSchedule (JSONDatabase): import its folder with --format metaschedule"


class RefusalKind(enum.StrEnum):
    """Why an item was set aside."""

    UNREADABLE = "UNREADABLE"  # the line is no JSON, or no item
    CUT_OFF = "CUT_OFF"  # the file ends within it
    MALFORMED = "MALFORMED"
    CHANGED = "CHANGED"
    SENTINEL_TIME = "SENTINEL_TIME"
    CONFLICT = "CONFLICT"
    UNKNOWN_ITEM = "UNKNOWN_ITEM"


@dataclasses.dataclass(frozen=True)
class Refused:
    """An item that was set aside. `line` counts from 1: of the file, or of what the coordinator `source` sent."""

    source: str
    line: int
    kind: RefusalKind
    reason: str


Refuse = Callable[[int, RefusalKind, str], None]
Numbered = tuple[int, schedule_pb2.ScheduleItem]


class _Unreadable(Exception):
    """A line is no item."""


# ---- writing


class ScheduleWriter:
    """A draft beside `path` that takes its place when the `with` block ends well, and goes when it does not.

    Raises InvalidInput where it can't be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft = path.parent / f".{path.name}.{secrets.token_hex(4)}.part"
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> ScheduleWriter:
        try:
            with _writing(self._path):
                self._open()
            program = f"tunefarm {importlib.metadata.version('tunefarm')}"
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            self._line({FORMAT: VERSION, "program": program, "exported": now})
        except BaseException:
            self._discard()
            raise
        return self

    def _open(self) -> None:
        if self._path.is_dir():
            raise InvalidInput(f"{self._path} is a folder: name a file in it, such as {self._path / 'all.jsonl.gz'}")
        self._raw = self._opened.enter_context(self._draft.open("xb"))
        self._file: IO[bytes] = self._raw
        if self._path.name.endswith(".gz"):
            packed = gzip.GzipFile("", "wb", fileobj=self._raw)
            self._file = cast("IO[bytes]", self._opened.enter_context(packed))

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                with _writing(self._path):
                    self._finish()
        finally:
            self._discard()

    def _discard(self) -> None:
        with contextlib.suppress(OSError):
            self._opened.close()
        with contextlib.suppress(OSError):
            self._draft.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self._file is not self._raw:
            self._file.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._draft.replace(self._path)

    def write(self, item: schedule_pb2.ScheduleItem) -> None:
        """One more line. An item of a kind that this program does not know is left out."""
        kind = item.WhichOneof("item")
        if kind is not None:
            self._line({kind: _WRITERS[kind](getattr(item, kind))})

    def _line(self, data: dict[str, Any]) -> None:
        with _writing(self._path):
            self._file.write(json.dumps(data, separators=(",", ":")).encode() + b"\n")


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror or error}") from error


def _workload_data(workload: schedule_pb2.ScheduleWorkload) -> dict[str, Any]:
    return {
        "id": workload.workload,
        "name": workload.name,
        "flops": workload.flops,
        "created": _unix(workload.created),
        "kind": workload.kind,
        "shapes": [list(shape.dims) for shape in workload.shapes],
        "module": workload.module,
    }


def _device_data(device: schedule_pb2.ScheduleDevice) -> dict[str, Any]:
    return {"fingerprint": device.fingerprint, "facts": dict(sorted(device.facts.items()))}


def _record_data(record: schedule_pb2.ScheduleRecord) -> dict[str, Any]:
    data: dict[str, Any] = {
        "id": record.record_id,
        "workload": record.workload,
        "target": record.target,
        "device": record.device_fingerprint,
        "candidate": record.candidate_id,
    }
    if record.seconds:
        data["seconds"] = list(record.seconds)
    if record.HasField("at_least_seconds"):
        data["at_least"] = record.at_least_seconds
    if record.HasField("failure"):
        name = common_pb2.FailureKind.Name(record.failure.kind).removeprefix(_FAILURE_PREFIX)
        data["failed"] = {"kind": name, "message": record.failure.message}
    data |= {
        "created": _unix(record.created),
        "project": record.project,
        "job": record.job_id,
        "task": record.task_name,
        "trace": record.trace,
    }
    return data


_WRITERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "workload": _workload_data,
    "device": _device_data,
    "record": _record_data,
}


def _unix(stamp: Timestamp) -> float:
    return float(stamp.seconds + stamp.nanos / 1e9)


# ---- reading


def find_files(paths: list[Path]) -> list[ScheduleFile]:
    """The files, those of a folder in the order of their names. Each is known to begin as a file of schedules does.

    Raises InvalidInput: no such file, a folder without any, another program's file (named where its shape tells).
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.name.endswith(_SUFFIXES) and entry.is_file())
            if not inside:
                if any(path.rglob(_DATABASE_FILE)):
                    raise InvalidInput(f"{path} holds tuning records of {_DATABASE}")
                raise InvalidInput(f"no file in the folder {path} ends in {' or '.join(_SUFFIXES)}: name the files")
            found += inside
        else:
            found.append(path)
    files = [ScheduleFile(path) for path in found]
    for file in files:
        file.check()
    return files


class ScheduleFile:
    """One file to be read. `size` in bytes; `position`: how much of it was read so far."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.position = 0
        self._path = path
        try:
            self.size = path.stat().st_size
        except OSError as error:
            raise self._unreadable(error) from error

    def check(self) -> None:
        """Raises InvalidInput where it is no file of schedules, or of a newer version."""
        try:
            with self._open() as stream:
                line = stream.readline(_LARGEST_LINE_BYTES)
        except (EOFError, zlib.error, OSError) as error:
            raise self._unreadable(error) from error
        if not line.strip():
            raise InvalidInput(f"{self._path} is empty: a file of schedules has a first line that says what it is")
        try:
            first = _parsed(line)
        except _Unreadable:
            first = None
        if not isinstance(first, dict) or FORMAT not in first:
            raise InvalidInput(f"{self._path} is {_what_it_is(first)}")
        _check_version(self.name, first[FORMAT])

    def items(self, refuse: Refuse) -> Iterator[Numbered]:
        """Its items with their lines; a line that is none is told to `refuse`, and the next one read."""
        number = 0
        try:
            with self._open() as stream:
                while line := stream.readline(_LARGEST_LINE_BYTES):
                    number += 1
                    item = self._item(number, line, stream, refuse)
                    if item is not None:
                        yield number, item
        except EOFError:
            refuse(number + 1, RefusalKind.CUT_OFF, "the packed file ends here, before its end: copy it again")
        except (zlib.error, gzip.BadGzipFile) as error:
            refuse(number + 1, RefusalKind.UNREADABLE, f"the packed file is damaged from here on: {error}")
        except OSError as error:
            raise self._unreadable(error) from error

    def _item(self, number: int, line: bytes, stream: IO[bytes], refuse: Refuse) -> schedule_pb2.ScheduleItem | None:
        if not line.endswith(b"\n") and len(line) == _LARGEST_LINE_BYTES:
            while (rest := stream.readline(_LARGEST_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            refuse(number, RefusalKind.UNREADABLE, f"the line is longer than {_LARGEST_LINE_BYTES >> 20} MiB")
            return None
        if not line.strip():
            return None
        try:
            data = _parsed(line)
            if isinstance(data, dict) and FORMAT in data:  # files that were put together have several headers
                _check_version(f"{self.name}, line {number},", data[FORMAT])
                return None
            item = item_of(data)
        except _Unreadable as error:
            if line.endswith(b"\n"):
                refuse(number, RefusalKind.UNREADABLE, str(error))
            else:
                refuse(number, RefusalKind.CUT_OFF, "the file ends within this line: it was not written to its end")
            return None
        if item.ByteSize() > LARGEST_ITEM_BYTES:
            refuse(number, RefusalKind.MALFORMED, f"the item is larger than {LARGEST_ITEM_BYTES >> 20} MiB")
            return None
        return item

    @contextlib.contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        with self._path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            self.position = 0
            counted: Any = _Counted(self, raw)
            if packed:
                with gzip.GzipFile(fileobj=counted, mode="rb") as stream:
                    yield cast("IO[bytes]", stream)
            else:
                yield counted

    def _unreadable(self, error: Exception) -> InvalidInput:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, FileNotFoundError):
            return InvalidInput(f"no such file: {self._path}")
        return InvalidInput(f"cannot read {self._path}: {reason}")


class _Counted:
    """A file that notes how far it was read."""

    def __init__(self, file: ScheduleFile, raw: IO[bytes]) -> None:
        self._file = file
        self._raw = raw

    def read(self, size: int = -1) -> bytes:
        data = self._raw.read(size)
        self._file.position = self._raw.tell()
        return data

    def readline(self, size: int = -1) -> bytes:
        line = self._raw.readline(size)
        self._file.position += len(line)
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


def item_of(data: object) -> schedule_pb2.ScheduleItem:
    """The item that a line says; its content is the coordinator's to judge. Raises _Unreadable."""
    kind = next((kind for kind in _ITEM_READERS if isinstance(data, dict) and kind in data), None)
    if kind is None:
        raise _Unreadable(f"the line is {_what_it_is(data)}")
    content = cast("dict[str, Any]", data)[kind]
    if not isinstance(content, dict):
        raise _Unreadable(f"its {kind} is no JSON object")
    try:
        return _ITEM_READERS[kind](content)
    except (TypeError, ValueError, OverflowError) as error:  # a value of another type, text that is no Unicode
        raise _Unreadable(f"its {kind} can't be read: {error}") from error


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _Unreadable(f"the line is no JSON ({error})") from error


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _workload(data: dict[str, Any]) -> schedule_pb2.ScheduleItem:
    workload = schedule_pb2.ScheduleWorkload(
        workload=_text(data, "id"),
        name=_text(data, "name"),
        module=_text(data, "module"),
        flops=_number(data.get("flops", 0.0), "flops"),
        created=_moment(data),
        kind=_text(data, "kind"),
        shapes=[common_pb2.Shape(dims=dims) for dims in data.get("shapes", [])],
    )
    return schedule_pb2.ScheduleItem(workload=workload)


def _device(data: dict[str, Any]) -> schedule_pb2.ScheduleItem:
    facts = data.get("facts", {})
    if not isinstance(facts, dict) or not all(isinstance(value, str) for value in facts.values()):
        raise TypeError("facts are names with texts")
    return schedule_pb2.ScheduleItem(
        device=schedule_pb2.ScheduleDevice(fingerprint=_text(data, "fingerprint"), facts=facts)
    )


def _record(data: dict[str, Any]) -> schedule_pb2.ScheduleItem:
    record = schedule_pb2.ScheduleRecord(
        record_id=_text(data, "id"),
        workload=_text(data, "workload"),
        target=_text(data, "target"),
        device_fingerprint=_text(data, "device"),
        candidate_id=_text(data, "candidate"),
        created=_moment(data),
        project=_text(data, "project"),
        job_id=_text(data, "job"),
        task_name=_text(data, "task"),
        trace=_text(data, "trace"),
    )
    if "seconds" in data:
        if not isinstance(data["seconds"], list):
            raise TypeError("seconds is no list")
        record.seconds.extend(_number(value, "seconds") for value in data["seconds"])
    if "at_least" in data:
        record.at_least_seconds = _number(data["at_least"], "at_least")
    if "failed" in data:
        failed = data["failed"]
        if not isinstance(failed, dict):
            raise TypeError("failed is no JSON object")
        kind = _FAILURE_PREFIX + _text(failed, "kind")
        if kind not in common_pb2.FailureKind.keys():  # noqa: SIM118 - not a mapping
            raise ValueError(f"{_text(failed, 'kind')!r} is no kind of failure")
        failure = common_pb2.Failure(kind=kind, message=_text(failed, "message"))
        record.failure.CopyFrom(failure)
    return schedule_pb2.ScheduleItem(record=record)


_ITEM_READERS: dict[str, Callable[[dict[str, Any]], schedule_pb2.ScheduleItem]] = {
    "workload": _workload,
    "device": _device,
    "record": _record,
}


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key, "")
    if not isinstance(value, str):
        raise TypeError(f"{key} is no text")
    return value


def _number(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{key} is no number")
    return float(value)


def _moment(data: dict[str, Any]) -> Timestamp | None:
    """The same rounding as the coordinator's, so that a moment comes through files as it was."""
    if "created" not in data:
        return None
    unix = _number(data["created"], "created")
    whole = math.floor(unix)
    stamp = Timestamp()
    stamp.FromNanoseconds(whole * 10**9 + round((unix - whole) * 1e9))
    return stamp


# ---- what else people have


def _check_version(name: str, version: object) -> None:
    if version != VERSION:
        raise InvalidInput(
            f"{name} is of version {str(version)[:20]} of the format, and this tunefarm reads {VERSION}: upgrade it"
        )


def _what_it_is(data: object) -> str:
    """What a line, or a file that begins with it, is instead of ours."""
    match data:
        case [int(), list()]:
            return f"a tuning record of {_DATABASE}"
        case [str(), str()]:
            return f"a workload of {_DATABASE}"
        case {"input": _, "config": _, "result": _}:
            found = "a log of AutoTVM"
        case {"i": _, "r": _}:
            found = "a log of TVM's auto-scheduler (Ansor)"
        case dict() if any(kind in data for kind in _ITEM_READERS):
            return "of tunefarm's schedules, but without the first line that says of which version: export it again"
        case _:
            return "nothing that `tunefarm schedules export` wrote"
    return f"{found}, and not of the format that `tunefarm schedules export` writes"
