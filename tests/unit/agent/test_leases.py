"""Work on one lease: its deadlines, each by itself."""

import asyncio
from typing import cast

import pytest
from google.protobuf.duration_pb2 import Duration

from tunefarm_agent.artifacts import Artifacts, Held
from tunefarm_agent.benchmark import Benchmark
from tunefarm_agent.commands import Evaluation
from tunefarm_agent.devices import OwnDevice
from tunefarm_agent.errors import LeaseGivenUp
from tunefarm_agent.gate import GateServer
from tunefarm_agent.leases import LeaseRunner, warm
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


def test_calls_follow_one_another_where_caches_stay_warm() -> None:
    asked = Evaluation(number=1, repeat=10, min_repeat_ms=0.0, flush_cache=True, give_up=2e-5)
    assert warm(asked) == Evaluation(number=1, repeat=10, min_repeat_ms=1.0, flush_cache=False, give_up=2e-5)
    assert warm(Evaluation(1, 10, min_repeat_ms=5.0, flush_cache=True)).min_repeat_ms == 5.0
