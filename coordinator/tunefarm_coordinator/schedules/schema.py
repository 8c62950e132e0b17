"""Brings a store's schema to this program's version."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from tunefarm_coordinator.errors import StoreError
from tunefarm_coordinator.schedules.backend import ANOTHER_STORE

_MIGRATIONS = Path(__file__).with_name("migrations")


def migrate(connection: sa.Connection, store: str) -> None:
    """Upgrades inside the connection's transaction: after a crash the schema is the old one or the new one.

    Raises StoreError for a schema that this program doesn't know: written by a newer one.
    """
    config = Config()
    # '%' is alembic's interpolation mark
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    known = {revision.revision for revision in script.walk_revisions()}
    newest = script.get_current_head()
    for found in MigrationContext.configure(connection).get_current_heads():
        if found not in known:
            raise StoreError(
                f"the store {store} is newer than this program (its schema is {found}, this tunefarm knows up to"
                f" {newest}): upgrade tunefarm, or {ANOTHER_STORE}"
            )
        if found == newest:
            return
    command.upgrade(config, "head")
