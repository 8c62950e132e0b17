"""MetaSchedule databases on their way in: which device their times count for, and what of them can be believed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tunefarm_coordinator.compute.messages import ComputeFailed, ComputeLost, ReadDatabase
from tunefarm_coordinator.control import targets
from tunefarm_coordinator.control.lookup import named_classes
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.errors import InvalidInput, NoDevice, NotFound, Unavailable
from tunefarm_coordinator.farm.placement import parse_target
from tunefarm_coordinator.models.log_lines import ReadRecord, ReadSlice, next_line
from tunefarm_coordinator.schedules.changes import DeviceFacts, KnownWorkload
from tunefarm_coordinator.schedules.device_class import device_class
from tunefarm_coordinator.schedules.merging import Offer, OfferedRecord
from tunefarm_coordinator.schedules.record import (
    LONGEST_SAMPLE_SECONDS,
    Measured,
    SentinelTime,
    Source,
    facts_digest,
    new_record,
)

# In place of the id of a machine in a device's facts: no real device is said to have measured what comes in.
MACHINE = "imported from TVM MetaSchedule"
# A worker replays so many records without a pause for those who measure.
_SLICE_LINES = 200
_SLICE_SECONDS = 600.0
# Records that end the process that replays them: each costs the start of another.
MOST_FATAL = 20


@dataclass(frozen=True)
class DatabaseFiles:
    """The two files of a database."""

    workloads: Path
    records: Path


@dataclass(frozen=True)
class Checked:
    """What a slice holds, and what of it can't be taken, by line. `lines` and `bytes` of the records' file so far."""

    offers: tuple[tuple[int, Offer], ...]
    refused: tuple[tuple[int, Exception], ...]
    lines: int
    bytes: int


class _WrongTarget(InvalidInput):
    """A record's target is of another kind of device than its database was said to be of."""


