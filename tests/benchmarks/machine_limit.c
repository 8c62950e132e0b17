/* What this machine's cores can do: multiply-adds in registers, and bytes moved in working sets of several sizes.

   machine_limit THREADS KIB...   ->   {"gflops": G, "gbytes": {"KIB": G, ...}}

   A multiply-add is two operations. A byte read and a byte written count as two; a working set is what is read and what
   is written together. Each figure is the best of many repeats of about a millisecond: whoever shares the machine drops
   out of it. With several threads, all of them at once, each on a part of the working set. */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
typedef float vector __attribute__((vector_size(BYTES)));

enum { CHAINS = 12, STEPS = 4000, REPEATS = 150, MAX_THREADS = 256 };

typedef struct {
    int kind;
    size_t bytes;
    vector *from, *to;
    long passes;
    float kept;
} work;

static pthread_barrier_t gate;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static void *room(size_t bytes) { return aligned_alloc(4096, (bytes + 4095) / 4096 * 4096); }

static float multiply_add(void) {
    vector sum[CHAINS], factor, addend;
    for (int chain = 0; chain < CHAINS; ++chain)
        for (unsigned lane = 0; lane < BYTES / 4; ++lane) sum[chain][lane] = chain + lane;
    for (unsigned lane = 0; lane < BYTES / 4; ++lane) factor[lane] = 0.999f, addend[lane] = 0.001f;
    __asm__ volatile("" : "+m"(factor), "+m"(addend));
    for (int step = 0; step < STEPS; ++step)
        for (int chain = 0; chain < CHAINS; ++chain) sum[chain] = sum[chain] * factor + addend;
    for (int chain = 1; chain < CHAINS; ++chain) sum[0] += sum[chain];
    return sum[0][0];
}

static void copy(const vector *from, vector *to, size_t count) {
    for (size_t at = 0; at < count; at += 4) {
        vector a = from[at], b = from[at + 1], c = from[at + 2], d = from[at + 3];
        to[at] = a, to[at + 1] = b, to[at + 2] = c, to[at + 3] = d;
    }
    __asm__ volatile("" ::: "memory");
}

static void *run(void *argument) {
    work *mine = argument;
    pthread_barrier_wait(&gate);
    if (mine->kind == 0)
        mine->kept += multiply_add();
    else
        for (long pass = 0; pass < mine->passes; ++pass) copy(mine->from, mine->to, mine->bytes / 2 / BYTES);
    pthread_barrier_wait(&gate);
    return NULL;
}

static double best_seconds(work *works, int threads) {
    double best = 1e9;
    for (int repeat = 0; repeat < REPEATS; ++repeat) {
        pthread_t ids[MAX_THREADS];
        for (int at = 1; at < threads; ++at) pthread_create(&ids[at], NULL, run, &works[at]);
        pthread_barrier_wait(&gate);
        double started = now();
        if (works[0].kind == 0)
            works[0].kept += multiply_add();
        else
            for (long pass = 0; pass < works[0].passes; ++pass)
                copy(works[0].from, works[0].to, works[0].bytes / 2 / BYTES);
        pthread_barrier_wait(&gate);
        double seconds = now() - started;
        for (int at = 1; at < threads; ++at) pthread_join(ids[at], NULL);
        if (seconds < best) best = seconds;
    }
    return best;
}

int main(int count, char **texts) {
    int threads = count > 1 ? atoi(texts[1]) : 1;
    if (threads < 1 || threads > MAX_THREADS) return 2;
    pthread_barrier_init(&gate, NULL, threads);
    work *works = calloc(threads, sizeof *works);
    double seconds = best_seconds(works, threads);
    printf("{\"gflops\": %.3f, \"gbytes\": {", 2.0 * CHAINS * (BYTES / 4) * STEPS * threads / seconds / 1e9);
    for (int index = 2; index < count; ++index) {
        size_t bytes = (size_t)atol(texts[index]) * 1024 / threads / (8 * BYTES) * (8 * BYTES);
        long passes = 8 * 1024 * 1024 / (long)(bytes * threads);
        if (passes < 1) passes = 1;
        for (int at = 0; at < threads; ++at) {
            works[at] = (work){1, bytes, room(bytes / 2), room(bytes / 2), passes, 0};
            memset(works[at].from, 1, bytes / 2), memset(works[at].to, 1, bytes / 2);
        }
        seconds = best_seconds(works, threads);
        printf("%s\"%s\": %.3f", index > 2 ? ", " : "", texts[index], 1.0 * bytes * threads * passes / seconds / 1e9);
        for (int at = 0; at < threads; ++at) free(works[at].from), free(works[at].to);
    }
    float kept = 0;
    for (int at = 0; at < threads; ++at) kept += works[at].kept;
    printf("}, \"kept\": %d}\n", kept > 0);
    return 0;
}
