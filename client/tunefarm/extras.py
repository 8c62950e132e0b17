"""Which extras of the distribution are installed, and what to type where one is not."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Sequence

from tunefarm.errors import NotInstalled

DISTRIBUTION = "tunefarm"
_REQUIREMENT = re.compile(r"""^(?P<name>[A-Za-z0-9._-]+).*;.*extra\s*==\s*['"](?P<extra>[^'"]+)['"]""")


def missing_packages(extra: str) -> list[str]:
    """The distributions that `extra` asks for and that are not installed here; imports nothing."""
    missing = []
    for requirement in importlib.metadata.requires(DISTRIBUTION) or []:
        found = _REQUIREMENT.match(requirement)
        if found is None or found["extra"] != extra:
            continue
        try:
            importlib.metadata.version(found["name"])
        except importlib.metadata.PackageNotFoundError:
            missing.append(found["name"])
    return missing


def require_extras(extras: Sequence[str], purpose: str) -> None:
    """Raises NotInstalled, with the command that installs them, unless all of `extras` are here."""
    lacking = {extra: missing for extra in extras if (missing := missing_packages(extra))}
    if lacking:
        packages = ", ".join(sorted({name for missing in lacking.values() for name in missing}))
        raise NotInstalled(
            f"{purpose} needs packages that are not installed here ({packages}): "
            f"pip install '{DISTRIBUTION}[{','.join(extras)}]'"
        )
