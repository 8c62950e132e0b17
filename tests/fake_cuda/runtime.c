// CUDA's runtime, as far as TVM asks for it: a front of libcuda.so.1.
#include "device.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int cuGetErrorName(int code, const char** name);
int cuGetErrorString(int code, const char** meaning);

static __thread int last_error;

static int answer(int error) {
    if (error) last_error = error;
    return error;
}

// What may not happen while a stream is captured.
static int refused(void) { return capturing() ? CAPTURE_UNSUPPORTED : status(); }

int cudaGetLastError(void) {
    int error = last_error;
    last_error = OK;
    return error ? error : status();
}

int cudaPeekAtLastError(void) { return last_error ? last_error : status(); }

const char* cudaGetErrorString(int code) {
    const char* text;
    cuGetErrorString(code, &text);
    return text;
}

const char* cudaGetErrorName(int code) {
    static __thread char name[80];
    const char* text;
    cuGetErrorName(code, &text);
    // The runtime's own names; the one that programs look for is unlike the driver's.
    snprintf(name, sizeof name, "cudaError%s", code == OUT_OF_MEMORY ? "MemoryAllocation" : text);
    return name;
}

int cudaGetDeviceCount(int* count) {
    int error = status();
    *count = error ? 0 : 1;
    return answer(error);
}

int cudaGetDevice(int* device) {
    *device = 0;
    return answer(status());
}

int cudaSetDevice(int device) { return answer(device ? 101 : status()); }

int cudaDeviceGetAttribute(int* value, int attribute, int device) {
    static const struct { int attribute, value; } known[] = {
        {1, 1024}, {2, 1024}, {3, 1024}, {4, 64}, {5, 2147483647}, {6, 65535}, {7, 65535}, {8, 48 << 10}, {10, 32},
        {12, 65536}, {13, 1980000}, {16, 132}, {38, 50 << 20}, {39, 2048}, {75, 9}, {76, 0}, {81, 228 << 10},
        {82, 65536}, {97, 227 << 10},
    };
    *value = 0;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].attribute == attribute) *value = known[i].value;
    return answer(device ? 101 : status());
}

// cudaDeviceProp of CUDA 13 has 1008 bytes; these are the places of what is known.
int cudaGetDeviceProperties(char* properties, int device) {
    memset(properties, 0, 1008);
    strcpy(properties, NAME);
    uint64_t memory = control->memory, shared = 48 << 10;
    memcpy(properties + 288, &memory, 8);
    memcpy(properties + 296, &shared, 8);
    const struct { int place, value; } known[] = {
        {304, 65536}, {308, 32}, {320, 1024}, {360, 9}, {364, 0}, {384, 132}, {596, 50 << 20}, {604, 2048},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) memcpy(properties + known[i].place, &known[i].value, 4);
    return answer(device ? 101 : status());
}

int cudaMemGetInfo(size_t* available, size_t* total) {
    uint64_t held = held_by_all();
    *total = control->memory;
    *available = held < *total ? *total - held : 0;
    return answer(refused());
}

int cudaMalloc(void** pointer, size_t bytes) {
    int error = refused();
    return answer(error ? error : allocate(pointer, bytes));
}

int cudaFree(void* pointer) {
    int error = refused();
    return answer(error ? error : release(pointer));
}

int cudaMallocHost(void** pointer, size_t bytes) {
    int error = refused();
    if (error) return answer(error);
    return answer(posix_memalign(pointer, 4096, bytes ? bytes : 1) ? OUT_OF_MEMORY : OK);
}

int cudaFreeHost(void* pointer) {
    free(pointer);
    return OK;
}

int cudaMemcpyAsync(void* to, const void* from, size_t bytes, int kind, void* stream) {
    (void)stream;
    int error = status();
    if (error) return answer(error);
    return answer(capturing() ? capture_copy(to, from, bytes, kind) : copy(to, from, bytes, kind));
}

int cudaMemcpyPeerAsync(void* to, int device, const void* from, int other, size_t bytes, void* stream) {
    return device || other ? answer(101) : cudaMemcpyAsync(to, from, bytes, 3, stream);
}

int cudaMemsetAsync(void* pointer, int value, size_t bytes, void* stream) {
    (void)stream;
    int error = refused();
    return answer(error ? error : fill(pointer, value, bytes));
}

int cudaMemset(void* pointer, int value, size_t bytes) { return cudaMemsetAsync(pointer, value, bytes, NULL); }

// Streams and events: all work is done in the order it comes, so that a stream is but a handle.
int cudaStreamCreate(void** stream) {
    *stream = malloc(1);
    return answer(status());
}

int cudaStreamCreateWithFlags(void** stream, unsigned flags) {
    (void)flags;
    return cudaStreamCreate(stream);
}

int cudaStreamDestroy(void* stream) {
    free(stream);
    return answer(status());
}

int cudaStreamSynchronize(void* stream) {
    (void)stream;
    return answer(refused());
}

int cudaDeviceSynchronize(void) { return answer(refused()); }

int cudaStreamWaitEvent(void* stream, void* event, unsigned flags) {
    (void)stream, (void)event, (void)flags;
    return answer(status());
}

int cudaEventCreate(uint64_t** event) {
    *event = calloc(1, sizeof **event);
    return answer(status());
}

int cudaEventDestroy(uint64_t* event) {
    free(event);
    return answer(status());
}

int cudaEventRecord(uint64_t* event, void* stream) {
    (void)stream;
    *event = device_time;
    return answer(status());
}

int cudaEventSynchronize(uint64_t* event) {
    (void)event;
    return answer(refused());
}

int cudaEventElapsedTime(float* milliseconds, const uint64_t* from, const uint64_t* to) {
    *milliseconds = (float)(*to - *from) / 1e6f;
    return answer(status());
}

int cudaStreamBeginCapture(void* stream, int mode) {
    (void)mode;
    int error = status();
    // The default stream can't be captured.
    return answer(error ? error : stream ? begin_capture() : CAPTURE_UNSUPPORTED);
}

int cudaStreamEndCapture(void* stream, void** graph) {
    (void)stream;
    int error = end_capture(graph);
    return answer(error ? error : status());
}

int cudaGraphInstantiate(void** executable, void* graph, unsigned long long flags) {
    (void)flags;
    *executable = graph;
    return answer(status());
}

int cudaGraphLaunch(void* executable, void* stream) {
    (void)stream;
    int error = refused();
    return answer(error ? error : launch_graph(executable));
}

// A graph lives on in what was made of it: neither is ever freed.
int cudaGraphDestroy(void* graph) {
    (void)graph;
    return answer(status());
}

int cudaGraphExecDestroy(void* executable) {
    (void)executable;
    return answer(status());
}
