"""Kernels that do what no kernel should, as shared libraries for tests to inject.

Each exports `main` in TVM's packed calling convention (tvm/ffi/c_api.h) and takes (input, output), float32.
`GOOD` is the honest one: output = input + 1.
"""

import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import tvm_ffi

_SOURCE = """
#define _GNU_SOURCE
#include <dlpack/dlpack.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <tvm/ffi/c_api.h>
#include <unistd.h>

static DLTensor* tensor(const TVMFFIAny* arg) {
  if (arg->type_index == kTVMFFIDLTensorPtr) return (DLTensor*)arg->v_ptr;
  return (DLTensor*)((char*)arg->v_obj + sizeof(TVMFFIObject));
}

static int64_t size(const DLTensor* t) {
  int64_t n = 1;
  for (int i = 0; i < t->ndim; ++i) n *= t->shape[i];
  return n;
}

static void add(const DLTensor* in, DLTensor* out, float what) {
  const float* a = (const float*)((char*)in->data + in->byte_offset);
  float* b = (float*)((char*)out->data + out->byte_offset);
  int64_t n = size(in);
  for (int64_t i = 0; i < n; ++i) b[i] = a[i] + what;
}

static void daemonise(void) {
  if (fork() == 0) {
    setsid();
    if (fork() != 0) _exit(0);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    for (;;) sleep(1000);
  }
}

__attribute__((visibility("default")))
int %(symbol)s(void* self, const TVMFFIAny* args, int32_t count, TVMFFIAny* result) {
  DLTensor* in = tensor(&args[0]);
  DLTensor* out = tensor(&args[1]);
  (void)self; (void)count;
  result->type_index = kTVMFFINone;
  result->zero_padding = 0;
  result->v_int64 = 0;
  %(body)s
  return 0;
}
"""

GOOD = "add(in, out, 1.0f);"

# Name: (C statements, the one failure that they end as; empty: measured, as the output is right).
HOSTILE: dict[str, tuple[str, str]] = {
    "segfault": ("*(volatile int*)0 = 1;", "RUN_ERROR"),
    "abort": ("abort();", "RUN_ERROR"),
    "exit": ("exit(3);", "RUN_ERROR"),
    "killed": ("kill(getpid(), SIGKILL); sleep(1000);", "RUN_ERROR"),
    "raises": ('TVMFFIErrorSetRaisedFromCStr("ValueError", "told so"); return -1;', "RUN_ERROR"),
    "memory_bomb": (
        "for (;;) { char* p = malloc(64 << 20); memset(p, 1, 64 << 20); }",
        "RUN_ERROR",
    ),
    "closes_files": ("for (int i = 0; i < 1024; ++i) close(i);", "RUN_ERROR"),
    "loops": ("for (volatile int i = 0;; ++i) {}", "RUN_TIMEOUT"),
    "loops_deaf": (
        "signal(SIGTERM, SIG_IGN); signal(SIGINT, SIG_IGN); for (volatile int i = 0;; ++i) {}",
        "RUN_TIMEOUT",
    ),
    "daemon_then_loop": ("daemonise(); for (;;) sleep(1000);", "RUN_TIMEOUT"),
    "daemon_then_crash": ("daemonise(); *(volatile int*)0 = 1;", "RUN_ERROR"),
    "daemon": ("static int once; if (!once++) daemonise(); add(in, out, 1.0f);", ""),
    "wrong": ("add(in, out, 1.5f);", "WRONG_OUTPUT"),
    "nan": ("add(in, out, NAN);", "WRONG_OUTPUT"),
    "lazy": (";", "WRONG_OUTPUT"),
    "spoils_input": (
        "memset((char*)in->data + in->byte_offset, 0, 4 * size(in)); add(in, out, 1.0f);",
        "WRONG_OUTPUT",
    ),
    "chatty": ('puts("{\\"ok\\": {}}"); fflush(stdout); add(in, out, 1.0f);', ""),
}


@cache
def library(body: str, symbol: str = "__tvm_ffi_main") -> bytes:
    """A linked shared library whose kernel runs these C statements."""
    includes = [tvm_ffi.libinfo.find_include_path(), tvm_ffi.libinfo.find_dlpack_include_path()]
    with TemporaryDirectory() as folder:
        source, linked = Path(folder, "kernel.c"), Path(folder, "kernel.so")
        source.write_text(_SOURCE % {"body": body, "symbol": symbol})
        flags = [f"-I{path}" for path in includes]
        subprocess.run(["cc", "-O1", "-w", "-shared", "-fPIC", *flags, str(source), "-o", str(linked)], check=True)
        return linked.read_bytes()


def good() -> bytes:
    """The honest kernel: output = input + 1."""
    return library(GOOD)


def hostile(name: str) -> bytes:
    """The library of one of `HOSTILE`."""
    return library(HOSTILE[name][0])


def nameless() -> bytes:
    """A library without the entry that is looked for: LOAD_ERROR."""
    return library(GOOD, symbol="__tvm_ffi_other")
