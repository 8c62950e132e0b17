"""Where tests keep what they fetched or made once: $XDG_CACHE_HOME/tunefarm-tests, or ~/.cache/tunefarm-tests."""

import os
from pathlib import Path


def cache_folder() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tunefarm-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