class DatabaseImport:
    """One database that is read. `device_class`: whose times it has; empty: as its targets say."""

    def __init__(self, services: Services, files: DatabaseFiles, device_class: str = "") -> None:
        self._services = services
        self._files = files
        self._wanted = device_class
        self._devices: dict[str, tuple[str, DeviceFacts] | _WrongTarget] = {}
        self._fatal = 0

    async def slices(self, after_line: int = 0) -> AsyncIterator[Checked]:
        """What the database holds behind that line. Raises InvalidInput (no device class follows from a target, too
        many lines that end the process that reads them), NotFound (device class), Unavailable (try again)."""
        if self._wanted:
            await self._facts(self._wanted)
        line, offset = await asyncio.to_thread(_place_behind, self._files.records, after_line)
        size = self._files.records.stat().st_size
        # How many lines to read next, first those that were part of what ended a process.
        parts: list[int] = []
        while offset < size:
            count = parts.pop() if parts else _SLICE_LINES
            try:
                with _told():
                    read: ReadSlice = await self._services.compute.ask(self._request(offset, line, count))
            except ComputeFailed as error:
                if count > 1:
                    parts += [count - count // 2, count // 2]
                    continue
                line, offset = await asyncio.to_thread(_place_behind, self._files.records, 1, line, offset)
                yield Checked((), ((line, self._fatal_line(error)),), line, offset)
                continue
            if read.lines < count and parts:
                parts.append(count - read.lines)
            line, offset = line + read.lines, read.end
            yield await self._checked(read, line)

    def _request(self, offset: int, line: int, count: int) -> ReadDatabase:
        files = (self._files.workloads, self._files.records)
        return ReadDatabase(*files, offset, line + 1, count, LONGEST_SAMPLE_SECONDS, _SLICE_SECONDS)

    def _fatal_line(self, error: ComputeFailed) -> InvalidInput:
        self._fatal += 1
        if self._fatal > MOST_FATAL:
            raise InvalidInput(
                f"{self._fatal} records ended the process that read them, the last one so: {error}; is the database of"
                " another version of TVM? What came before is kept"
            )
        return InvalidInput(f"TVM can't read it: {error}")

    async def _checked(self, read: ReadSlice, lines: int) -> Checked:
        offers: list[tuple[int, Offer]] = []
        refused: list[tuple[int, Exception]] = [
            (line.line, SentinelTime(line.reason) if line.sentinel else InvalidInput(line.reason))
            for line in read.refused
        ]
        taken: list[tuple[int, Offer]] = []
        devices: dict[str, DeviceFacts] = {}
        for record in read.records:
            try:
                target, device = await self._device(record.target)
                taken.append((record.line, _offered(record, target, device)))
                devices[device.fingerprint] = device
            except (SentinelTime, _WrongTarget) as error:
                refused.append((record.line, error))
        if taken:
            first = taken[0][0]
            offers += [(first, device) for device in devices.values()]
            offers += [(first, KnownWorkload(created=0.0, **vars(workload))) for workload in read.workloads]
        return Checked((*offers, *taken), tuple(refused), lines, read.end)

    async def _device(self, target: str) -> tuple[str, DeviceFacts]:
        """The target in the words of what is measured here, and the device that its times count for."""
        if target not in self._devices:
            here = self._services.farm.devices()
            known = await asyncio.to_thread(self._services.store.targets)
            words = targets.as_measured(target, [*known, *(device.target for device in here)])
            facts = await self._facts(self._wanted or await self._class_of(words))
            refusal = _other_kind(words, facts)
            self._devices[target] = refusal or (words, DeviceFacts(facts_digest(facts), facts))
        found = self._devices[target]
        if isinstance(found, _WrongTarget):
            raise found
        return found

    async def _class_of(self, target: str) -> str:
        store, here = self._services.store, self._services.farm.devices()
        try:
            return targets.common_class(target, here)
        except NoDevice:  # its records may be there all the same
            pass
        names = await asyncio.to_thread(store.classes_of_target, target)
        if len(names) == 1:
            return names[0]
        known = sorted(set((await asyncio.to_thread(store.device_classes)).values()))
        which = "the store has records of several classes for it" if names else "none is connected, or in the store"
        raise InvalidInput(
            f"the database does not say what it was measured on, and which device its target {target} means is not"
            f" known ({which}); say it with --class: {named_classes(names or known)}"
        )

    async def _facts(self, name: str) -> dict[str, str]:
        """Of a device of that class that does not exist."""
        store = self._services.store
        classes = await asyncio.to_thread(store.device_classes)
        fingerprint = next((fingerprint for fingerprint, known in classes.items() if known == name), None)
        of_store = [] if fingerprint is None else await asyncio.to_thread(store.devices, [fingerprint])
        of_farm = [device.facts for device in self._services.farm.devices() if device.device_class == name]
        found = next((dict(facts) for facts in (*(device.facts for device in of_store), *of_farm) if facts), None)
        if found is None:
            raise NotFound(f"no device of class {name!r} is known; {named_classes(sorted(set(classes.values())))}")
        facts = {**found, "machine": MACHINE}
        if device_class(facts) != name:
            raise InvalidInput(
                f"class {name} is told from others by the calibration of its devices, and what comes from elsewhere is"
                f" not calibrated: say --class {device_class(facts)}, if the times are of such a device"
            )
        return facts


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ComputeLost as error:
        raise Unavailable(f"the database can't be read now, try again: {error}") from error


def _offered(record: ReadRecord, target: str, device: DeviceFacts) -> OfferedRecord:
    made = new_record(
        workload=record.workload,
        target=target,
        identity=record.identity,
        device_fingerprint=device.fingerprint,
        outcome=Measured(record.seconds),
        created=0.0,  # the files don't say; so that the same record is the same whenever it comes
        task_name=record.name,
        source=Source.IMPORTED,
    )
    return OfferedRecord(made, record.trace)


def _other_kind(target: str, facts: dict[str, str]) -> _WrongTarget | None:
    """Why a device of these facts can't have measured for the target; None where nothing says so."""
    wanted = parse_target(target)
    gpu = any(name.startswith("gpu") and value for name, value in facts.items())
    host = facts.get("architecture", "")
    named = wanted.architecture if wanted.kind == "llvm" else ""
    if (wanted.kind == "cuda") == gpu and named in ("", host):
        return None
    return _WrongTarget(f"its target {target} is none of a device of class {device_class(facts)}")


def _place_behind(path: Path, lines: int, line: int = 0, offset: int = 0) -> tuple[int, int]:
    """Lines and bytes of the file after `lines` more lines; fewer at its end."""
    with path.open("rb") as stream:
        stream.seek(offset)
        for _ in range(lines):
            if next_line(stream) == b"":
                break
            line += 1
        return line, stream.tell()
