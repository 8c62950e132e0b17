"""Targets as canonical JSON text: the same text for the same target, however it was written."""

import difflib
import json
import os
from typing import Any

import tvm
from tvm.target import Target, codegen

from tunefarm_coordinator.errors import InvalidInput

# Derived by TVM from the rest, so they carry nothing of their own.
_DERIVED = ("tag", "keys", "host")


def host_target() -> str:
    """Canonical JSON of a target for this machine: LLVM, its CPU, as many cores as this process may use."""
    cores = len(os.sched_getaffinity(0))
    return _canonical(Target({"kind": "llvm", "mcpu": str(codegen.llvm_get_system_cpu()), "num-cores": cores}))


def runs_here(target_json: str) -> bool:
    """Whether this machine runs what is compiled for a CPU: it is of its architecture, and has all its instructions."""
    target, here = Target(target_json), Target(host_target())
    if target.kind.name != "llvm" or _architecture(target) != _architecture(here):
        return False
    return set(codegen.llvm_get_cpu_features(target)) <= set(codegen.llvm_get_cpu_features(here))


def _architecture(target: Any) -> str:
    triple = str(target.attrs.get("mtriple", "")) or str(codegen.llvm_get_system_triple())
    return triple.split("-", 1)[0]


def quickly_built(opt_level: int = 1) -> Target:
    """This machine, with few of LLVM's passes or none: for what runs a few times alone, they take longer than they
    gain."""
    return Target({**json.loads(host_target()), "opt-level": opt_level})


def resolve_target(text: str) -> str:
    """Canonical JSON of the target that `text` names: "host" (or "llvm"), a TVM tag, a kind, or JSON.

    Raises:
        InvalidInput: nothing TVM knows (with the nearest names), an unknown CPU, or a CPU target that
            doesn't say how many cores it has.
    """
    text = text.strip()
    if text in ("host", "llvm"):
        return host_target()
    target = _target(text)
    if target.kind.name == "llvm":
        _check_cpu(target, text)
    return _canonical(target)


def _target(text: str) -> Any:
    if text.startswith("{"):
        try:
            written = json.loads(text)
        except json.JSONDecodeError as error:
            raise InvalidInput(f"target {text!r} is not valid JSON: {error}") from error
        try:
            return Target(written)
        except (ValueError, TypeError, AttributeError, RuntimeError) as error:
            reason = _last_line(error)
            kind = str(written.get("kind", ""))
            hint = "" if kind in _kinds() else _suggested(kind, _kinds())
            raise InvalidInput(f"target {text!r}: {reason}{hint}") from error
    try:
        return Target(text)
    except (ValueError, TypeError, RuntimeError) as error:
        names = ["host", *_kinds(), *(str(tag) for tag in tvm.target.list_tags())]
        raise InvalidInput(f"unknown target {text!r}{_suggested(text, names)}") from error


def _check_cpu(target: Any, text: str) -> None:
    exported = target.export()
    if "num-cores" not in exported:
        raise InvalidInput(f'target {text!r} has no "num-cores": say how many cores the device has')
    cpu = exported.get("mcpu")
    known = [str(name) for name in codegen.llvm_get_cpu_archlist(target)]
    if cpu and known and cpu not in known:
        raise InvalidInput(f"target {text!r}: unknown mcpu {cpu!r}{_suggested(str(cpu), known)}")


def _kinds() -> list[str]:
    return sorted(str(kind) for kind in Target.list_kinds())


def _suggested(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.4) or [n for n in known if name and name in n]
    if near:
        return f"; did you mean {', '.join(near[:5])}?"
    return '; give "host", a TVM tag such as "raspberry-pi/4b-aarch64", or JSON such as {"kind": "llvm", ...}'


def _last_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()[-1:]), type(error).__name__)


def _canonical(target: Any) -> str:
    exported = _plain(target.export())
    kept = {k: v for k, v in exported.items() if k not in _DERIVED and not k.startswith("feature.")}
    host = exported.get("host")
    own = {k: v for k, v in exported.items() if k != "host"}
    if host and host != own:
        kept["host"] = json.loads(_canonical(Target(host)))
    if _plain(Target(kept).export()).get("keys") != exported.get("keys"):
        kept["keys"] = exported["keys"]
    return json.dumps(kept, sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    """FFI containers as Python's own."""
    if hasattr(value, "items"):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple) or type(value).__name__ == "Array":
        return [_plain(v) for v in value]
    return value if isinstance(value, bool | int | float) else str(value)
