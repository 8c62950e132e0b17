"""What most of these tests begin with; a module that needs another of the same name has its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.farm_stand_in import FakeCoordinator
from tests.tiny_models import save_tiny_cnn


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's home, empty."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny_cnn(tmp_path / "tiny.onnx")


@pytest.fixture
async def farm() -> AsyncIterator[FakeCoordinator]:
    async with FakeCoordinator() as fake:
        yield fake
