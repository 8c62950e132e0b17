"""Records on their way out as MetaSchedule databases: one for each target, written page by page."""

import asyncio
import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tunefarm_coordinator.compute.messages import AppendDatabase, ComputeFailed, ComputeLost
from tunefarm_coordinator.control.database_import import MOST_FATAL
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.errors import NotFound, TunefarmError, Unavailable
from tunefarm_coordinator.models.log_lines import Written
from tunefarm_coordinator.schedules.record import Record, canonical_target
from tunefarm_coordinator.schedules.record_reads import RecordFilter
from tunefarm_coordinator.schedules.store import Store

TARGET_FILE = "target.json"
_PAGE = 200


@dataclass(frozen=True)
class OfTarget:
    """A database of one target, in `folder`. `without_module`: records of kernels whose IR the store does not have;
    `classes`: of the devices whose times are in it."""

    folder: str
    target: str
    written: Written = field(default_factory=Written)
    without_module: int = 0
    classes: frozenset[str] = frozenset()


class DatabaseExport:
    """Databases of the records that match."""

    def __init__(self, services: Services, wanted: RecordFilter) -> None:
        self._services = services
        self._wanted = replace(wanted, valid_only=True)
        self._fatal = 0

    async def write(self, folder: Path) -> AsyncIterator[tuple[OfTarget, ...]]:
        """Writes them below `folder`; tells how far it is after each page, and at last what there is.

        Raises InvalidInput, NotFound (no record matches), Unavailable, TunefarmError.
        """
        store = self._services.store
        targets = [canonical_target(self._wanted.target)] if self._wanted.target else []
        classes = await asyncio.to_thread(store.device_classes)
        done: list[OfTarget] = []
        for target in targets or sorted(await asyncio.to_thread(store.targets)):
            latest = None
            async for latest in self._write(OfTarget(_folder_name(target), target), folder, classes):
                yield (*done, latest)
            if latest is not None:
                done.append(latest)
        if not done:
            raise NotFound("no valid record matches: `tunefarm schedules stats` shows what there is")
        yield tuple(done)

    async def _write(self, of: OfTarget, folder: Path, classes: dict[str, str]) -> AsyncIterator[OfTarget]:
        store, place = self._services.store, folder / of.folder
        wanted, after = replace(self._wanted, target=of.target), ""
        while page := await asyncio.to_thread(store.records, wanted, after=after, limit=_PAGE):
            modules, records = await asyncio.to_thread(_page, store, page)
            if records:
                request = AppendDatabase(place, of.target, modules, tuple(records), of.written)
                before = of.written.records
                of = replace(of, written=await self._ask(request))
                if of.written.records > before:
                    names = {classes.get(record.device_fingerprint, "") for record in page} - {""}
                    of = replace(of, classes=of.classes | names)
            of = replace(of, without_module=of.without_module + len(page) - len(records))
            after = page[-1].record_id
            yield of
        if of.written.records:
            text = json.dumps(json.loads(of.target), indent=2) + "\n"
            await asyncio.to_thread((place / TARGET_FILE).write_text, text)
        else:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    async def _ask(self, request: AppendDatabase) -> Written:
        """Where a record ends the process that replays it, in halves, until it stands alone and is left out."""
        try:
            written: Written = await self._services.compute.ask(request)
        except ComputeLost as error:
            raise Unavailable(f"the databases can't be written now, try again: {error}") from error
        except ComputeFailed as error:
            if len(request.records) > 1:
                middle = len(request.records) // 2
                first = await self._ask(replace(request, records=request.records[:middle]))
                return await self._ask(replace(request, records=request.records[middle:], before=first))
            self._fatal += 1
            if self._fatal > MOST_FATAL:
                raise TunefarmError(f"the database of target {request.target} can't be written: {error}") from error
            return replace(request.before, unfit=request.before.unfit + 1)
        return written


def _page(store: Store, page: Sequence[Record]) -> tuple[dict[str, str], list[tuple[str, str, float]]]:
    """IR of the workloads, and what of the page can be replayed on it. A record without a trace has an empty one, which
    does not fit."""
    known = store.workloads([record.workload for record in page])
    traces = store.traces_of(page)
    records = [
        (record.workload, traces.get((record.workload, record.identity), "[]"), record.seconds)
        for record in page
        if record.workload in known and record.seconds is not None
    ]
    return {name: workload.module for name, workload in known.items()}, records


def counted(databases: Sequence[OfTarget]) -> Counter[str]:
    """What was written and left out, in all of them."""
    total: Counter[str] = Counter()
    for of in databases:
        written = of.written
        total.update(
            records=written.records,
            other_algorithm=written.other_algorithm,
            unfit=written.unfit,
            without_module=of.without_module,
        )
    return total


def _folder_name(target: str) -> str:
    """`llvm-znver4-2-1f0c9a2b`: what people know the target by, and a digest of all of it."""
    said = json.loads(target)
    parts = [str(said[name]) for name in ("kind", "mcpu", "arch", "num-cores") if said.get(name)]
    readable = re.sub(r"[^a-z0-9.]+", "-", "-".join(parts).lower()).strip("-.")[:40]
    return f"{readable or 'target'}-{hashlib.sha256(target.encode()).hexdigest()[:8]}"
