"""Carries changes out on the writing connection. The caller's transaction makes them one."""

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import singledispatch
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tunefarm_coordinator.errors import Conflict, InvalidInput, NotFound
from tunefarm_coordinator.schedules import tables
from tunefarm_coordinator.schedules.changes import (
    AddAgent,
    AddCandidates,
    AddComparison,
    AddDevices,
    AddInvite,
    AddJob,
    AddModel,
    AddRecords,
    AddToken,
    AddVerifications,
    AddWorkloads,
    AppendEvents,
    Calibrate,
    CandidateTrace,
    DrainDevices,
    KnownWorkload,
    ReopenJob,
    ResumeDevices,
    RevokeAgent,
    RevokeToken,
    UpdateJob,
)
from tunefarm_coordinator.schedules.record import Record, Source, canonical_json, new_record, outcome_data

T = TypeVar("T")
_IN_ONE_QUERY = 500  # values in one IN list; every back end takes that many


@singledispatch
def apply(change: object, connection: sa.Connection) -> None:  # noqa: ARG001 - for the registered ones
    """Writes one change. Raises what the change's class names; the caller then rolls back."""
    raise TypeError(f"not a change: {change!r}")


@apply.register
def _(change: AddModel, connection: sa.Connection) -> None:
    found = connection.execute(
        sa.select(tables.models.c.model_id, tables.models.c.digest, tables.models.c.project).where(
            (tables.models.c.model_id == change.model_id)
            | ((tables.models.c.project == change.project) & (tables.models.c.digest == change.digest))
        )
    ).all()
    wanted = (change.model_id, change.digest, change.project)
    if found and [tuple(row) for row in found] != [wanted]:
        raise Conflict(f"model {change.model_id} can't be added: project {change.project!r} has {found[0].model_id}")
    if not found:
        _insert(connection, tables.models, [_row(change, document=canonical_json(dict(change.document)))])


@apply.register
def _(change: AddJob, connection: sa.Connection) -> None:
    jobs = tables.jobs.c
    key = (jobs.project == change.project) & (jobs.idempotency_key == change.idempotency_key)
    taken = connection.scalars(sa.select(jobs.job_id).where(key | (jobs.job_id == change.job_id))).first()
    if taken is not None:
        raise Conflict(
            f"idempotency key {change.idempotency_key!r} (or the id {change.job_id}) was used before in project"
            f" {change.project!r}, for job {taken}: take a new key for a new job"
        )
    _need(connection, tables.models.c.model_id, change.model_id, "model")
    _insert(connection, tables.jobs, [_row(change, summary=b"", ended=None)])


@apply.register
def _(change: UpdateJob, connection: sa.Connection) -> None:
    jobs = tables.jobs.c
    found = connection.execute(sa.select(jobs.state, jobs.ended).where(jobs.job_id == change.job_id)).first()
    if found is None:
        raise NotFound(f"no job {change.job_id}")
    if found.ended is not None and (change.ended is None or change.state != found.state):
        raise Conflict(f"job {change.job_id} has ended as {found.state}; it can't become {change.state}")
    connection.execute(
        sa.update(tables.jobs)
        .where(jobs.job_id == change.job_id)
        .values(state=change.state, summary=change.summary, ended=change.ended)
    )


@apply.register
def _(change: ReopenJob, connection: sa.Connection) -> None:
    _need(connection, tables.jobs.c.job_id, change.job_id, "job")
    connection.execute(
        sa.update(tables.jobs).where(tables.jobs.c.job_id == change.job_id).values(state=change.state, ended=None)
    )


@apply.register
def _(change: AppendEvents, connection: sa.Connection) -> None:
    _need(connection, tables.jobs.c.job_id, change.job_id, "job")
    events = tables.events.c
    last = connection.scalar(sa.select(sa.func.max(events.seq)).where(events.job_id == change.job_id)) or 0
    for expected, event in enumerate(change.events, last + 1):
        if event.seq != expected:
            raise Conflict(f"event {event.seq} of job {change.job_id} is out of order: the next one is {expected}")
    rows = [_row(event, job_id=change.job_id, payload=canonical_json(dict(event.payload))) for event in change.events]
    _insert(connection, tables.events, rows)


