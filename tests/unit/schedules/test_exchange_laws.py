"""Stores that take in one another's exports: in any order, however often and however grouped, the same rows and views.

What is exchanged goes the whole way: an export's messages, and an import's batches.
"""

import asyncio
import contextlib
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.schedule_farm import contents
from tests.unit.schedules.schedule_examples import ARM, DEVICES, WORKLOAD, X86, record, verification
from tunefarm_coordinator.schedules.changes import (
    AddCandidates,
    AddRecords,
    AddVerifications,
    AddWorkloads,
    CandidateTrace,
    KnownWorkload,
)
from tunefarm_coordinator.schedules.record import Censored, Failed, Measured, Outcome, Record
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.exchange import Intake, exported
from tunefarm_proto.v1 import schedule_pb2

Items = list[schedule_pb2.ScheduleItem]
NewStore = Callable[[], AbstractContextManager[Store]]

WORKLOADS = (WORKLOAD, "p1:dense")
OUTCOMES: list[Outcome] = [Measured((1e-3,)), Measured((2e-3, 3e-3)), Censored(0.5), Failed("RUN_ERROR", "SIGSEGV")]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def new_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewStore]:
    """Opens a new store each time, a copy of an empty one; it is gone with the `with` block."""
    if request.param == "sqlite":
        yield _on_sqlite(tmp_path_factory.mktemp("stores"))
    else:
        with _on_postgresql(request.getfixturevalue("postgresql")) as opened:
            yield opened


def _on_sqlite(folder: Path) -> NewStore:
    Store.open(f"sqlite:///{folder}/empty.db").close()

    @contextlib.contextmanager
    def new_store() -> Iterator[Store]:
        path = folder / f"{uuid.uuid4().hex}.db"
        shutil.copyfile(folder / "empty.db", path)
        with Store.open(f"sqlite:///{path}") as store:
            yield store

    return new_store


@contextlib.contextmanager
def _on_postgresql(url: str) -> Iterator[NewStore]:
    server = sa.make_url(url).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    empty = f"tunefarm_test_{uuid.uuid4().hex}"

    @contextlib.contextmanager
    def database(name: str, template: str) -> Iterator[str]:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
            yield server.set(database=name).render_as_string(hide_password=False)
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")

    @contextlib.contextmanager
    def new_store() -> Iterator[Store]:
        with database(f"tunefarm_test_{uuid.uuid4().hex}", empty) as name, Store.open(name) as store:
            yield store

    with database(empty, "template1") as name:
        Store.open(name).close()
        yield new_store
    engine.dispose()


@st.composite
def _claims(draw: st.DrawFn) -> tuple[Record, str]:
    """A record, and one of the traces that end in its candidate's program."""
    name = draw(st.sampled_from(["a", "b"]))
    made = record(
        name,
        workload=draw(st.sampled_from(WORKLOADS)),
        target=draw(st.sampled_from([X86, ARM])),
        device=draw(st.sampled_from(["zen-a", "zen-b", "pi", "unheard of"])),
        outcome=draw(st.sampled_from(OUTCOMES)),
        created=draw(st.sampled_from([1.0, 2.25, 1763862000.123456])),
    )
    return made, draw(st.sampled_from([f'["{name}"]', f'["{name}", "another way"]', f'["a third", "{name}"]']))


FARM = st.lists(_claims(), max_size=6)


def _keep(store: Store, claims: Sequence[tuple[Record, str]]) -> None:
    """As a farm's own; it met the workloads with its first claim, under names of its own."""
    met = claims[0][0].created if claims else 0.0
    names = f'{{"names": {len(claims)}}}'
    store.write(
        DEVICES,
        AddWorkloads(tuple(KnownWorkload(name, f"{name} {len(claims)}", names, 1.0, met) for name in WORKLOADS)),
        AddCandidates(tuple(CandidateTrace(made.workload, made.identity, trace) for made, trace in claims)),
        AddRecords(tuple(made for made, _ in claims)),
    ).result()


def _exported(store: Store) -> Items:
    async def collect() -> Items:
        answers = exported(store, schedule_pb2.ExportSchedulesRequest())
        return [item async for answer in answers for item in answer.items]

    return asyncio.run(collect())


async def _batches(items: Items) -> AsyncIterator[schedule_pb2.ImportSchedulesRequest]:
    for start in range(0, len(items), 3):
        numbered = [schedule_pb2.NumberedItem(line=at, item=item) for at, item in enumerate(items[start:][:3])]
        yield schedule_pb2.ImportSchedulesRequest(items=numbered)


def _take(store: Store, *exports: Items) -> None:
    async def take() -> None:
        for items in exports:
            async for answer in Intake(store).take(_batches(items)):
                assert list(answer.refused) == []

    asyncio.run(take())


def _after(new_store: NewStore, *exports: Items) -> dict[str, object]:
    with new_store() as store:
        _take(store, *exports)
        return contents(store)


def _joined(new_store: NewStore, *exports: Items) -> Items:
    """What a store that took these in exports."""
    with new_store() as store:
        _take(store, *exports)
        return _exported(store)


@examples(6)
@given(farms=st.tuples(FARM, FARM, FARM))
def test_merging_is_idempotent_commutative_and_associative(
    new_store: NewStore, farms: tuple[list[tuple[Record, str]], ...]
) -> None:
    exports = []
    for claims in farms:
        with new_store() as store:
            _keep(store, claims)
            exports.append(_exported(store))
    a, b, c = exports
    whole = _after(new_store, a, b, c)
    assert _after(new_store, c, b, a) == whole
    assert _after(new_store, b, c, a) == whole
    assert _after(new_store, a, a, b, c, b) == whole
    assert _after(new_store, _joined(new_store, a, b), c) == whole
    assert _after(new_store, a, _joined(new_store, b, c)) == whole


@examples(5)
@given(own=FARM, farms=st.tuples(FARM, FARM))
def test_what_a_farm_found_itself_stays_its_own_whatever_it_takes_in(
    new_store: NewStore, own: list[tuple[Record, str]], farms: tuple[list[tuple[Record, str]], ...]
) -> None:
    exports = []
    for claims in farms:
        with new_store() as store:
            _keep(store, claims)
            exports.append(_exported(store))

    def taken(*order: Items) -> tuple[dict[str, object], dict[str, object], Items]:
        with new_store() as store:
            _keep(store, own)
            store.write(AddVerifications((verification("a"), verification("b", workload=WORKLOADS[1])))).result()
            before = contents(store)
            mine = _exported(store)
            _take(store, *order)
            return before, contents(store), mine

    before, after, mine = taken(*exports)
    assert taken(*reversed(exports))[1] == after
    assert taken(*exports, mine, *exports)[1] == after
    traces: object = before["traces"]
    assert isinstance(traces, dict)
    assert isinstance(after["traces"], dict)
    assert after["traces"].items() >= traces.items()
    # what was best stays best: others' claims are no better than hints
    for scope, incumbents in before["best"].items():  # type: ignore[attr-defined]
        for workload, (best, verified) in incumbents.items():
            if verified:
                assert after["best"][scope][workload] == (best, True)  # type: ignore[index]
