"""Work on one lease: its deadlines, each by itself."""

import asyncio
from typing import cast

import pytest
from google.protobuf.duration_pb2 import Duration

from tunefarm_agent.artifacts import Artifacts, Held
from tunefarm_agent.benchmark import Benchmark
from tunefarm_agent.devices import OwnDevice
from tunefarm_agent.errors import LeaseGivenUp
from tunefarm_agent.gate import GateServer
from tunefarm_agent.leases import LeaseRunner
from tunefarm_agent.stand import Stand
from tunefarm_proto.v1 import farm_pb2


class FakeArtifacts:
    """A coordinator that never sends them."""

    async def fetch(self, _digests: set[str]) -> Held:
        await asyncio.Event().wait()
        raise AssertionError


async def test_fetching_has_a_limit_of_its_own() -> None:
    artifacts, nothing = cast(Artifacts, FakeArtifacts()), cast(object, None)
    runner = LeaseRunner(
        cast(OwnDevice, nothing), cast(Stand, nothing), artifacts, cast(GateServer, nothing), cast(Benchmark, nothing)
    )
    limit = Duration()
    limit.FromMilliseconds(20)
    lease = farm_pb2.Lease(lease_id="l", fetch_limit=limit, measure=farm_pb2.MeasureWork())

    with pytest.raises(LeaseGivenUp, match=r"fetched within 0\.02 s"):
        await runner.fetch(lease)
    assert not runner.works
