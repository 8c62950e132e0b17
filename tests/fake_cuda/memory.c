// Device memory: its addresses are mapped for nobody, its bytes lie elsewhere, a constant away.
#define _GNU_SOURCE
#include "device.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define RANGE (64ull << 30)
#define PAGE 4096ull
#define MOST 65536
// What is filled with a pattern, as nobody may count on zeros; more would cost real memory.
#define FILLED (64ull << 20)

static char *addresses, *bytes_of_range;
// By address. Between two lies a page at least that is nobody's.
static struct { uint64_t start, size, span; } blocks[MOST];
static int count;

static void reserve(void) {
    if (addresses) return;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    addresses = mmap(NULL, RANGE, PROT_NONE, flags, -1, 0);
    bytes_of_range = mmap(NULL, RANGE, PROT_NONE, flags, -1, 0);
    if (addresses == MAP_FAILED || bytes_of_range == MAP_FAILED) abort();
}

int allocate(void** pointer, size_t size) {
    reserve();
    *pointer = NULL;
    if (size == 0) return OK;
    if (size > control->memory || held_by_all() + size > control->memory || count == MOST) return OUT_OF_MEMORY;
    uint64_t span = (size + PAGE - 1) / PAGE * PAGE, start = PAGE;
    int at = 0;
    for (; at < count && blocks[at].start < start + span + PAGE; at++) start = blocks[at].start + blocks[at].span + PAGE;
    if (start + span + PAGE > RANGE) return OUT_OF_MEMORY;
    if (mprotect(bytes_of_range + start, span, PROT_READ | PROT_WRITE)) return OUT_OF_MEMORY;
    memmove(&blocks[at + 1], &blocks[at], sizeof blocks[0] * (size_t)(count++ - at));
    blocks[at].start = start, blocks[at].size = size, blocks[at].span = span;
    if (span <= FILLED) memset(bytes_of_range + start, 0xff, span);
    hold((int64_t)span);
    memory_version++;
    __sync_fetch_and_add(&control->allocations, 1);
    *pointer = addresses + start;
    return OK;
}

int release(void* pointer) {
    if (pointer == NULL) return OK;
    for (int i = 0; i < count; i++)
        if (addresses + blocks[i].start == pointer) {
            char* bytes = bytes_of_range + blocks[i].start;
            madvise(bytes, blocks[i].span, MADV_DONTNEED);
            mprotect(bytes, blocks[i].span, PROT_NONE);
            hold(-(int64_t)blocks[i].span);
            memory_version++;
            memmove(&blocks[i], &blocks[i + 1], sizeof blocks[0] * (size_t)(--count - i));
            return OK;
        }
    return INVALID_VALUE;
}

static int is_address(const void* pointer) {
    return addresses && (char*)pointer >= addresses && (char*)pointer < addresses + RANGE;
}

void* storage_of(const void* pointer) {
    return is_address(pointer) ? bytes_of_range + ((char*)pointer - addresses) : NULL;
}

void* nowhere(void) {
    reserve();
    return addresses;
}

// All of it in one block.
static void* on_device(const void* pointer, size_t size) {
    if (!is_address(pointer)) return NULL;
    uint64_t start = (uint64_t)((char*)pointer - addresses);
    for (int i = 0; i < count; i++)
        if (blocks[i].start <= start && start + size <= blocks[i].start + blocks[i].size) return bytes_of_range + start;
    return NULL;
}

static void* on_host(const void* pointer) {
    return is_address(pointer) ? NULL : (void*)pointer;
}

// `kind`: cudaMemcpyKind.
int copy(void* to, const void* from, size_t size, int kind) {
    if (size == 0) return OK;
    if (kind == 4) kind = (is_address(from) ? 2 : 0) + (is_address(to) ? 1 : 0);
    void* target = kind == 1 || kind == 3 ? on_device(to, size) : on_host(to);
    const void* source = kind == 2 || kind == 3 ? on_device(from, size) : on_host(from);
    if (target == NULL || source == NULL) return INVALID_VALUE;
    memmove(target, source, size);
    __sync_fetch_and_add(kind == 1 ? &control->to_device : kind == 2 ? &control->from_device : &control->on_device, 1);
    device_time += 1000 + size / 16;
    memory_version++;
    return OK;
}

int fill(void* pointer, int value, size_t size) {
    void* target = on_device(pointer, size);
    if (target == NULL) return size ? INVALID_VALUE : OK;
    memset(target, value, size);
    memory_version++;
    return OK;
}
