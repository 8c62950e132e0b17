"""`tunefarm --help` answers at once because it loads next to nothing; this looks at what was loaded, not at a clock."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HEAVY = ("grpc", "google.protobuf", "tunefarm_proto", "tvm", "ray", "numpy", "onnx", "onnxruntime", "sqlalchemy")
_WALLED_OFF = ("tunefarm_coordinator", "tunefarm_agent", "tvm", "ray", "numpy", "onnx")

_HELP = "from tunefarm.cli import main; assert main({arguments!r}) == 0"
_PROGRAM = "import sys; {code}; print(sorted(set({names!r}) & set(sys.modules)), file=sys.stderr)"


def _loaded(code: str, names: tuple[str, ...]) -> str:
    program = _PROGRAM.format(code=code, names=names)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return ran.stderr.strip()


@pytest.mark.parametrize("arguments", [["--help"], ["tune", "--help"], ["job", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    assert _loaded(_HELP.format(arguments=arguments), _HEAVY) == "[]"


def test_the_package_alone_loads_nothing_heavy() -> None:
    code = "import tunefarm; tunefarm.AutoschedulerOptions(3); tunefarm.errors.InvalidInput"
    assert _loaded(code, (*_HEAVY, "rich", "typer")) == "[]"


def test_the_whole_client_loads_neither_tvm_nor_the_other_programs() -> None:
    code = "import tunefarm, tunefarm.view, tunefarm.diagnosis, tunefarm.cli.app; tunefarm.Client; tunefarm.Workflow"
    assert _loaded(code, _WALLED_OFF) == "[]"
