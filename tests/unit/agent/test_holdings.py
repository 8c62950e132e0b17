"""What the agent says of the leases that it holds."""

from pathlib import Path

from tunefarm_agent.holdings import Holdings
from tunefarm_agent.spool import Spool
from tunefarm_proto.v1 import farm_pb2


def test_a_lease_is_named_with_its_device_after_a_restart_too(tmp_path: Path) -> None:
    """Of two equal devices the coordinator can't tell which one an outcome of before its own restart is of."""
    spool = Spool(tmp_path)
    for lease, device in (("a", "gpu0"), ("b", "gpu1")):
        spool.put(farm_pb2.OutcomeReport(lease_id=lease, attempt=1, index=0, device_id=device))
    holdings = Holdings({}, 2, spool, farm_pb2.Heartbeat)
    assert {ref.lease_id: ref.device_id for ref in holdings.refs()} == {"a": "gpu0", "b": "gpu1"}
