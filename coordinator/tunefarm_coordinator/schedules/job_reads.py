"""Reads of models, jobs and journals. Methods block: from asyncio call them in a thread."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.schedules import tables
from tunefarm_coordinator.schedules.backend import Backend
from tunefarm_coordinator.schedules.changes import AddModel as Model
from tunefarm_coordinator.schedules.changes import JournalEntry

LARGEST_PAGE = 500
_DEFAULT_PAGE = 50


@dataclass(frozen=True)
class Job:
    """A stored job.

    Attributes:
        spec: serialised `JobSpec`.
        summary: serialised proto `Job`; empty until the first UpdateJob.
        created, ended: Unix time in seconds; `ended` is None while unfinished.
    """

    job_id: str
    idempotency_key: str
    spec_digest: str
    spec: bytes
    model_id: str
    project: str
    owner: str
    state: str
    summary: bytes
    created: float
    ended: float | None


@dataclass(frozen=True)
class JobPage:
    """Jobs, newest first. `next_token` is empty on the last page."""

    jobs: tuple[Job, ...]
    next_token: str


class JobReads:
    """The part of the store that knows models and jobs. Raises StoreError where the store can't be read."""

    _backend: Backend

    def model(self, model_id: str) -> Model | None:
        """The model, or None."""
        return self._model(tables.models.c.model_id == model_id)

    def find_model(self, project: str, digest: str) -> Model | None:
        """The project's model with this content, or None."""
        return self._model((tables.models.c.project == project) & (tables.models.c.digest == digest))

    def job(self, job_id: str) -> Job | None:
        """The job, or None."""
        found = self._jobs(sa.select(tables.jobs).where(tables.jobs.c.job_id == job_id))
        return found[0] if found else None

    def find_job(self, project: str, idempotency_key: str) -> Job | None:
        """The job that was submitted in the project under this key, or None."""
        jobs = tables.jobs.c
        found = self._jobs(
            sa.select(tables.jobs).where(jobs.project == project, jobs.idempotency_key == idempotency_key)
        )
        return found[0] if found else None

    def unfinished_jobs(self) -> list[Job]:
        """Jobs that have not ended, oldest first."""
        jobs = tables.jobs.c
        return self._jobs(sa.select(tables.jobs).where(jobs.ended.is_(None)).order_by(jobs.created, jobs.job_id))

    def list_jobs(
        self, *, project: str = "", states: Sequence[str] = (), page_size: int = 0, page_token: str = ""
    ) -> JobPage:
        """One page of jobs. `project` empty and no `states`: all. `page_size` 0: the store's choice.

        Raises InvalidInput for a page token that this query did not give.
        """
        size = min(page_size or _DEFAULT_PAGE, LARGEST_PAGE)
        jobs = tables.jobs.c
        query = sa.select(tables.jobs).order_by(jobs.created.desc(), jobs.job_id.desc()).limit(size + 1)
        if project:
            query = query.where(jobs.project == project)
        if states:
            query = query.where(jobs.state.in_(states))
        asked: list[object] = [project, sorted(states)]
        if page_token:
            created, job_id = _read_token(page_token, asked)
            older = (jobs.created < created) | ((jobs.created == created) & (jobs.job_id < job_id))
            query = query.where(older)
        found = self._jobs(query)
        last = found[size - 1] if len(found) > size else None
        return JobPage(tuple(found[:size]), _token([last.created, last.job_id], asked) if last else "")

    def events(self, job_id: str, after: int = 0) -> list[JournalEntry]:
        """The job's journal in order, from the event behind `after`; empty for a job that has none."""
        events = tables.events.c
        query = (
            sa.select(events.seq, events.at, events.kind, events.payload)
            .where(events.job_id == job_id, events.seq > after)
            .order_by(events.seq)
        )
        with self._backend.reading() as connection:
            rows = connection.execute(query).all()
        return [JournalEntry(row.seq, row.at, row.kind, json.loads(row.payload)) for row in rows]

    def event_times(self, job_id: str) -> dict[str, tuple[float, float]]:
        """When the job's first and last event of each kind was, in Unix seconds, by kind."""
        events = tables.events.c
        query = (
            sa.select(events.kind, sa.func.min(events.at), sa.func.max(events.at))
            .where(events.job_id == job_id)
            .group_by(events.kind)
        )
        with self._backend.reading() as connection:
            return {kind: (first, last) for kind, first, last in connection.execute(query)}

    def _model(self, condition: sa.ColumnElement[bool]) -> Model | None:
        with self._backend.reading() as connection:
            row = connection.execute(sa.select(tables.models).where(condition)).first()
        return None if row is None else Model(**{**row._asdict(), "document": json.loads(row.document)})

    def _jobs(self, query: sa.Select[Any]) -> list[Job]:
        with self._backend.reading() as connection:
            return [Job(**row._asdict()) for row in connection.execute(query)]


def _token(position: list[object], asked: list[object]) -> str:
    return base64.urlsafe_b64encode(json.dumps([position, asked]).encode()).decode()


def _read_token(token: str, asked: list[object]) -> tuple[float, str]:
    try:
        (created, job_id), of = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidInput("the page token is not one of ours: start again without one") from error
    if of != asked or not isinstance(created, float) or not isinstance(job_id, str):
        raise InvalidInput("the page token belongs to another query: start again without one")
    return created, job_id
