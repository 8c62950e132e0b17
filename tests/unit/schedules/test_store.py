"""What every back end promises of jobs, journals and writing: one suite, run over each (conftest.py)."""

import os
import threading
from concurrent.futures import Future
from dataclasses import replace

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from tests.unit.schedules.schedule_examples import (
    append,
    entry,
    job,
    model,
)
from tunefarm_coordinator.errors import Conflict, InvalidInput, NotFound, StoreError
from tunefarm_coordinator.schedules import tables
from tunefarm_coordinator.schedules.changes import (
    AppendEvents,
    JournalEntry,
    ReopenJob,
    UpdateJob,
)
from tunefarm_coordinator.schedules.store import Store


class TestModelsAndJobs:
    def test_a_model_is_found_by_id_and_by_content_within_its_project(self, store: Store) -> None:
        store.write(model(), model()).result()

        assert store.model("m1") == model()
        assert store.find_model("vision", "d1") == model()
        assert store.find_model("audio", "d1") is None
        assert store.model("m2") is None

    @pytest.mark.parametrize("other", [model("m2"), model(digest="d2")])
    def test_an_id_and_a_content_stand_for_one_model(self, store: Store, other: object) -> None:
        store.write(model()).result()
        with pytest.raises(Conflict, match="m1"):
            store.write(other).result()  # type: ignore[arg-type]

    def test_a_job_is_found_by_id_and_by_key_within_its_project(self, store: Store) -> None:
        store.write(model(), job("j1", key="k"), job("j2", key="k", project="audio")).result()

        found = store.job("j1")
        assert found is not None
        assert (found.spec, found.state, found.summary, found.ended) == (b"spec", "QUEUED", b"", None)
        assert store.find_job("vision", "k") == found
        assert store.find_job("audio", "k") == store.job("j2")
        assert store.find_job("audio", "other") is None

    @pytest.mark.parametrize("again", [job("j2", key="k"), job("j1", key="other")])
    def test_a_key_and_an_id_serve_one_job(self, store: Store, again: object) -> None:
        store.write(model(), job("j1", key="k")).result()
        with pytest.raises(Conflict, match="j1"):
            store.write(again).result()  # type: ignore[arg-type]

    def test_a_journal_tells_when_each_kind_of_event_came_first_and_last(self, store: Store) -> None:
        entries = [JournalEntry(at + 1, 10.0 + at, kind, {}) for at, kind in enumerate("abba")]
        store.write(model(), job("j1"), AppendEvents("j1", tuple(entries))).result()

        assert store.event_times("j1") == {"a": (10.0, 13.0), "b": (11.0, 12.0)}
        assert store.event_times("j2") == {}

    def test_a_job_that_is_reopened_has_not_ended(self, store: Store) -> None:
        store.write(model(), job("j1"), UpdateJob("j1", "CANCELLED", b"s", 9.0)).result()
        store.write(ReopenJob("j1", "TUNING")).result()

        found = store.job("j1")
        assert found is not None
        assert (found.state, found.ended) == ("TUNING", None)
        assert store.unfinished_jobs() == [found]
        with pytest.raises(NotFound, match="j2"):
            store.write(ReopenJob("j2", "TUNING")).result()

    def test_a_job_needs_its_model(self, store: Store) -> None:
        with pytest.raises(NotFound, match="m1"):
            store.write(job()).result()

    def test_an_update_shows_and_an_end_is_final(self, store: Store) -> None:
        store.write(model(), job("j1"), job("j2")).result()
        store.write(UpdateJob("j1", "SUCCEEDED", b"summary", 900.0)).result()

        found = store.job("j1")
        assert found is not None
        assert (found.state, found.summary, found.ended) == ("SUCCEEDED", b"summary", 900.0)
        assert [unfinished.job_id for unfinished in store.unfinished_jobs()] == ["j2"]
        with pytest.raises(Conflict, match="SUCCEEDED"):
            store.write(UpdateJob("j1", "CANCELLED", b"", 901.0)).result()
        store.write(UpdateJob("j1", "SUCCEEDED", b"again", 900.0)).result()
        with pytest.raises(NotFound, match="j9"):
            store.write(UpdateJob("j9", "TUNING", b"")).result()

    def test_pages_hold_every_job_once_newest_first(self, store: Store) -> None:
        # several of one time: the page's edge falls between them
        times = {f"j{number}": 200.0 + number // 4 + 0.1 for number in range(11)}
        store.write(model(), *(job(name, created=created) for name, created in times.items())).result()

        seen: list[str] = []
        token = ""
        while True:
            page = store.list_jobs(page_size=3, page_token=token)
            seen += [found.job_id for found in page.jobs]
            token = page.next_token
            if not token:
                break
        assert seen == sorted(times, key=lambda name: (times[name], name), reverse=True)

    def test_pages_are_of_the_projects_and_states_asked_for(self, store: Store) -> None:
        store.write(model(), job("j1"), job("j2", project="audio"), job("j3", created=300.0)).result()
        store.write(UpdateJob("j3", "FAILED", b"", 400.0)).result()

        assert [found.job_id for found in store.list_jobs(project="audio").jobs] == ["j2"]
        assert [found.job_id for found in store.list_jobs(project="vision", states=["FAILED"]).jobs] == ["j3"]
        assert store.list_jobs(project="nobody").jobs == ()

    @pytest.mark.parametrize("token", ["x", "bm90IGpzb24=", "W10=", "W1sxLCAyXSwgW11d"])
    def test_a_token_of_someone_elses_is_refused(self, store: Store, token: str) -> None:
        with pytest.raises(InvalidInput, match="page token"):
            store.list_jobs(page_token=token)

    def test_a_token_serves_the_query_that_gave_it(self, store: Store) -> None:
        store.write(model(), job("j1"), job("j2")).result()
        token = store.list_jobs(page_size=1).next_token
        with pytest.raises(InvalidInput, match="another query"):
            store.list_jobs(page_size=1, page_token=token, project="vision")


class TestJournal:
    def test_events_come_back_in_order(self, store: Store) -> None:
        payload = {"samples": [1e-3, 0.1 + 0.2], "name": "Faltung \N{SNOWMAN}", "nested": {"none": None}}
        store.write(model(), job(), append("j1", 1, 2)).result()
        store.write(AppendEvents("j1", (JournalEntry(3, 1.5, "odd", payload),))).result()

        assert store.events("j1") == [entry(1), entry(2), JournalEntry(3, 1.5, "odd", payload)]
        assert [event.seq for event in store.events("j1", after=2)] == [3]
        assert store.events("j9") == []

    @pytest.mark.parametrize("seqs", [(2,), (0,), (1, 3), (1, 1), (2, 1)])
    def test_a_hole_or_a_repetition_is_refused(self, store: Store, seqs: tuple[int, ...]) -> None:
        store.write(model(), job()).result()
        with pytest.raises(Conflict, match="out of order"):
            store.write(append("j1", *seqs)).result()
        assert store.events("j1") == []

    def test_events_need_their_job(self, store: Store) -> None:
        with pytest.raises(NotFound, match="j1"):
            store.write(append("j1", 1)).result()

    @pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
    def test_what_is_not_json_is_refused(self, store: Store, value: object) -> None:
        store.write(model(), job()).result()
        with pytest.raises(InvalidInput, match="JSON"):
            store.write(AppendEvents("j1", (JournalEntry(1, 0.0, "odd", {"value": value}),))).result()


class TestWriting:
    def test_one_write_is_applied_whole_or_not_at_all(self, store: Store) -> None:
        with pytest.raises(Conflict):
            store.write(model(), job(), append("j1", 1), append("j1", 3)).result()
        assert store.model("m1") is None
        assert store.job("j1") is None
        assert store.events("j1") == []

    def test_a_write_that_fails_fails_alone(self, store: Store) -> None:
        """Queued together, so that they share commits: every third is out of order."""
        store.write(model(), job()).result()
        futures: list[tuple[bool, Future[None]]] = []
        for seq in range(1, 61):
            futures.append((True, store.write(append("j1", seq))))
            if seq % 3 == 0:
                futures.append((False, store.write(append("j1", seq + 7))))
        assert [isinstance(future.exception(), Conflict) for _, future in futures] == [not ok for ok, _ in futures]
        assert [event.seq for event in store.events("j1")] == list(range(1, 61))

    def test_many_threads_write_at_once(self, store: Store) -> None:
        store.write(model(), *(job(f"j{number}") for number in range(8))).result()

        def journal(job_id: str) -> None:
            for future in [store.write(append(job_id, seq)) for seq in range(1, 51)]:
                future.result()

        threads = [threading.Thread(target=journal, args=(f"j{number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number in range(8):
            assert [event.seq for event in store.events(f"j{number}")] == list(range(1, 51))

    def test_who_stops_waiting_takes_nothing_back(self, store: Store) -> None:
        assert not store.write(model()).cancel()
        store.write(job()).result()
        assert store.model("m1") == model()

    @pytest.mark.parametrize("name", ["nul \x00", "half a pair \ud800"])
    def test_text_that_some_back_end_cannot_hold_is_refused(self, store: Store, name: str) -> None:
        with pytest.raises(InvalidInput):
            store.write(replace(model(), name=name)).result()
        store.write(model()).result()

    def test_closing_writes_what_is_queued_and_then_no_more(self, store_url: str) -> None:
        store = Store.open(store_url)
        futures = [store.write(model(), job())] + [store.write(append("j1", seq)) for seq in range(1, 301)]
        store.close()
        with pytest.raises(StoreError, match="closed"):
            store.write(append("j1", 301)).result()
        assert all(future.exception() is None for future in futures)
        with Store.open(store_url) as again:
            assert len(again.events("j1")) == 300


class TestOpening:
    def test_epochs_count_the_starts(self, store_url: str) -> None:
        for expected in (1, 2, 3):
            with Store.open(store_url) as store:
                assert store.next_epoch() == expected

    def test_a_store_has_one_owner(self, store_url: str) -> None:
        with Store.open(store_url), pytest.raises(StoreError, match=rf"in use .*pid {os.getpid()}\b.*lock"):
            Store.open(store_url)
        Store.open(store_url).close()

    def test_a_newer_store_is_left_alone(self, store_url: str) -> None:
        Store.open(store_url).close()
        engine = sa.create_engine(store_url)
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(StoreError, match=r"newer than this program .*9999.* upgrade"):
            Store.open(store_url)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "9999"
        engine.dispose()

    def test_the_migrations_make_the_tables(self, store_url: str) -> None:
        Store.open(store_url).close()
        engine = sa.create_engine(store_url)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, tables.metadata) == []
        engine.dispose()
