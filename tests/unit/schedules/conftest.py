"""A store on every back end. PostgreSQL joins where TUNEFARM_TEST_POSTGRESQL names a server that may be
given new databases, such as postgresql://farm@localhost/postgres."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tunefarm_coordinator.schedules.store import Store

_POSTGRESQL = os.environ.get("TUNEFARM_TEST_POSTGRESQL", "")
_BACKENDS = [
    "sqlite",
    pytest.param(
        "postgresql",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(not _POSTGRESQL, reason="waits for a server in TUNEFARM_TEST_POSTGRESQL"),
        ],
    ),
]


@pytest.fixture(params=_BACKENDS)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store that does not exist yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/store.db"
        return
    server = sa.make_url(_POSTGRESQL).set(drivername="postgresql+psycopg")
    name = f"tunefarm_test_{uuid.uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        yield server.set(database=name).render_as_string(hide_password=False)
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    engine.dispose()


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A new store."""
    with Store.open(store_url) as opened:
        yield opened
