// Runs a kernel's CPU build: block after block, the threads of a block as fibers on one thread of the host.
#define _GNU_SOURCE
#include "device.h"
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef __x86_64__
#error "the fake device switches its fibers in x86-64 assembly"
#endif

#define THREADS 1024
#define WARP 32
#define STACK (256u << 10)
#define SHARED (227u << 10)
#define FELL_OFF 46         // cudaErrorDevicesUnavailable

enum { READY, AT_WARP, AT_BLOCK, DONE };

typedef struct { void* to; const void* from; unsigned bytes, group; } copy_t;

static struct {
    void* stack;
    int state;
    extent_t index;
    uint64_t said[2];
    unsigned turn;
    copy_t* copies;
    unsigned copy_count, copy_room, group;
} fibers[THREADS];
static int fiber_count, current;
static char* stacks;
static void* scheduler;
static const launch_t* running;
static void** running_arguments;
static char shared_memory[SHARED] __attribute__((aligned(1024)));
static sigjmp_buf faulted;
uint64_t device_time, memory_version;
static launch_t last;
static uint64_t last_version = ~0ull;

void fake_switch(void** save, void* to);
__asm__(".text\n.globl fake_switch\n.hidden fake_switch\n.type fake_switch,@function\nfake_switch:\n"
        "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
        "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
        "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");

static void leave(int state) {
    fibers[current].state = state;
    fake_switch(&fibers[current].stack, scheduler);
}

static void fiber_main(void) {
    running->kernel->call(running_arguments);
    leave(DONE);
}

static void barrier(void) { leave(AT_BLOCK); }
static void warp_barrier(void) { leave(AT_WARP); }
static int lane(void) { return current % WARP; }

// Two places for what a lane says: the slowest reader is at most one exchange behind.
static uint64_t shuffle(uint64_t value, int source) {
    unsigned turn = fibers[current].turn++ & 1;
    fibers[current].said[turn] = value;
    leave(AT_WARP);
    int from = current / WARP * WARP + source;
    return from < fiber_count ? fibers[from].said[turn] : value;
}

static unsigned active(void) {
    unsigned mask = 0;
    for (int i = 0, first = current / WARP * WARP; i < WARP && first + i < fiber_count; i++)
        if (fibers[first + i].state != DONE) mask |= 1u << i;
    return mask;
}

// Every other thread's copies arrive at once, the rest's as late as they may: neither is to be counted on.
static void copy_later(uint64_t to, const void* from, unsigned bytes) {
    if (current % 2 == 0) {
        memcpy((void*)to, from, bytes);
        return;
    }
    if (fibers[current].copy_count == fibers[current].copy_room) {
        fibers[current].copy_room = fibers[current].copy_room * 2 + 16;
        fibers[current].copies = realloc(fibers[current].copies, sizeof(copy_t) * fibers[current].copy_room);
    }
    copy_t copy = {(void*)to, from, bytes, fibers[current].group};
    fibers[current].copies[fibers[current].copy_count++] = copy;
}

static void commit_copies(void) { fibers[current].group++; }

static void wait_for_copies(unsigned groups_left) {
    unsigned kept = 0;
    for (unsigned i = 0; i < fibers[current].copy_count; i++) {
        copy_t copy = fibers[current].copies[i];
        if (copy.group + groups_left < fibers[current].group) memcpy(copy.to, copy.from, copy.bytes);
        else fibers[current].copies[kept++] = copy;
    }
    fibers[current].copy_count = kept;
}

device_api_t device_api = {
    .copy_later = copy_later, .commit_copies = commit_copies, .wait_for_copies = wait_for_copies, .barrier = barrier, .warp_barrier = warp_barrier, .shuffle = shuffle, .lane = lane, .active = active,
    .dynamic_shared = shared_memory,
};

static void fault(int number) { siglongjmp(faulted, number); }

static void set_up(int i, extent_t block) {
    void** top = (void**)(stacks + (size_t)(i + 1) * STACK) - 2;
    top[0] = (void*)fiber_main;
    fibers[i].stack = top - 6;
    fibers[i].state = READY;
    fibers[i].turn = fibers[i].copy_count = fibers[i].group = 0;
    fibers[i].index = (extent_t){(unsigned)i % block.x, (unsigned)i / block.x % block.y, (unsigned)i / (block.x * block.y)};
}