@apply.register
def _(change: AddWorkloads, connection: sa.Connection) -> None:
    add_workloads(connection, change.workloads, imported=False)


@apply.register
def _(change: AddCandidates, connection: sa.Connection) -> None:
    add_traces(connection, change.candidates, imported=False)


@apply.register
def _(change: AddRecords, connection: sa.Connection) -> None:
    add_records(connection, change.records)


@apply.register
def _(change: AddVerifications, connection: sa.Connection) -> None:
    ids = add_targets(connection, (verification.target for verification in change.verifications))
    rows = [_row(item, target_id=ids[item.target]) for item in change.verifications]
    _insert_new(connection, tables.verifications, rows)


@apply.register
def _(change: AddComparison, connection: sa.Connection) -> None:
    comparison = change.comparison
    ids = add_targets(connection, [comparison.target])
    results = canonical_json([[identity, outcome_data(outcome)] for identity, outcome in comparison.results])
    _insert_new(connection, tables.comparisons, [_row(comparison, target_id=ids[comparison.target], results=results)])


@apply.register
def _(change: AddDevices, connection: sa.Connection) -> None:
    devices = tables.devices.c
    given: dict[str, str] = {}
    for device in change.devices:
        facts = canonical_json(dict(device.facts))
        if given.setdefault(device.fingerprint, facts) != facts:
            raise _other_facts(device.fingerprint)
    for part in parts(list(given)):
        query = sa.select(devices.fingerprint, devices.facts).where(devices.fingerprint.in_(part))
        for fingerprint, facts in connection.execute(query).all():
            if given.pop(fingerprint) != facts:
                raise _other_facts(fingerprint)
    _insert(connection, tables.devices, [{"fingerprint": name, "facts": facts} for name, facts in given.items()])


@apply.register
def _(change: AddToken, connection: sa.Connection) -> None:
    _insert(connection, tables.tokens, [_row(change)])


@apply.register
def _(change: RevokeToken, connection: sa.Connection) -> None:
    tokens = tables.tokens.c
    _need(connection, tokens.token_id, change.token_id, "token")
    mine = (tokens.token_id == change.token_id) & tokens.revoked.is_(None)
    connection.execute(sa.update(tables.tokens).where(mine).values(revoked=change.at))


@apply.register
def _(change: AddInvite, connection: sa.Connection) -> None:
    _insert(connection, tables.invites, [_row(change, labels=canonical_json(dict(change.labels)))])


@apply.register
def _(change: AddAgent, connection: sa.Connection) -> None:
    agents, invites = tables.agents.c, tables.invites.c
    if connection.scalar(sa.select(agents.agent_id).where(agents.agent_id == change.agent_id)) is not None:
        raise Conflict(f"an agent {change.agent_id} enrolled before: join under another --agent-id")
    unused = (invites.invite_id == change.invite_id) & invites.agent_id.is_(None)
    used = connection.execute(sa.update(tables.invites).where(unused).values(agent_id=change.agent_id))
    if used.rowcount != 1:
        raise NotFound(f"no invite {change.invite_id} that is still to be used")
    row = _row(change, labels=canonical_json(dict(change.labels)), revoked=None, reason="")
    del row["invite_id"]
    _insert(connection, tables.agents, [row])


@apply.register
def _(change: RevokeAgent, connection: sa.Connection) -> None:
    agents = tables.agents.c
    _need(connection, agents.agent_id, change.agent_id, "agent")
    mine = (agents.agent_id == change.agent_id) & agents.revoked.is_(None)
    connection.execute(sa.update(tables.agents).where(mine).values(revoked=change.at, reason=change.reason))


