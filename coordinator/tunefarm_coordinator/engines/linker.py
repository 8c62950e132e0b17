"""Links object files into a shared library, for this machine's architecture or another.

A bare linker does it: a candidate needs only the C library and the TVM runtime of the process that loads it,
so its symbols stay unbound and without versions, and the library loads on older systems than the builder's.
"""

import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

# Stripped and without a build id: the same objects make the same bytes. Pages of 64 KiB, because ARM kernels
# use 4, 16 or 64; without separate code pages or RELRO, which would pad the file for that.
_OPTIONS = (
    "-shared",
    "-s",
    "--build-id=none",
    "-z",
    "noexecstack",
    "-z",
    "noseparate-code",
    "-z",
    "norelro",
    "-z",
    "max-page-size=65536",
)
_EMULATIONS = {"x86_64": "elf_x86_64", "aarch64": "aarch64linux"}


class LinkError(Exception):
    """No linker for the architecture, or the linker failed."""


def link(objects: Sequence[Path], output: Path, triple: str, soname: str | None = None) -> None:
    """Links `objects` into the shared library `output`; raises `LinkError`.

    Args:
        triple: LLVM triple that the objects were compiled for, as in "aarch64-linux-gnu".
        soname: the name by which other libraries ask for it; None: none.
    """
    named = ("-soname", soname) if soname else ()
    command = [*command_for(triple), *_OPTIONS, *named, "-o", str(output), *map(str, objects)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LinkError(f"{command[0]} exited with {done.returncode}: {done.stderr.strip()[:300]}")


def command_for(triple: str) -> list[str]:
    """The command that links for `triple`: GNU ld of the architecture, or LLVM's, which serves all."""
    architecture = triple.split("-", 1)[0]
    native = sys.platform == "linux" and architecture == platform.machine()
    if native and (found := shutil.which("ld")):
        return [found]
    if found := shutil.which(f"{architecture}-linux-gnu-ld"):
        return [found]
    emulation = _EMULATIONS.get(architecture)
    if emulation and (found := shutil.which("ld.lld")):
        return [found, "-m", emulation]
    if emulation and find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "ld.lld", "-m", emulation]
    raise LinkError(
        f"no linker for {architecture} on this machine: install binutils-{architecture}-linux-gnu (Debian), "
        "lld, or the Python package ziglang"
    )
