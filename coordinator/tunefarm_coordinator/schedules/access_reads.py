"""Reads of tokens, invites and agents. There are few of each: they are read whole. Methods block."""

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tunefarm_coordinator.schedules import tables
from tunefarm_coordinator.schedules.backend import Backend
from tunefarm_coordinator.schedules.changes import AddInvite as Invite
from tunefarm_coordinator.schedules.changes import AddToken as Token


@dataclass(frozen=True)
class EnrolledAgent:
    """An agent that enrolled. Times are Unix seconds; `revoked` is None while it may attach."""

    agent_id: str
    key_digest: str
    labels: dict[str, str]
    project: str
    enrolled: float
    revoked: float | None
    reason: str


class AccessReads:
    """The part of the store that knows who may do what. Raises StoreError where the store can't be read."""

    _backend: Backend

    def tokens(self) -> list[Token]:
        """All tokens, revoked ones too, by id."""
        return [Token(**row) for row in self._whole(tables.tokens)]

    def invites(self) -> list[Invite]:
        """All invites, used ones too, by id."""
        return [Invite(**{**row, "labels": json.loads(row["labels"])}) for row in self._whole(tables.invites)]

    def agents(self) -> list[EnrolledAgent]:
        """All agents, revoked ones too, by id."""
        return [EnrolledAgent(**{**row, "labels": json.loads(row["labels"])}) for row in self._whole(tables.agents)]

    def _whole(self, table: sa.Table) -> list[dict[str, Any]]:
        query = sa.select(table).order_by(*table.primary_key.columns)
        with self._backend.reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]
