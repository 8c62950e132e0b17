"""Making a store smaller: what no view, no count and no job needs any more goes.

Of each workload, target and device class the fastest candidates stay. What goes is counted still (`count_valid`), and
known by its name, so that another store's copy of it is neither taken in nor counted again. Ranks are of the classes as
they are now; counts are kept by device, and follow a device into another class.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.schedules import tables
from tunefarm_coordinator.schedules.apply import parts, target_id
from tunefarm_coordinator.schedules.best_reads import Scope
from tunefarm_coordinator.schedules.record import Source, canonical_target

# Records that one step takes away: for so long the store writes nothing else.
STEP_RECORDS = 2000
# A job that goes on begins with its fastest candidates of each kernel; how many is an option of the job's, 3 by
# default, and its finals may have turned their order around.
_OF_EACH_JOB = 6
# Of a pruned record's outcome; of those that failed it is the kind.
MEASURED, LET_GO = "measured", "at_least"
# Enough of an outcome's canonical JSON to tell what it is.
_HEAD_CHARACTERS = 40


@dataclass(frozen=True)
class Pruning:
    """What stays, and which records may go; what is empty or None leaves that open.

    Attributes:
        keep_top: candidates of each workload, target and device class that stay, the fastest ones.
        target: TVM's JSON in any spelling.
        before: Unix seconds; only what was measured before it may go.
    """

    keep_top: int
    workload: str = ""
    target: str = ""
    device_class: str = ""
    project: str = ""
    before: float | None = None

    def check(self) -> None:
        """Raises InvalidInput."""
        if self.keep_top < 1:
            raise InvalidInput(f"keep_top is {self.keep_top}: at least the fastest schedule of a kernel has to stay")
        if self.target:
            canonical_target(self.target)

    def may_go(self, row: sa.Row[Any]) -> bool:
        in_time = self.before is None or row.created < self.before
        return in_time and (not self.project or row.project == self.project)


@dataclass(frozen=True)
class Pruned:
    """How much of one workload went, or would go.

    Attributes:
        records, traces: the traces are those of candidates that have no record left.
        freed: bytes of the store's file that hold nothing any more; None: the database does not say.
        more: there is more to take.
    """

    records: int
    traces: int
    freed: int | None = None
    more: bool = False


def concerned(connection: sa.Connection, pruning: Pruning) -> list[str]:
    """The workloads that may have something to prune, in order. Raises InvalidInput."""
    pruning.check()
    columns = tables.records.c
    query = sa.select(columns.workload).distinct().order_by(columns.workload)
    if pruning.workload:
        query = query.where(columns.workload == pruning.workload)
    if pruning.target:
        query = query.where(columns.target_id == target_id(canonical_target(pruning.target)))
    return list(connection.scalars(query))


def found(connection: sa.Connection, pruning: Pruning, workload: str, classes: Mapping[str, str]) -> Pruned:
    """What pruning this workload to its end would take. `classes`: the device classes by fingerprint."""
    doomed = _doomed(connection, pruning, workload, classes)
    records: Counter[str] = Counter()
    for row in connection.execute(_OF_WORKLOAD, {"workload": workload}):
        records[row.identity] += 1
    records.subtract(row.identity for row in doomed)
    return Pruned(len(doomed), sum(records[identity] == 0 for identity in {row.identity for row in doomed}))


def step(
    pruning: Pruning, workload: str, classes: Mapping[str, str], used_bytes: Callable[[sa.Connection], int | None]
) -> Callable[[sa.Connection], Pruned]:
    """A call of the writer's that takes away STEP_RECORDS of the workload's records at most. It may be repeated, and
    broken off after any of its calls. `used_bytes`: of the file, as the connection sees it."""

    def work(connection: sa.Connection) -> Pruned:
        doomed = _doomed(connection, pruning, workload, classes)
        now = doomed[:STEP_RECORDS]
        before = used_bytes(connection)
        _remember(connection, workload, now)
        for part in parts([row.record_id for row in now]):
            connection.execute(sa.delete(tables.records).where(tables.records.c.record_id.in_(part)))
        traces = _drop_traces(connection, workload, sorted({row.identity for row in now}))
        after = used_bytes(connection)
        freed = before - after if before is not None and after is not None else None
        return Pruned(len(now), traces, freed, len(doomed) > len(now))

    return work


def pruned_records(connection: sa.Connection, ids: Sequence[str]) -> set[str]:
    """Those of the records that were pruned here."""
    column = tables.pruned.c.record
    return {
        name.hex()
        for part in parts([bytes.fromhex(record_id) for record_id in ids])
        for name in connection.scalars(sa.select(column).where(column.in_(part)))
    }


def still_counted(
    connection: sa.Connection, workloads: Sequence[str], scope: Scope, sources: Collection[Source]
) -> dict[str, int]:
    """How many records of candidates that work were pruned, of each workload that had any."""
    columns = tables.pruned_scopes.c
    query = (
        sa.select(columns.workload, sa.func.sum(columns.records).label("valid"))
        .where(
            scope.of(tables.pruned_scopes, workloads),
            columns.ending.in_((MEASURED, LET_GO)),
            columns.source.in_(list(sources)),
        )
        .group_by(columns.workload)
    )
    return {row.workload: int(row.valid) for row in connection.execute(query)}


def worth_keeping(
    rows: Iterable[Any], keep_top: int, checked: Collection[str], unfinished: Collection[str]
) -> set[str]:
    """Ids of the records that stay. `rows` are all of one workload, target and device class; `checked`: candidates that
    were verified or compared; `unfinished`: jobs.

    Our own are ranked apart as well, so that no number of imported records pushes out what was measured here.
    """
    known = sorted(rows, key=lambda row: (row.median is None, row.median, row.record_id))
    own = [row for row in known if row.source != Source.IMPORTED]
    kept = {row.record_id for row in own if row.job_id in unfinished}
    for among in (known, own):
        fastest = _fastest(among)
        kept.update(list(fastest.values())[:keep_top])
        kept.update(fastest[identity] for identity in checked if identity in fastest)
    kept.update(list(_fastest(row for row in own if row.source == Source.BASELINE).values())[:1])
    by_job: dict[str, list[Any]] = defaultdict(list)
    for row in own:
        by_job[row.job_id].append(row)
    for of_job in by_job.values():
        kept.update(list(_fastest(of_job).values())[:_OF_EACH_JOB])
    return kept


def _fastest(rows: Iterable[Any]) -> dict[str, str]:
    """The id of each candidate's fastest valid record; `rows` and they are in order, the fastest first."""
    first: dict[str, str] = {}
    for row in rows:
        if row.median is not None:
            first.setdefault(row.identity, row.record_id)
    return first