@apply.register
def _(change: DrainDevices, connection: sa.Connection) -> None:
    _forget_drained(connection, change.devices)
    rows = [
        {"agent_id": agent, "device_id": device, "reason": change.reason, "since": change.since}
        for agent, device in change.devices
    ]
    _insert(connection, tables.drained, rows)


@apply.register
def _(change: ResumeDevices, connection: sa.Connection) -> None:
    _forget_drained(connection, change.devices)


@apply.register
def _(change: Calibrate, connection: sa.Connection) -> None:
    columns = tables.calibrations.c
    newest = connection.scalar(sa.select(sa.func.max(columns.number))) or 0
    same = (columns.fingerprint == change.fingerprint) & (columns.reference == change.reference)
    connection.execute(sa.delete(tables.calibrations).where(same))
    _insert(connection, tables.calibrations, [_row(change, number=newest + 1)])


def _forget_drained(connection: sa.Connection, devices: Iterable[tuple[str, str]]) -> None:
    columns = tables.drained.c
    for agent, device in devices:
        connection.execute(sa.delete(tables.drained).where(columns.agent_id == agent, columns.device_id == device))


def add_records(connection: sa.Connection, records: Sequence[Record]) -> int:
    """Adds records and returns how many were new. Of one record the strongest source stays, with its conditions."""
    ids = add_targets(connection, (record.target for record in records))
    rows = [_record_row(record, ids[record.target]) for record in records]
    new = {row["record_id"] for row in rows} - _known_records(connection, [row["record_id"] for row in rows])
    if rows:
        statement = _insert_statement(connection, tables.records)
        stored, offered = tables.records.c, statement.excluded
        stronger = _strength(offered.source) > _strength(stored.source)
        told = [sa.tuple_(row.conditions, row.agent_id) for row in (offered, stored)]
        same = (offered.source == stored.source) & (told[0] > told[1])
        changed = {name: offered[name] for name in ("source", "conditions", "agent_id")}
        connection.execute(
            statement.on_conflict_do_update(index_elements=[stored.record_id], set_=changed, where=stronger | same),
            rows,
        )
    return len(new)


def add_workloads(connection: sa.Connection, workloads: Sequence[KnownWorkload], *, imported: bool) -> None:
    """Adds workloads. Of texts that stand for one, which differ in names, our own first one stays, and takes the place
    of an imported one. Of imported ones the oldest stays, whatever the order in which they come."""
    rows = [
        _row(
            workload,
            module=zlib.compress(workload.module.encode()),
            shapes=canonical_json(workload.shapes),
            imported=imported,
        )
        for workload in workloads
    ]
    _refuse_nul(rows)
    if not rows:
        return
    statement = _insert_statement(connection, tables.workloads)
    stored, offered = tables.workloads.c, statement.excluded
    older = sa.tuple_(offered.created, offered.module, offered.name) < sa.tuple_(
        stored.created, stored.module, stored.name
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[stored.workload],
            set_={name: offered[name] for name in rows[0] if name != "workload"},
            where=stored.imported & older if imported else stored.imported,
        ),
        rows,
    )


def add_traces(connection: sa.Connection, candidates: Sequence[CandidateTrace], *, imported: bool) -> None:
    """Adds traces. A candidate is named by the program that it ends in, and several traces may end in one: the first of
    our own stays. It takes the place of an imported one, unless that one was measured here, for then it is what our
    records are of. Of imported ones the least text stays, so that the order in which they come does not matter.
    """
    rows = [_row(item, trace=zlib.compress(item.trace.encode()), imported=imported) for item in candidates]
    _refuse_nul(rows)
    if not rows:
        return
    statement = _insert_statement(connection, tables.candidates)
    stored, offered, records = tables.candidates.c, statement.excluded, tables.records.c
    # By their names alone: an insert's table is not correlated, its columns would bring another copy of it in.
    measured = sa.exists().where(
        records.workload == sa.literal_column(f"{stored.workload}"),
        records.identity == sa.literal_column(f"{stored.identity}"),
        records.source != _literal(Source.IMPORTED),
    )
    # What is looked up comes last: nearly always the trace is the one that is known.
    cheap = stored.imported & (offered.trace < stored.trace) if imported else stored.imported
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[stored.workload, stored.identity],
            set_={"trace": offered.trace, "imported": offered.imported},
            where=cheap & ~measured,
        ),
        rows,
    )


