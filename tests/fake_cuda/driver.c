// What TVM's CUDA runtime asks of the driver: modules, functions, launches.
#define _GNU_SOURCE
#include "device.h"
#include <dlfcn.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
    extent_t grid, block;
    unsigned shared;
    void* stream;
    void* attributes;
    unsigned attribute_count;
} config_t;

int cuDriverGetVersion(int* version) {
    *version = 13000;
    return OK;
}

int cuInit(unsigned flags) {
    (void)flags;
    return status();
}

int cuDeviceGetName(char* name, int size, int device) {
    snprintf(name, (size_t)size, "%s", NAME);
    return device ? INVALID_VALUE : status();
}

static const struct { int code; const char *name, *meaning; } errors[] = {
    {OK, "SUCCESS", "no error"},
    {INVALID_VALUE, "INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "OUT_OF_MEMORY", "out of memory"},
    {46, "DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
    {NO_DEVICE, "NO_DEVICE", "no CUDA-capable device is detected"},
    {INVALID_IMAGE, "INVALID_IMAGE", "device kernel image is invalid"},
    {INVALID_HANDLE, "INVALID_HANDLE", "invalid resource handle"},
    {NOT_FOUND, "NOT_FOUND", "named symbol not found"},
    {ILLEGAL_ADDRESS, "ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {LAUNCH_OUT_OF_RESOURCES, "LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {CAPTURE_UNSUPPORTED, "STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
};

static int text(int code, const char** out, int meaning) {
    *out = "unknown error";
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i].code == code) *out = meaning ? errors[i].meaning : errors[i].name;
    return OK;
}

int cuGetErrorName(int code, const char** name) { return text(code, name, 0); }
int cuGetErrorString(int code, const char** meaning) { return text(code, meaning, 1); }

static size_t size_of_image(const void* image) {
    const Elf64_Ehdr* header = image;
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_machine != EM_X86_64) return 0;
    return header->e_shoff + (size_t)header->e_shnum * header->e_shentsize;
}

static void* opened(const void* image, size_t size) {
    char path[64];
    int file = memfd_create("fake-cuda-module", MFD_CLOEXEC);
    if (file < 0 || write(file, image, size) != (ssize_t)size) return NULL;
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) fprintf(stderr, "fake CUDA: %s\n", dlerror());
    // Not closed: while the number is taken, no other module is taken for this one.
    return handle;
}

int cuModuleLoadData(void** module, const void* image) {
    if (status()) return status();
    size_t size = size_of_image(image);
    *module = size ? opened(image, size) : NULL;
    if (!*module) return INVALID_IMAGE;
    const device_api_t** api = dlsym(*module, "fake_device");
    if (!api) return INVALID_IMAGE;
    *api = &device_api;
    return OK;
}

int cuModuleUnload(void* module) {
    memory_version++;
    dlclose(module);
    return OK;
}

int cuModuleGetFunction(void** function, void* module, const char* name) {
    char symbol[1024];
    snprintf(symbol, sizeof symbol, "fake_kernel_%s", name);
    *function = dlsym(module, symbol);
    return *function ? status() : NOT_FOUND;
}

int cuFuncSetAttribute(void* function, int attribute, int value) {
    (void)function;
    // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: of a block on compute capability 9.0.
    return attribute == 8 && value > (227 << 10) ? INVALID_VALUE : status();
}

int cuLaunchKernelEx(const config_t* config, void* function, void** arguments, void** extra) {
    if (status()) return status();
    if (!function || extra) return INVALID_HANDLE;
    launch_t launch = {.kernel = function, .grid = config->grid, .block = config->block, .shared = config->shared};
    int error = prepare_launch(&launch, arguments);
    if (error) return error;
    return capturing() ? capture_launch(&launch) : execute(&launch);
}

int cuTensorMapEncodeTiled(void) { return INVALID_VALUE; }
