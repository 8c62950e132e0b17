// What the parts of the fake device share; they are one library, libcuda.so.1, which libcudart.so.13 is a front of.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define SLOTS 64
#define UUID "GPU-fa4e0000-0000-0000-0000-000000000000"
#define NAME "NVIDIA Fake H100"

// CUDA's codes, the same in the driver and the runtime.
enum {
    OK = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    INVALID_IMAGE = 200,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
    LAUNCH_OUT_OF_RESOURCES = 701,
    CAPTURE_UNSUPPORTED = 900,
};

// One page that every process maps: the tests write its first part, the processes the second. See fake_cuda.py.
typedef struct {
    uint64_t memory;            // bytes
    uint64_t others;            // bytes of it that processes elsewhere hold
    uint64_t error;             // what every call answers; 0: the device works
    uint64_t error_at_launch;   // launches after which it does so by itself; 0: never
    uint64_t launches, allocations, to_device, from_device, on_device, graph_launches;
    struct { int64_t pid; uint64_t bytes; } held[SLOTS];
} control_t;

// A kernel as the fake nvcc compiles it.
typedef struct {
    void (*call)(void** arguments);
    int count;
    const int* sizes;           // bytes of each argument
    const char* is_pointer;
} kernel_t;

typedef struct { unsigned x, y, z; } extent_t;

// What kernels call; `thread` is the running one's index.
typedef struct {
    extent_t thread, block, block_extent, grid_extent;
    void* dynamic_shared;
    void (*barrier)(void);
    void (*warp_barrier)(void);
    uint64_t (*shuffle)(uint64_t value, int source);
    int (*lane)(void);
    unsigned (*active)(void);
    // Copies that a thread asks for may arrive at any time until it has waited for their group.
    void (*copy_later)(uint64_t to, const void* from, unsigned bytes);
    void (*commit_copies)(void);
    void (*wait_for_copies)(unsigned groups_left);
} device_api_t;

typedef struct {
    const kernel_t* kernel;
    extent_t grid, block;
    size_t shared;
    void* arguments[64];
    uint64_t values[64][4];
} launch_t;

extern control_t* control;
extern device_api_t device_api;

// control.c
int status(void);               // OK, or what is wrong with the device or this process's context
void break_context(int error);  // from now on every call answers this
uint64_t held_by_all(void);
void hold(int64_t bytes);       // more, or fewer, for this process
int lives(int64_t pid);

// memory.c
int allocate(void** pointer, size_t bytes);
int release(void* pointer);
int copy(void* to, const void* from, size_t bytes, int kind);
int fill(void* pointer, int value, size_t bytes);
void* storage_of(const void* pointer);      // NULL: not device memory
void* nowhere(void);                        // an address that nobody may touch

// execution.c
int prepare_launch(launch_t* launch, void** arguments);
int execute(const launch_t* launch);

// graphs.c
int capturing(void);
int capture_launch(const launch_t* launch);
int capture_copy(void* to, const void* from, size_t bytes, int kind);
int begin_capture(void);
int end_capture(void** graph);
int launch_graph(void* graph);

// The device's own time, in nanoseconds: made up, the same for the same work.
extern uint64_t device_time;
// Moves on with whatever changes the device's memory.
extern uint64_t memory_version;
