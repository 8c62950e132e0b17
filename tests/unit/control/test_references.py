"""Reference kernels outlive the jobs that they are sent with."""

from pathlib import Path
from typing import Any, cast

from tunefarm_coordinator.artifacts import ArtifactStore
from tunefarm_coordinator.compute.client import ComputeClient
from tunefarm_coordinator.compute.messages import BuildReference, Built
from tunefarm_coordinator.control.references import References
from tunefarm_coordinator.engines.candidate import Argument, BuiltCandidate


class FakeCompute:
    """Builds a library of a few bytes for each target."""

    def __init__(self) -> None:
        self.built: list[str] = []

    async def ask(self, request: Any) -> Any:
        assert isinstance(request, BuildReference)
        self.built.append(request.target)
        library = f"reference of {request.target}".encode()
        return Built(BuiltCandidate(library, (Argument((4, 4), "float32"),), ()), 0.1)


async def test_a_reference_kernel_is_there_for_the_jobs_to_come(tmp_path: Path) -> None:
    """Its digest is kept for the life of the process: so are its bytes, whoever ends, be it the last job."""
    artifacts, compute = ArtifactStore(tmp_path), FakeCompute()
    references = References(cast(ComputeClient, compute), artifacts)
    first = await references.of("llvm")
    assert first is not None
    candidate = artifacts.put(b"a candidate", "job-1")
    artifacts.release("job-1")
    assert not artifacts.exists(candidate)
    again = await references.of("llvm")
    assert again is not None
    assert again == first
    assert compute.built == ["llvm"]
    assert artifacts.path(again.key).read_bytes() == b"reference of llvm"
