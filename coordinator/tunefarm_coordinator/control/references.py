"""The reference kernel of each target: built once, kept as an artifact, sent with every batch."""

import asyncio
import logging

from tunefarm_coordinator.artifacts import ArtifactStore
from tunefarm_coordinator.compute.client import ComputeClient
from tunefarm_coordinator.compute.messages import BuildFailed, BuildReference, Built, ComputeFailed, ComputeLost
from tunefarm_coordinator.farm.messages import Reference
from tunefarm_proto.v1 import farm_pb2

log = logging.getLogger(__name__)

BUILD_SECONDS = 60.0
RUN_SECONDS = 5.0
# Whom its artifact is kept for: it outlives every job.
_OWNER = "references"
# Five samples of a hundred microseconds: with the calls to the session some milliseconds between candidates.
EVALUATOR = farm_pb2.Evaluator(number=5, repeat=5)


class References:
    """Shared by all jobs. Calibration is worth having, never worth failing for: batches may go out without."""

    def __init__(self, compute: ComputeClient, artifacts: ArtifactStore) -> None:
        self._compute = compute
        self._artifacts = artifacts
        self._built: dict[str, asyncio.Task[Reference | None]] = {}

    async def of(self, target: str) -> Reference | None:
        """The kernel for a target (TVM's JSON); None where it can't be built. `payload` is a lease that times it."""
        if target not in self._built:
            self._built[target] = asyncio.create_task(self._build(target))
        return await asyncio.shield(self._built[target])

    async def _build(self, target: str) -> Reference | None:
        try:
            answer: Built | BuildFailed = await self._compute.ask(BuildReference(target, BUILD_SECONDS))
        except (ComputeLost, ComputeFailed) as error:
            # The next batch asks again: this may pass.
            del self._built[target]
            log.warning("no reference kernel for now", extra={"target": target, "error": str(error)})
            return None
        if isinstance(answer, BuildFailed):
            log.warning("no reference kernel for a target", extra={"target": target, "error": answer.message})
            return None
        digest = await asyncio.to_thread(self._artifacts.put, answer.candidate.library, _OWNER)
        kernel = farm_pb2.Candidate(
            candidate_id="reference",
            artifact=digest,
            arguments=[farm_pb2.KernelArgument(shape=a.shape, dtype=a.dtype) for a in answer.candidate.arguments],
            run_timeout=RUN_SECONDS,
        )
        work = farm_pb2.CalibrateWork(reference=kernel, evaluator=EVALUATOR)
        return Reference(digest, farm_pb2.Lease(calibrate=work))
