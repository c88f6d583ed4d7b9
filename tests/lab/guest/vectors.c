/*
 * Finds out whether a thread's vector registers are still its own after it was preempted: threads hold patterns in all
 * sixteen of them while they spin, half of them with system calls in between, and count what has changed.
 *
 *   vectors THREADS SECONDS      prints "checks N wrong N"; exit code 1 when a register was wrong
 *
 * See docs/labs.md: without Xen's eager FPU switching, TCG lets registers of one virtual CPU leak into another.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REGISTERS = 16, BYTES = 32, SPINS = 20000, MAX_THREADS = 64 };

#define ALL(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define LOAD_AVX(n) "vmovdqu " #n "*32(%[in]), %%ymm" #n "\n"
#define SAVE_AVX(n) "vmovdqu %%ymm" #n ", " #n "*32(%[out])\n"
#define LOAD_SSE(n) "movdqu " #n "*32(%[in]), %%xmm" #n "\n"
#define SAVE_SSE(n) "movdqu %%xmm" #n ", " #n "*32(%[out])\n"
#define CLOBBER(n) "xmm" #n,

/* One statement, so that the compiler has no chance to use a register between the loads and the saves. */
#define HOLD(load, save, end)                                                                                       \
    __asm__ volatile(ALL(load) "1: dec %[spins]\n jnz 1b\n"                                                         \
                               "test %[calls], %[calls]\n jz 2f\n"                                                  \
                               "mov $39, %%eax\n syscall\n" /* getpid */                                            \
                               "mov $24, %%eax\n syscall\n" /* sched_yield */                                       \
                               "2:\n" ALL(save) end                                                                 \
                     : [spins] "+r"(spins)                                                                          \
                     : [in] "r"(in), [out] "r"(out), [calls] "r"(calls)                                             \
                     : ALL(CLOBBER) "rax", "rcx", "r11", "memory", "cc")

struct thread {
    pthread_t id;
    long number, checks, wrong;
};

static int avx;
static volatile int stop;

static void hold(const uint8_t *in, uint8_t *out, long calls) {
    long spins = SPINS;
    if (avx)
        HOLD(LOAD_AVX, SAVE_AVX, "vzeroupper\n");
    else
        HOLD(LOAD_SSE, SAVE_SSE, "");
}

static void *run(void *argument) {
    struct thread *self = argument;
    uint8_t in[REGISTERS * BYTES], out[REGISTERS * BYTES];
    int used = avx ? 32 : 16;
    while (!stop) {
        for (int n = 0; n < REGISTERS; n++)
            for (int i = 0; i < BYTES; i++)
                in[n * BYTES + i] = (uint8_t)(self->number * 67 + n * 16 + i + self->checks * 31);
        memset(out, 0, sizeof out);
        hold(in, out, self->number & 1);
        int same = 1;
        for (int n = 0; n < REGISTERS; n++)
            same &= memcmp(in + n * BYTES, out + n * BYTES, used) == 0;
        self->wrong += !same;
        self->checks++;
    }
    return NULL;
}

int main(int argc, char **argv) {
    static struct thread threads[MAX_THREADS];
    int count = argc > 1 ? atoi(argv[1]) : 0;
    double seconds = argc > 2 ? atof(argv[2]) : 0;
    if (count < 1 || count > MAX_THREADS || seconds <= 0) {
        fprintf(stderr, "usage: vectors THREADS SECONDS, at most %d threads\n", MAX_THREADS);
        return 2;
    }
    avx = __builtin_cpu_supports("avx");
    for (int i = 0; i < count; i++) {
        threads[i].number = i + 1;
        if (pthread_create(&threads[i].id, NULL, run, &threads[i]) != 0) return 2;
    }
    struct timespec time = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
    stop = 1;
    long checks = 0, wrong = 0;
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i].id, NULL);
        checks += threads[i].checks;
        wrong += threads[i].wrong;
    }
    printf("checks %ld wrong %ld\n", checks, wrong);
    return wrong != 0;
}
