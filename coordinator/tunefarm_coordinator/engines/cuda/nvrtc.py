"""CUDA source to machine code in this process, with NVIDIA's run-time compiler.

Called through ctypes, which lets other threads run meanwhile: NVRTC compiles in several at once.
"""

import ctypes
import hashlib
from functools import cache
from typing import Any

from tunefarm_coordinator.engines.cuda import libraries

_LIBRARY = f"libnvrtc.so.{libraries.MAJOR}"
_BUILTINS = f"libnvrtc-builtins.so.{libraries.MAJOR}.*"

# TVM's source asks for these two headers of libcu++ to have a few names. They take 0.6 s to read, most kernels 0.2 s to
# compile: what it takes from them is this. (`long` has 64 bits where these kernels are compiled, as in stdint.h.)
_STAND_INS = {
    "cuda/std/cstdint": """
namespace cuda { namespace std {
using int8_t = signed char; using int16_t = short; using int32_t = int; using int64_t = long;
using uint8_t = unsigned char; using uint16_t = unsigned short; using uint32_t = unsigned int;
using uint64_t = unsigned long;
} }
""",
    "cuda/std/type_traits": """
namespace cuda { namespace std {
template <class T, T v> struct integral_constant { static constexpr T value = v; };
template <bool v> using truth = integral_constant<bool, v>;
template <class A, class B> struct is_same : truth<false> {};
template <class A> struct is_same<A, A> : truth<true> {};
template <class A, class B> constexpr bool is_same_v = is_same<A, B>::value;
template <bool yes, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { using type = T; };
template <bool yes, class A, class B> struct conditional { using type = A; };
template <class A, class B> struct conditional<false, A, B> { using type = B; };
template <class T> struct is_floating_point : truth<is_same_v<T, float> || is_same_v<T, double>> {};
template <class T> struct is_integral : truth<T(1.5f) == T(1)> {};
template <class T> struct is_signed : truth<(T(-1) < T(0))> {};
template <class T> struct is_unsigned : truth<(T(0) < T(-1))> {};
} }
""",
}
# What nvcc has from the host's headers.
_PRELUDE = """
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
"""


class Nvrtc:
    """The compiler. `version`: NVRTC's, and a digest of what is put before every source, as in "13.0+1a2b3c4d"."""

    name = "nvrtc"

    def __init__(self) -> None:
        """Raises OSError: it is not installed."""
        # NVRTC looks for its built-in functions where the loader does, and finds them if they are loaded already.
        for path in libraries.beside(_LIBRARY, _BUILTINS):
            ctypes.CDLL(str(path))
        self._library = libraries.load(_LIBRARY)
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        ours = hashlib.sha256(repr((_PRELUDE, _STAND_INS)).encode()).hexdigest()[:8]
        self.version = f"{major.value}.{minor.value}+{ours}"
        self._includes = [f"--include-path={folder}" for folder in libraries.header_folders()]

    def compile(self, source: str, arch: str, options: tuple[str, ...]) -> bytes:
        """The image for `arch` ("sm_90"), an ELF file. Raises RuntimeError with what the compiler says."""
        program = self._program(source)
        try:
            given = [f"--gpu-architecture={arch}", "--device-int128", *options, *self._includes]
            arguments = (ctypes.c_char_p * len(given))(*map(str.encode, given))
            failed = self._library.nvrtcCompileProgram(program, len(given), arguments)
            if failed:
                raise RuntimeError(self._text(program, "ProgramLog") or self._reason(failed))
            return self._bytes(program, "CUBIN")
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _program(self, source: str) -> ctypes.c_void_p:
        headers = _STAND_INS if _takes_stand_ins(source) else {}
        contents = (ctypes.c_char_p * len(headers))(*map(str.encode, headers.values()))
        names = (ctypes.c_char_p * len(headers))(*map(str.encode, headers))
        program = ctypes.c_void_p()
        code = (_PRELUDE + source).encode()
        self._call("nvrtcCreateProgram", ctypes.byref(program), code, b"kernel.cu", len(headers), contents, names)
        return program

    def _bytes(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, buffer)
        return buffer.raw

    def _text(self, program: ctypes.c_void_p, what: str) -> str:
        return self._bytes(program, what).rstrip(b"\0").decode(errors="replace").strip()

    def _call(self, function: str, *arguments: Any) -> None:
        failed = self._library[function](*arguments)
        if failed:
            raise RuntimeError(f"{function}: {self._reason(failed)}")

    def _reason(self, code: int) -> str:
        return str(self._library.nvrtcGetErrorString(code).decode())


def _takes_stand_ins(source: str) -> bool:
    """Whether nothing else of libcu++ is asked for, which would bring the real ones with it."""
    return source.count("#include <cuda/") == sum(source.count(f"#include <{name}>") for name in _STAND_INS)


@cache
def find() -> Nvrtc | None:
    """The compiler, None where it is not installed."""
    try:
        return Nvrtc()
    except OSError:
        return None
