"""Which linker serves which architecture, and what is said when none does."""

import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tunefarm_coordinator.engines import linker


def _only(*present: str) -> Callable[[str], str | None]:
    return lambda name: f"/usr/bin/{name}" if name in present else None


@pytest.fixture
def x86_host(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(linker, "find_spec", lambda _: None)
    return monkeypatch


@pytest.mark.parametrize(
    ("present", "triple", "command"),
    [
        (("ld", "ld.lld"), "x86_64-linux-gnu", ["/usr/bin/ld"]),
        (("ld.lld",), "x86_64-linux-gnu", ["/usr/bin/ld.lld", "-m", "elf_x86_64"]),
        (("ld", "aarch64-linux-gnu-ld"), "aarch64-linux-gnu", ["/usr/bin/aarch64-linux-gnu-ld"]),
        (("ld", "ld.lld"), "aarch64-linux-gnu", ["/usr/bin/ld.lld", "-m", "aarch64linux"]),
    ],
)
def test_picks_a_linker_of_the_architecture(
    x86_host: pytest.MonkeyPatch, present: tuple[str, ...], triple: str, command: list[str]
) -> None:
    x86_host.setattr(shutil, "which", _only(*present))
    assert linker.command_for(triple) == command


def test_ziglang_serves_where_no_binutils_do(x86_host: pytest.MonkeyPatch) -> None:
    x86_host.setattr(shutil, "which", _only("ld"))
    x86_host.setattr(linker, "find_spec", lambda name: object() if name == "ziglang" else None)
    assert linker.command_for("aarch64-linux-gnu")[1:4] == ["-m", "ziglang", "ld.lld"]


def test_says_what_to_install_where_none_serves(x86_host: pytest.MonkeyPatch) -> None:
    x86_host.setattr(shutil, "which", _only("ld"))
    with pytest.raises(linker.LinkError, match=r"aarch64.*binutils-aarch64-linux-gnu.*ziglang"):
        linker.command_for("aarch64-linux-gnu")


def test_a_failing_linker_is_an_error(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.o"
    garbage.write_bytes(b"no object file")
    with pytest.raises(linker.LinkError, match="exited with"):
        linker.link([garbage], tmp_path / "out.so", f"{platform.machine()}-linux-gnu")
    assert not (tmp_path / "out.so").exists()
