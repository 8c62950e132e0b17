"""Where the coordinator keeps its files."""

import asyncio
import hashlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Folders:
    """The data folder: `authority/`, `artifacts/`, `images/`, `models/<id>/`, `values/`, `prepared/<key>/`,
    `jobs/<id>/`."""

    root: Path

    @property
    def authority(self) -> Path:
        """The farm's certificate authority and its first admin's token: for the coordinator's user alone."""
        return self.root / "authority"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def uploads(self) -> Path:
        """Models and databases on their way in, packages and databases on their way out that no job owns; emptied at
        start."""
        return self.root / "uploads"

    @property
    def values(self) -> Path:
        """Values of inputs that users sent, by digest."""
        return self.root / "values"

    @property
    def images(self) -> Path:
        """CUDA kernels that were compiled, by what they were compiled from; may be deleted at any time."""
        return self.root / "images"

    @asynccontextmanager
    async def scratch(self, prefix: str) -> AsyncIterator[Path]:
        """A new folder that goes when the caller is done; at the next start, where the coordinator dies before."""
        await asyncio.to_thread(self.uploads.mkdir, parents=True, exist_ok=True)
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=prefix, dir=self.uploads))
        try:
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def model(self, model_id: str) -> Path:
        return self.root / "models" / model_id

    def prepared(
        self,
        model_id: str,
        shapes: Mapping[str, Sequence[int]],
        target: str,
        *,
        allow_tf32: bool = False,
        exact_math: bool = False,
    ) -> Path:
        """The same for every job on the same model, shapes, target and precision."""
        precision = ["tf32"] * allow_tf32 + ["exact"] * exact_math
        key = json.dumps([model_id, sorted((name, list(dims)) for name, dims in shapes.items()), target, *precision])
        return self.root / "prepared" / hashlib.sha256(key.encode()).hexdigest()[:32]

    def job(self, job_id: str) -> Path:
        return self.root / "jobs" / job_id

    def package(self, job_id: str) -> Path:
        return self.job(job_id) / "package"

    def draft(self, job_id: str) -> Path:
        """A package that is not proven yet; it takes the place of `package` once it is."""
        return self.job(job_id) / "draft"

    def untuned(self, job_id: str) -> Path:
        return self.job(job_id) / "untuned"
