// The control page, and what is wrong with the device.
#define _GNU_SOURCE
#include "device.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

control_t* control;
static int broken;

// Mapped when the library is loaded: by then the process may still read the folder, later it may be another user.
__attribute__((constructor)) static void map_control(void) {
    Dl_info info;
    char path[4096];
    if (!dladdr((void*)map_control, &info)) abort();
    snprintf(path, sizeof path, "%s", info.dli_fname);
    char* slash = strrchr(path, '/');
    strcpy(slash ? slash + 1 : path, "control");
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) {
        fprintf(stderr, "fake CUDA: %s: %s\n", path, strerror(errno));
        abort();
    }
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (control == MAP_FAILED) abort();
}

static int visible(void) {
    const char* wanted = getenv("CUDA_VISIBLE_DEVICES");
    return wanted == NULL || strcmp(wanted, "0") == 0 || strcmp(wanted, UUID) == 0;
}

int status(void) {
    if (!visible()) return NO_DEVICE;
    return control->error ? (int)control->error : broken;
}

void break_context(int error) {
    if (!broken) broken = error;
}

int lives(int64_t pid) {
    return kill((pid_t)pid, 0) == 0 || errno == EPERM;
}

uint64_t held_by_all(void) {
    uint64_t sum = control->others;
    for (int i = 0; i < SLOTS; i++)
        if (control->held[i].pid && lives(control->held[i].pid)) sum += control->held[i].bytes;
    return sum;
}

void hold(int64_t bytes) {
    for (int i = 0; i < SLOTS; i++)
        if (control->held[i].pid == getpid()) {
            control->held[i].bytes += (uint64_t)bytes;
            return;
        }
    for (int i = 0; i < SLOTS; i++) {
        int64_t pid = control->held[i].pid;
        if ((pid == 0 || !lives(pid)) && __sync_bool_compare_and_swap(&control->held[i].pid, pid, getpid())) {
            control->held[i].bytes = (uint64_t)bytes;
            return;
        }
    }
    abort();
}
