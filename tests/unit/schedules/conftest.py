"""A store on every back end.

PostgreSQL is the server that TUNEFARM_TEST_POSTGRESQL names (it is given new databases), such as
postgresql://farm@localhost/postgres; without it, one of this machine's own binaries, started for the session.
"""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tunefarm_coordinator.schedules.store import Store

_NAMED = os.environ.get("TUNEFARM_TEST_POSTGRESQL", "")
_BINARIES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), reverse=True)), Path("pg_ctl")).parent


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server that new databases may be made in."""
    if _NAMED:
        yield _NAMED
        return
    if not (_BINARIES / "pg_ctl").exists():
        pytest.skip("no PostgreSQL server is installed (Debian: postgresql), and TUNEFARM_TEST_POSTGRESQL names none")
    folder = Path(tempfile.mkdtemp(prefix="tunefarm-pg-", dir="/tmp"))
    # PostgreSQL refuses to run as root.
    owner = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    user = "postgres"

    def run(program: str, *arguments: str) -> None:
        with (folder.parent / f"{folder.name}.log").open("ab") as log:
            command = [*owner, str(_BINARIES / program), *arguments]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)

    data = folder / "data"
    if owner:
        shutil.chown(folder, user)
    try:
        run("initdb", "-D", str(data), "-U", user, "-A", "trust", "--no-sync")
        run("pg_ctl", "start", "-w", "-D", str(data), "-o", f"-c listen_addresses= -c unix_socket_directories={folder}")
        yield f"postgresql://{user}@/postgres?host={folder}"
        run("pg_ctl", "stop", "-m", "fast", "-D", str(data))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / f"{folder.name}.log").unlink(missing_ok=True)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store that does not exist yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/store.db"
        return
    server = sa.make_url(request.getfixturevalue("postgresql")).set(drivername="postgresql+psycopg")
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
