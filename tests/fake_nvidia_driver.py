"""A fake NVIDIA driver: one GPU that NVML tells of, and that no CUDA call finds.

Two shared libraries under the real ones' names, for a machine without a GPU: with them on LD_LIBRARY_PATH everything
of ours up to the device call is the real thing, NVIDIA's Python package and CUDA's runtime among it.
"""

import subprocess
from pathlib import Path

from tunefarm_coordinator.engines.cuda.driver import DRIVER_FUNCTIONS

UUID = "GPU-fa4e0000-0000-0000-0000-000000000000"
NAME = "NVIDIA Fake H100"
CELSIUS = 41

_NVML = f"""
#include <string.h>
typedef struct {{ unsigned long long total, free, used; }} memory_t;
static int gpu;
int nvmlInitWithFlags(unsigned flags) {{ (void)flags; return 0; }}
int nvmlDeviceGetCount_v2(unsigned* count) {{ *count = 1; return 0; }}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** handle) {{ *handle = &gpu; return index == 0 ? 0 : 2; }}
int nvmlDeviceGetHandleByUUID(const char* uuid, void** handle) {{ *handle = &gpu; return strcmp(uuid, "{UUID}"); }}
int nvmlDeviceGetUUID(void* h, char* uuid, unsigned size) {{ (void)h; strncpy(uuid, "{UUID}", size); return 0; }}
int nvmlDeviceGetName(void* h, char* name, unsigned size) {{ (void)h; strncpy(name, "{NAME}", size); return 0; }}
int nvmlDeviceGetCudaComputeCapability(void* h, int* a, int* b) {{ (void)h; *a = 9; *b = 0; return 0; }}
int nvmlDeviceGetMemoryInfo(void* h, memory_t* m) {{ (void)h; m->total = 80ull << 30; return 0; }}
int nvmlDeviceGetTemperature(void* h, int sensor, unsigned* t) {{ (void)h; (void)sensor; *t = {CELSIUS}; return 0; }}
"""
# CUDA_ERROR_NO_DEVICE, whatever is asked; CUDA's runtime asks for the driver's version first.
_CUDA = """
int cuDriverGetVersion(int* version) { *version = 13000; return 0; }
int cuInit(unsigned flags) { (void)flags; return 100; }
""" + "".join(f"int {name}(void) {{ return 100; }}\n" for name in DRIVER_FUNCTIONS)


def build_fake_nvidia_driver(folder: Path) -> None:
    """Put the libraries into `folder`."""
    for name, source in (("libnvidia-ml.so.1", _NVML), ("libcuda.so.1", _CUDA)):
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-x", "c", "-", "-o", str(folder / name)]
        subprocess.run(command, input=source, text=True, check=True)
