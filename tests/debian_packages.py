"""Debian's packages for tests, fetched and unpacked into a folder: nothing is installed on this machine."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

_LIMIT_SECONDS = 900


class Unavailable(Exception):
    """What a test needs from elsewhere can't be had on this machine."""


def run(*command: str, **more: str) -> None:
    """Runs to its end; `more`: environment. Raises Unavailable."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_LIMIT_SECONDS, env={**os.environ, **more}
    )
    if done.returncode != 0:
        raise Unavailable(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")


def unpack_packages(root: Path, architecture: str, *packages: str) -> None:
    """These packages and all that they need, unpacked below `root`. Raises Unavailable."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Unavailable(f"no {tool} here: Debian's is needed")
    with tempfile.TemporaryDirectory(prefix="tunefarm-apt-") as state:
        for deb in _fetched(Path(state), architecture, packages):
            run("dpkg-deb", "-x", str(deb), str(root))


def _fetched(folder: Path, architecture: str, packages: tuple[str, ...]) -> list[Path]:
    """By an apt of its own in `folder`, which knows of nothing installed."""
    for name in ("lists/partial", "cache/archives/partial", "sources"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    _write_sources(folder / "sources", architecture)
    options = {
        "Dir::State": folder,
        "Dir::State::status": folder / "status",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": folder / "sources",
        "APT::Architecture": architecture,
        "APT::Architectures::": architecture,
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
        "Debug::NoLocking": "true",
    }
    apt = ["apt-get", "-qq", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]
    run(*apt, "update", APT_CONFIG="/dev/null")
    run(*apt, "install", "--yes", "--download-only", *packages, APT_CONFIG="/dev/null")
    return list((folder / "cache" / "archives").glob("*.deb"))


def _write_sources(folder: Path, architecture: str) -> None:
    """The machine's own sources of Debian's packages, for this architecture."""
    stanzas = [
        stanza
        for file in Path("/etc/apt/sources.list.d").glob("*.sources")
        for stanza in re.split(r"\n\s*\n", file.read_text())
        if "debian" in stanza
    ]
    kept = [
        "\n".join(line for line in stanza.splitlines() if not line.startswith(("Architectures", "#")))
        for stanza in stanzas
    ]
    lines = []
    for file in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*.list")):
        if file.exists():
            lines += [line for line in file.read_text().splitlines() if re.match(r"deb\s.*debian", line)]
    lines = [re.sub(r"^deb\s+(?:\[([^]]*)\]\s*)?", rf"deb [\1 arch={architecture}] ", line) for line in lines]
    if not kept and not lines:
        raise Unavailable("this machine's apt has no source of Debian's packages")
    text = "\n\n".join(f"{stanza.strip()}\nArchitectures: {architecture}" for stanza in kept)
    (folder / "debian.sources").write_text(text + "\n")
    (folder / "debian.list").write_text("\n".join(lines) + "\n")
