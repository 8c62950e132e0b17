"""House rules that no other tool checks: walls, generated stubs, versions, hygiene of the tests and of the tree."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import tunefarm
import tunefarm_agent
import tunefarm_coordinator
import tunefarm_proto

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "proto"
STUBS = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")
# Written in two halves, or this file would find itself.
REGISTRY_HOSTS = tuple(f"{name}.{top}" for name, top in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org")))


def kept_files() -> list[Path]:
    """What git keeps or would keep: tracked files, and new ones that it does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [path for name in listed.splitlines() if (path := ROOT / name).is_file()]


def test_import_walls_stand(tmp_path: Path) -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    command = [str(linter), "--config", str(ROOT / ".importlinter"), "--no-cache"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_stubs_are_what_the_protos_say(tmp_path: Path) -> None:
    protos = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", *outputs, *protos], check=True)
    fresh = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    kept = {
        path.relative_to(PROTO): path.read_text() for path in PROTO.rglob("*_pb2*.py*") if path.name.endswith(STUBS)
    }
    assert fresh.keys() == kept.keys(), "run `make protos`"
    stale = [str(name) for name in fresh if fresh[name] != kept[name]]
    assert not stale, f"run `make protos`: {stale} differ from what the protos say"


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert importlib.metadata.version("tunefarm") == project["version"], "run `make setup`"
    for package in (tunefarm, tunefarm_agent, tunefarm_coordinator, tunefarm_proto):
        assert getattr(package, "__version__", project["version"]) == project["version"], package.__name__


def test_all_that_make_setup_installs_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"-e '\.\[([\w,]+)\]'", (ROOT / "Makefile").read_text())
    names = [name for extra in extras.split(",") for name in project["optional-dependencies"][extra]]
    wanted = {_normal(re.split(r"[<>=!~ \[;]", name)[0]) for name in [*project["dependencies"], *names]}
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert wanted - {_normal(line.split("==")[0]) for line in lines} == set()


def test_what_is_installed_is_what_is_pinned() -> None:
    """The tests speak for the versions that a user gets."""
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    installed = {_normal(it.name): it.version for it in importlib.metadata.distributions()}
    other = {name: (pin, installed.get(_normal(name))) for name, pin in pins.items()}
    assert {name: pair for name, pair in other.items() if pair[0] != pair[1]} == {}


def test_no_package_registry_is_named() -> None:
    """Where packages come from is for the user's own configuration to say."""
    named = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in kept_files()
        for host in REGISTRY_HOSTS
        if host.encode() in path.read_bytes()
    ]
    assert named == []


def test_unit_tests_do_not_sleep() -> None:
    """The clock is an argument; a test that waits for one is slow when it passes and flaky when it does not."""
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in sorted((ROOT / "tests" / "unit").rglob("*.py"))
        for call in calls(path)
        if _called(call) == "sleep" and not _is_zero(call)
    ]
    assert found == []


def test_every_skip_says_what_it_waits_for() -> None:
    silent = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for line in silent_skips(ast.parse(path.read_text()))
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("source", "silent"),
    [
        ("@pytest.mark.skip\ndef test_a(): ...", True),
        ("@pytest.mark.skip()\ndef test_a(): ...", True),
        ("pytestmark = pytest.mark.skipif(True, reason='')", True),
        ("pytest.skip()", True),
        ("@pytest.mark.skip(reason='waits for a GPU')\ndef test_a(): ...", False),
        ("@pytest.mark.skip('waits for a GPU')\ndef test_a(): ...", False),
        ("pytest.skip(f'waits for {name}')", False),
    ],
)
def test_silent_skips_are_seen(source: str, silent: bool) -> None:
    assert bool(list(silent_skips(ast.parse(source)))) is silent


def silent_skips(tree: ast.Module) -> Iterator[int]:
    """Lines that use pytest's skip, skipif or xfail and give no reason."""
    reasoned = {id(call.func) for call in ast.walk(tree) if isinstance(call, ast.Call) and _has_reason(call)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr not in ("skip", "skipif", "xfail"):
            continue
        if "pytest" in ast.unparse(node) and id(node) not in reasoned:
            yield node.lineno


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def _has_reason(call: ast.Call) -> bool:
    conditional = isinstance(call.func, ast.Attribute) and call.func.attr in ("skipif", "xfail")
    given = [word.value for word in call.keywords if word.arg == "reason"] or ([] if conditional else call.args[:1])
    return any(not isinstance(value, ast.Constant) or value.value for value in given)


def _called(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


def _is_zero(call: ast.Call) -> bool:
    """`asyncio.sleep(0)` gives way to other tasks and waits for no clock."""
    return bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