def _doomed(
    connection: sa.Connection, pruning: Pruning, workload: str, classes: Mapping[str, str]
) -> list[sa.Row[Any]]:
    """The workload's records that may go, in an order that stays."""
    unfinished = set(connection.scalars(sa.select(tables.jobs.c.job_id).where(tables.jobs.c.ended.is_(None))))
    scopes: dict[tuple[str, str], list[Any]] = defaultdict(list)
    wanted = target_id(canonical_target(pruning.target)) if pruning.target else ""
    for row in connection.execute(_OF_WORKLOAD, {"workload": workload}):
        # A device that is not known is like no other.
        name = classes.get(row.device_fingerprint, row.device_fingerprint)
        if (not wanted or row.target_id == wanted) and pruning.device_class in ("", name):
            scopes[row.target_id, name].append(row)
    checked = _checked(connection, workload)
    doomed: list[Any] = []
    for (target, _), rows in scopes.items():
        kept = worth_keeping(rows, pruning.keep_top, checked[target], unfinished)
        doomed += [row for row in rows if row.record_id not in kept and pruning.may_go(row)]
    return sorted(doomed, key=lambda row: row.record_id)


def _checked(connection: sa.Connection, workload: str) -> dict[str, set[str]]:
    """The candidates that were verified, whatever came of it, or compared, by target; on whatever device."""
    identities: dict[str, set[str]] = defaultdict(set)
    checks, compared = tables.verifications.c, tables.comparisons.c
    for target, identity in connection.execute(
        sa.select(checks.target_id, checks.identity).where(checks.workload == workload).distinct()
    ):
        identities[target].add(identity)
    for target, results in connection.execute(
        sa.select(compared.target_id, compared.results).where(compared.workload == workload)
    ):
        identities[target].update(identity for identity, _ in json.loads(results))
    return identities


