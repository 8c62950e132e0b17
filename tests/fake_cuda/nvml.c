// What the agent asks NVML.
#include "device.h"
#include <string.h>

#define GPU_IS_LOST 15
#define INSUFFICIENT_SIZE 7
#define CELSIUS 41

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned gpu, memory; } utilization_t;
typedef struct { unsigned pid; unsigned long long memory; unsigned instance, compute_instance; } process_t;

static int gpu;

static int state(void) { return control->error ? GPU_IS_LOST : 0; }

int nvmlInitWithFlags(unsigned flags) { (void)flags; return 0; }
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned* count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** handle) { *handle = &gpu; return index == 0 ? 0 : 2; }
int nvmlDeviceGetHandleByUUID(const char* uuid, void** handle) { *handle = &gpu; return strcmp(uuid, UUID) ? 6 : 0; }
int nvmlDeviceGetUUID(void* h, char* uuid, unsigned size) { (void)h; strncpy(uuid, UUID, size); return 0; }
int nvmlDeviceGetName(void* h, char* name, unsigned size) { (void)h; strncpy(name, NAME, size); return 0; }
int nvmlDeviceGetCudaComputeCapability(void* h, int* a, int* b) { (void)h; *a = 9; *b = 0; return 0; }

int nvmlDeviceGetMemoryInfo(void* h, memory_t* memory) {
    (void)h;
    memory->total = control->memory;
    memory->used = held_by_all();
    memory->free = memory->used < memory->total ? memory->total - memory->used : 0;
    return state();
}

int nvmlDeviceGetTemperature(void* h, int sensor, unsigned* t) {
    (void)h, (void)sensor;
    *t = CELSIUS;
    return state();
}

int nvmlDeviceGetUtilizationRates(void* h, utilization_t* rates) {
    (void)h;
    rates->gpu = rates->memory = 0;
    return state();
}

int nvmlDeviceGetClockInfo(void* h, int kind, unsigned* megahertz) {
    (void)h;
    *megahertz = kind == 2 ? 2619 : 1980;
    return state();
}

int nvmlDeviceGetMaxClockInfo(void* h, int kind, unsigned* megahertz) {
    return nvmlDeviceGetClockInfo(h, kind, megahertz);
}

int nvmlDeviceGetCurrentClocksEventReasons(void* h, unsigned long long* reasons) {
    (void)h;
    *reasons = 0;
    return state();
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void* h, unsigned long long* reasons) {
    return nvmlDeviceGetCurrentClocksEventReasons(h, reasons);
}

// Those that have memory of the device, or had.
int nvmlDeviceGetComputeRunningProcesses_v3(void* h, unsigned* count, process_t* processes) {
    (void)h;
    unsigned room = *count, found = 0;
    for (int i = 0; i < SLOTS; i++) {
        if (!control->held[i].pid || !lives(control->held[i].pid)) continue;
        if (found < room) processes[found] = (process_t){(unsigned)control->held[i].pid, control->held[i].bytes, 0, 0};
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : state();
}
