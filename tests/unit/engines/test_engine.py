"""Engines by name."""

import subprocess
import sys

import pytest

from tunefarm_coordinator.engines.engine import engine
from tunefarm_coordinator.errors import InvalidInput


@pytest.mark.parametrize("name", ["tvmc", "", "Autoscheduler"])
def test_unknown_engine_is_named_with_the_choice(name: str) -> None:
    with pytest.raises(InvalidInput, match=f'"{name}".*autoscheduler'):
        engine(name)


def test_the_cost_model_and_the_registry_need_no_tvm() -> None:
    """The trainer's process holds no TVM."""
    code = (
        "import sys\n"
        "import tunefarm_coordinator.engines.engine, tunefarm_coordinator.engines.cost_model\n"
        "assert 'tvm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
