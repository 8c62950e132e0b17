"""Unacknowledged outcomes on disk."""

from pathlib import Path

from tunefarm_agent.spool import Spool
from tunefarm_proto.v1 import farm_pb2


def report(index: int, lease_id: str = "../../lease", attempt: int = 1) -> farm_pb2.OutcomeReport:
    measured = farm_pb2.Measured(seconds=[0.5])
    return farm_pb2.OutcomeReport(lease_id=lease_id, attempt=attempt, index=index, measured=measured)


def test_what_was_put_is_loaded_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for index in (2, 0, 1):
        spool.put(report(index))
    assert [r.index for r in Spool(tmp_path).load()] == [2, 0, 1]
    assert Spool(tmp_path).load()[0] == report(2)


def test_ids_are_no_paths(tmp_path: Path) -> None:
    Spool(tmp_path / "spool").put(report(0))
    assert [p.name for p in tmp_path.iterdir()] == ["spool"]


def test_what_was_removed_is_gone(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for index in range(3):
        spool.put(report(index))
    spool.put(report(0, attempt=2))
    spool.put(report(0, attempt=11))
    spool.remove("../../lease", 1, 1)
    spool.remove("../../lease", 1, 1)
    assert [r.index for r in spool.load() if r.attempt == 1] == [0, 2]
    spool.remove_lease("../../lease", 1)
    assert [r.attempt for r in spool.load()] == [2, 11]


def test_torn_and_foreign_files_are_cleared_away(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put(report(0))
    (tmp_path / "torn.draft").write_bytes(b"\x0a\xff")
    (tmp_path / "foreign.outcome").write_bytes(b"\xff\xff\xff")
    assert spool.load() == [report(0)]
    assert len(list(tmp_path.iterdir())) == 1
