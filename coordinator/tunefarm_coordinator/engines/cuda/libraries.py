"""Where CUDA's libraries and headers lie: the packages of extra "cuda", what the loader knows, the toolkit of nvcc."""

import contextlib
import ctypes
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

# Of TVM's wheel; libraries of another one have other names and other functions.
MAJOR = 13
_USUAL_TOOLKIT = Path("/usr/local/cuda")


def load(name: str) -> ctypes.CDLL:
    """Loads a library by its soname, such as "libcudart.so.13", for everything in this process. Raises OSError."""
    for folder in _roots():
        for path in (folder / "lib" / name, folder / "lib64" / name):
            if path.exists():
                return ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(name, ctypes.RTLD_GLOBAL)


def beside(library: str, pattern: str) -> list[Path]:
    """Files that match `pattern` in the first folder that has the library of this soname."""
    for folder in _roots():
        for home in (folder / "lib", folder / "lib64"):
            if (home / library).exists():
                return sorted(home.glob(pattern))
    return []


def header_folders() -> list[Path]:
    """Where `#include <cuda_fp16.h>` and `#include <cuda/barrier>` look; empty where no headers are installed."""
    for folder in _roots():
        include = folder / "include"
        if (include / "cuda_fp16.h").exists():
            return [include, *(path for path in (include / "cccl",) if path.is_dir())]
    return []


def _roots() -> Iterator[Path]:
    """Folders with `include` and `lib` or `lib64`, first choice first."""
    with contextlib.suppress(ModuleNotFoundError):
        spec = find_spec(f"nvidia.cu{MAJOR}")
        if spec is not None:
            yield from map(Path, spec.submodule_search_locations or ())
    nvcc = shutil.which("nvcc")
    if nvcc is not None:
        yield Path(nvcc).resolve().parent.parent
    yield _USUAL_TOOLKIT