def add_targets(connection: sa.Connection, targets: Iterable[str]) -> dict[str, str]:
    """Ids of canonical targets, each added where it is new."""
    ids = {target: target_id(target) for target in dict.fromkeys(targets)}
    rows = [{"target_id": name, "json": target} for target, name in ids.items()]
    _insert_new(connection, tables.targets, rows)
    return ids


def target_id(target: str) -> str:
    """The name of a canonical target in this store."""
    return hashlib.sha256(target.encode()).hexdigest()


def parts(values: Sequence[T]) -> Iterable[Sequence[T]]:
    """The values in pieces that fit one IN list."""
    return (values[start : start + _IN_ONE_QUERY] for start in range(0, len(values), _IN_ONE_QUERY))


def _record_row(record: Record, target: str) -> dict[str, Any]:
    record = record if record.checked else _made_again(record)
    row = _row(
        record,
        target_id=target,
        outcome=canonical_json(outcome_data(record.outcome)),
        median=record.seconds,
        conditions=canonical_json(dict(record.conditions)),
        source=record.source.value,
    )
    del row["checked"]
    return row


def _made_again(record: Record) -> Record:
    given = {each.name: getattr(record, each.name) for each in fields(record) if each.init and each.name != "record_id"}
    again = new_record(**given)
    if again.record_id != record.record_id or again.target != record.target:
        raise InvalidInput(f"record {record.record_id} does not match its content, which is {again.record_id}")
    return again


def _known_records(connection: sa.Connection, ids: Sequence[str]) -> set[str]:
    column = tables.records.c.record_id
    return {known for part in parts(ids) for known in connection.scalars(sa.select(column).where(column.in_(part)))}


def _strength(source: sa.ColumnElement[str]) -> sa.ColumnElement[int]:
    # As text of the statement: what is bound is bound again for every row.
    strengths = [(source == _literal(name), sa.literal_column(str(at), sa.Integer)) for at, name in enumerate(Source)]
    return sa.case(*strengths, else_=sa.literal_column("-1", sa.Integer))


def _literal(source: Source) -> sa.ColumnElement[str]:
    return sa.literal_column(f"'{source}'", sa.Text)


def _other_facts(fingerprint: str) -> Conflict:
    return Conflict(f"device fingerprint {fingerprint} stands for other facts already")


def _need(connection: sa.Connection, key: sa.Column[str], value: str, what: str) -> None:
    if connection.scalar(sa.select(key).where(key == value)) is None:
        raise NotFound(f"no {what} {value}")


def _row(item: object, **changed: object) -> dict[str, Any]:
    """A dataclass's fields as a row, with some replaced or added. `target` stands under its id."""
    row = {**vars(item), **changed}
    row.pop("target", None)
    return row


def _insert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    _refuse_nul(rows)
    if rows:
        connection.execute(sa.insert(table), rows)


def _insert_new(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    _refuse_nul(rows)
    if rows:
        connection.execute(_insert_statement(connection, table).on_conflict_do_nothing(), rows)


def _insert_statement(connection: sa.Connection, table: sa.Table) -> "sqlite.Insert | postgresql.Insert":
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def _refuse_nul(rows: list[dict[str, Any]]) -> None:
    """PostgreSQL's text can't hold NUL, SQLite's can: no back end takes it."""
    for row in rows:
        for name, value in row.items():
            if isinstance(value, str) and "\x00" in value:
                raise InvalidInput(f"{name} {value!r} has a NUL character in it")