def _remember(connection: sa.Connection, workload: str, rows: Sequence[sa.Row[Any]]) -> None:
    """Counts the records among those that were pruned, under their names."""
    columns = tables.pruned_scopes.c
    names = (
        columns.target_id,
        columns.device_fingerprint,
        columns.source,
        columns.ending,
        columns.job_id,
        columns.agent_id,
    )
    known = connection.execute(sa.select(columns.number, *names).where(columns.workload == workload))
    numbers = {tuple(row)[1:]: row.number for row in known}
    following = (connection.scalar(sa.select(sa.func.max(columns.number))) or 0) + 1
    # Told again by whoever measured it, after it was pruned.
    before = pruned_records(connection, [row.record_id for row in rows])
    counts: Counter[int] = Counter()
    new: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for row in rows:
        if row.record_id in before:
            continue
        key = (row.target_id, row.device_fingerprint, row.source, _ending(row), row.job_id, row.agent_id)
        if key not in numbers:
            numbers[key] = following + len(new)
            scope = dict(zip((column.name for column in names), key, strict=True))
            new.append({"number": numbers[key], "workload": workload, "records": 0, **scope})
        counts[numbers[key]] += 1
        records.append({"record": bytes.fromhex(row.record_id), "scope": numbers[key], "created": row.created})
    if new:
        connection.execute(sa.insert(tables.pruned_scopes), new)
    if records:
        connection.execute(sa.insert(tables.pruned), records)
    for number, count in counts.items():
        add_to_scope(connection, number, count)


def add_to_scope(connection: sa.Connection, number: int, count: int) -> None:
    """Counts so many more (or, below zero, fewer) pruned records in a scope."""
    columns = tables.pruned_scopes.c
    more = sa.update(tables.pruned_scopes).where(columns.number == number).values(records=columns.records + count)
    connection.execute(more)


def _drop_traces(connection: sa.Connection, workload: str, identities: Sequence[str]) -> int:
    """Those of candidates that have no record left; how many."""
    candidates, records = tables.candidates.c, tables.records.c
    dropped = 0
    for part in parts(identities):
        named = (records.workload == workload) & records.identity.in_(part)
        left = set(connection.scalars(sa.select(records.identity).where(named)))
        gone = [identity for identity in part if identity not in left]
        query = sa.delete(tables.candidates).where(candidates.workload == workload, candidates.identity.in_(gone))
        dropped += connection.execute(query).rowcount
    return dropped


def _ending(row: sa.Row[Any]) -> str:
    """As `pruned_scopes` has it; an outcome is canonical JSON, and what it failed of stands first."""
    if row.median is not None:
        return MEASURED
    return LET_GO if row.head.startswith('{"at_least"') else str(row.head.split('"')[3])


_RECORDS = tables.records.c
_OF_WORKLOAD = sa.select(
    _RECORDS.record_id,
    _RECORDS.target_id,
    _RECORDS.identity,
    _RECORDS.device_fingerprint,
    sa.func.substr(_RECORDS.outcome, 1, _HEAD_CHARACTERS).label("head"),
    _RECORDS.median,
    _RECORDS.project,
    _RECORDS.job_id,
    _RECORDS.source,
    _RECORDS.created,
    _RECORDS.agent_id,
).where(_RECORDS.workload == sa.bindparam("workload"))
