"""From what a CPU says of itself to the name that LLVM has for it. Small on purpose: unknown ones fall back.

Sources: LLVM's Host.cpp (families and models), the x86-64 psABI (feature levels), Arm's MIDR part numbers.
"""

from collections.abc import Mapping

_V2 = {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}
_V3 = _V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_LEVELS = (("x86-64-v4", _V4), ("x86-64-v3", _V3), ("x86-64-v2", _V2))

_ZEN4 = _V4 | {"avx512_vbmi2", "avx512_vnni", "avx512_bf16", "avx512_bitalg", "gfni", "vaes", "vpclmulqdq"}
_ICE_LAKE = _V4 | {"avx512_vbmi2", "avx512_vnni", "avx512_bitalg", "gfni", "vaes", "vpclmulqdq"}
# Newest first; the first whose features are all there is it. A hypervisor may hide some.
_INTEL = (
    ("sapphirerapids", _ICE_LAKE | {"avx512_bf16", "avx512_fp16", "amx_tile"}),
    ("icelake-server", _ICE_LAKE),
    ("cascadelake", _V4 | {"avx512_vnni"}),
    ("skylake-avx512", _V4),
    ("haswell", _V3),
)
_ARM_PARTS = {
    "0xd03": "cortex-a53",
    "0xd04": "cortex-a35",
    "0xd05": "cortex-a55",
    "0xd07": "cortex-a57",
    "0xd08": "cortex-a72",
    "0xd09": "cortex-a73",
    "0xd0a": "cortex-a75",
    "0xd0b": "cortex-a76",
    "0xd0c": "neoverse-n1",
    "0xd40": "neoverse-v1",
    "0xd41": "cortex-a78",
    "0xd49": "neoverse-n2",
    "0xd4f": "neoverse-v2",
}


def llvm_cpu(architecture: str, cpu: Mapping[str, str]) -> str:
    """LLVM's name for a CPU, by its first block of /proc/cpuinfo; "generic" where nothing is known."""
    if architecture == "aarch64":
        return _ARM_PARTS.get(cpu.get("CPU part", ""), "generic")
    if architecture != "x86_64":
        return "generic"
    flags = set(cpu.get("flags", "").split())
    if cpu.get("vendor_id") == "AuthenticAMD":
        name, needs = _zen(int(cpu.get("cpu family", "0")), int(cpu.get("model", "0")))
        if name and needs <= flags:
            return name
    elif cpu.get("vendor_id") == "GenuineIntel":
        found = next((name for name, needs in _INTEL if needs <= flags), "")
        if found:
            return found
    return next((name for name, needs in _LEVELS if needs <= flags), "x86-64")


def _zen(family: int, model: int) -> tuple[str, set[str]]:
    if family == 0x17:
        return ("znver2" if model >= 0x30 else "znver1"), _V3
    if family == 0x19:
        zen4 = 0x10 <= model <= 0x1F or 0x60 <= model <= 0x7F or 0xA0 <= model <= 0xAF
        return ("znver4", _ZEN4) if zen4 else ("znver3", _V3 | {"vaes", "vpclmulqdq"})
    if family == 0x1A:
        return "znver5", _ZEN4 | {"avx_vnni", "avx512_vp2intersect"}
    return "", set()