// Until each of the warp's lanes is at the block's barrier or done; how many are done.
static int run_warp(int first, int end) {
    for (;;) {
        int waiting = 0, done = 0;
        for (int i = first; i < end; i++) {
            if (fibers[i].state == READY) {
                current = i;
                device_api.thread = fibers[i].index;
                fake_switch(&scheduler, fibers[i].stack);
            }
            waiting += fibers[i].state == AT_WARP;
            done += fibers[i].state == DONE;
        }
        if (!waiting) return done;
        for (int i = first; i < end; i++)
            if (fibers[i].state == AT_WARP) fibers[i].state = READY;
    }
}

static void run_block(void) {
    extent_t block = running->block;
    fiber_count = (int)(block.x * block.y * block.z);
    for (int i = 0; i < fiber_count; i++) set_up(i, block);
    memset(shared_memory, 0xff, running->shared);
    for (;;) {
        int done = 0;
        for (int first = 0; first < fiber_count; first += WARP)
            done += run_warp(first, first + WARP < fiber_count ? first + WARP : fiber_count);
        if (done == fiber_count) return;
        for (int i = 0; i < fiber_count; i++)
            if (fibers[i].state == AT_BLOCK) fibers[i].state = READY;
    }
}

static void run_grid(void) {
    extent_t grid = running->grid;
    device_api.block_extent = running->block;
    device_api.grid_extent = grid;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                device_api.block = (extent_t){x, y, z};
                run_block();
            }
}

int prepare_launch(launch_t* launch, void** arguments) {
    const kernel_t* kernel = launch->kernel;
    uint64_t threads = (uint64_t)launch->block.x * launch->block.y * launch->block.z;
    uint64_t blocks = (uint64_t)launch->grid.x * launch->grid.y * launch->grid.z;
    if (!threads || !blocks || threads > THREADS || launch->shared > SHARED || kernel->count > 64) return INVALID_VALUE;
    memset(launch->values, 0, sizeof launch->values);
    for (int i = 0; i < kernel->count; i++) {
        if (kernel->sizes[i] > (int)sizeof launch->values[i]) return INVALID_VALUE;
        memcpy(launch->values[i], arguments[i], (size_t)kernel->sizes[i]);
        void* pointer = (void*)launch->values[i][0];
        if (kernel->is_pointer[i] && pointer) {
            void* storage = storage_of(pointer);
            launch->values[i][0] = (uint64_t)(storage ? storage : nowhere());
        }
    }
    return OK;
}

// TVM's kernels read nothing that they write: one that is launched again, with nothing done in between, has done its
// work. What is timed hundreds of times runs once.
static int is_repetition(const launch_t* launch) {
    return last_version == memory_version && last.kernel == launch->kernel &&
           !memcmp(&last.grid, &launch->grid, sizeof last.grid) && !memcmp(&last.block, &launch->block, sizeof last.block) &&
           !memcmp(last.values, launch->values, sizeof last.values);
}

static void count_launch(const launch_t* launch) {
    uint64_t launches = __sync_add_and_fetch(&control->launches, 1);
    if (control->error_at_launch && launches >= control->error_at_launch) control->error = FELL_OFF;
    uint64_t threads = (uint64_t)launch->block.x * launch->block.y * launch->block.z;
    device_time += 2000 + threads * launch->grid.x * launch->grid.y * launch->grid.z;
}

// Like the real one's, its faults show when somebody waits for it.
int execute(const launch_t* launch) {
    count_launch(launch);
    if (status()) return status();
    if (is_repetition(launch)) return OK;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (!stacks) stacks = mmap(NULL, (size_t)THREADS * STACK, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (stacks == MAP_FAILED) abort();
    void* arguments[64];
    for (int i = 0; i < launch->kernel->count; i++) arguments[i] = (void*)launch->values[i];
    running = launch;
    running_arguments = arguments;
    struct sigaction catch = {.sa_handler = fault, .sa_flags = SA_NODEFER}, before[3];
    int signals[3] = {SIGSEGV, SIGBUS, SIGFPE};
    for (int i = 0; i < 3; i++) sigaction(signals[i], &catch, &before[i]);
    if (sigsetjmp(faulted, 1) == 0) run_grid();
    else break_context(ILLEGAL_ADDRESS);
    for (int i = 0; i < 3; i++) sigaction(signals[i], &before[i], NULL);
    last = *launch;
    last_version = ++memory_version;
    return OK;
}
