"""An ARM board without a board: a real aarch64 userland under QEMU's user-mode emulation.

Debian's packages for arm64 and the aarch64 wheels of the agent's dependencies are fetched once into a cache folder
(some 300 MB, see `cache_folder`), by apt and pip, from wherever this machine has its packages. Nothing is installed: no
chroot, no binfmt_misc, no foreign architecture in the machine's own apt. TVM is cut down to its runtime, without the
compiler's library.

Times under emulation mean nothing: test what comes out, not how fast.
"""

import contextlib
import hashlib
import os
import platform
import shutil
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cache_folder import cache_folder
from tests.debian_packages import Unavailable, run, unpack_packages

ROOT = Path(__file__).parents[1]
TARGET = '{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72", "mattr": ["+neon"], "num-cores": 1}'
_PACKAGES = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "libgomp1")
_EMULATOR = "qemu-user-static"
_LINKER = "binutils-aarch64-linux-gnu"
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
# A compiler must not be needed, so it must not be there.
_NOT_ON_A_BOARD = ("libtvm_compiler.so",)


@dataclass(frozen=True)
class ArmBoard:
    """Where its parts lie on this machine.

    Attributes:
        python: starts the board's Python; on a real board this would be /usr/bin/python3.
        environment: for it, and for everything that it starts.
        linker: folder with aarch64-linux-gnu-ld, for the coordinator's PATH.
    """

    python: Path
    environment: dict[str, str]
    linker: Path


def arm_board() -> ArmBoard:
    """The board, made on the first call. Raises Unavailable."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise Unavailable(f"the recipe is for x86-64 Linux, this is {platform.system()} {platform.machine()}")
    recipe = hashlib.sha256(Path(__file__).read_bytes() + (ROOT / "constraints.txt").read_bytes()).hexdigest()[:12]
    folder = cache_folder() / f"arm-board-{recipe}"
    if not folder.exists():
        with _made(folder) as draft:
            _fetch_userland(draft)
            _fetch_wheels(draft / "site")
    _write_start(folder)
    site = ":".join(str(each) for each in (folder / "site", ROOT / "agents", ROOT / "proto"))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(Path.home()),
        "PYTHONPATH": site,
        "PYTHONHOME": str(folder / "board" / "usr"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "BOARD_PYTHON": str(folder / "python"),
    }
    return ArmBoard(folder / "python", environment, folder / "linker")


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[Path]:
    """A draft of the folder, in place only when it is whole. Boards of earlier recipes go."""
    for old in folder.parent.glob("arm-board-*"):
        shutil.rmtree(old, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix="arm-board-", dir=folder.parent))
    try:
        yield draft
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _fetch_userland(folder: Path) -> None:
    unpack_packages(folder / "board", "arm64", *_PACKAGES)
    unpack_packages(folder / "tools", "amd64", _EMULATOR, _LINKER)
    for emulator in (folder / "tools" / "usr" / "bin").glob("qemu-*"):
        if emulator.name != "qemu-aarch64-static":
            emulator.unlink()
    # Debian keeps libraries below /usr and links the old places to them.
    for name in ("lib", "bin"):
        link = folder / "board" / name
        if link.is_dir() and not link.is_symlink():
            shutil.copytree(link, folder / "board" / "usr" / name, dirs_exist_ok=True, symlinks=True)
            shutil.rmtree(link)
        if not link.is_symlink():
            link.symlink_to(f"usr/{name}")


def _fetch_wheels(site: Path) -> None:
    """What the agent's extra needs, as pyproject.toml and constraints.txt say."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["agent"]]
    with tempfile.TemporaryDirectory() as wheels:
        platforms = [part for name in _PLATFORMS for part in ("--platform", name)]
        run(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--dest", wheels, "--only-binary=:all:", "--python-version", "311", *platforms),
            *("-c", str(ROOT / "constraints.txt"), *wanted),
        )
        for wheel in Path(wheels).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
    for name in _NOT_ON_A_BOARD:
        for library in site.rglob(name):
            library.unlink()
    # Under emulation compiling takes ten times as long.
    run(sys.executable, "-m", "compileall", "-q", str(site))


def _write_start(folder: Path) -> None:
    """The board's Python, which takes itself for that, so that what it starts is emulated as well; and a linker that
    finds its libraries."""
    start, emulator, root = folder / "python", folder / "tools/usr/bin/qemu-aarch64-static", folder / "board"
    start.write_text(f'#!/bin/sh\nexec {emulator} -L {root} {root}/usr/bin/python3.11 "$@"\n')
    start.chmod(0o755)
    linker, tools = folder / "linker" / "aarch64-linux-gnu-ld", folder / "tools" / "usr"
    linker.parent.mkdir(exist_ok=True)
    libraries = tools / "lib" / "x86_64-linux-gnu"
    linker.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {tools}/bin/{linker.name} "$@"\n')
    linker.chmod(0o755)
    (folder / "site" / "sitecustomize.py").write_text(
        'import os, sys\nsys.executable = os.environ.get("BOARD_PYTHON", sys.executable)\n'
    )
