"""Uploaded values of inputs: NumPy files, by digest."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.durable_files import put_in_place
from tunefarm_coordinator.errors import InvalidInput, NotFound

LARGEST_VALUES_BYTES = 1 << 30
_PREFIX = "values-"


class ValueFiles:
    """A file that is there is whole: it is moved into place only after its digest matched."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders

    async def add(self, size: int, sha256: str, chunks: AsyncIterator[bytes]) -> str:
        """Takes a file in; its id. Raises InvalidInput: not what was announced, or too large."""
        if size > LARGEST_VALUES_BYTES:
            raise InvalidInput(f"the values have {size} bytes, but {LARGEST_VALUES_BYTES} at most are taken")
        draft = self._folders.uploads / uuid.uuid4().hex
        digest, received = hashlib.sha256(), 0
        draft.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("xb") as file:
                async for data in chunks:
                    received += len(data)
                    if received > size:
                        break
                    digest.update(data)
                    await asyncio.to_thread(file.write, data)
            if received != size or digest.hexdigest() != sha256.lower():
                raise InvalidInput(f"the values did not arrive whole ({received} of {size} bytes): send them again")
            await asyncio.to_thread(put_in_place, draft, self._folders.values / digest.hexdigest())
        finally:
            draft.unlink(missing_ok=True)
        return _PREFIX + digest.hexdigest()

    def path(self, values_id: str) -> Path:
        """Raises NotFound."""
        digest = values_id.removeprefix(_PREFIX)
        path = self._folders.values / digest
        if not values_id.startswith(_PREFIX) or not digest.isalnum() or not path.is_file():
            raise NotFound(f"no values {values_id!r}: upload them first")
        return path
