/*
 * What the twins share: the protocol with the benchmark, and a guest on /dev/kvm in plain ioctls.
 *
 * A twin reads lines "run N" from its standard input, does its work N times, and answers each with the
 * nanoseconds that took. Arguments are NAME=VALUE; the guest's bytes come as hexadecimal digits, so that the
 * twin runs the very bytes that hvsh runs.
 */
#ifndef TWIN_H
#define TWIN_H

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

/* A guest with one vCPU in real mode. */
struct guest {
  int vm;
  int vcpu;
  uint8_t *ram;
  struct kvm_run *run;
  /* Linear address of the first instruction. */
  uint64_t at;
};

static void die(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static void fail(const char *what, unsigned number) {
  fprintf(stderr, "%s (%u)\n", what, number);
  exit(1);
}

static const char *argument(int argc, char **argv, const char *name, const char *otherwise) {
  size_t length = strlen(name);
  for (int i = 1; i < argc; i++) {
    if (strncmp(argv[i], name, length) == 0 && argv[i][length] == '=') return argv[i] + length + 1;
  }
  if (otherwise == NULL) {
    fprintf(stderr, "%s=... is missing\n", name);
    exit(2);
  }
  return otherwise;
}

static uint64_t number(int argc, char **argv, const char *name, const char *otherwise) {
  return strtoull(argument(argc, argv, name, otherwise), NULL, 0);
}

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Answers "run N" until the input ends. */
__attribute__((unused)) static int serve(void (*work)(void *context, uint64_t count), void *context) {
  char line[64];
  while (fgets(line, sizeof line, stdin) != NULL) {
    uint64_t count = 0;
    if (sscanf(line, "run %lu", &count) != 1) fail("a line is not \"run N\"", 0);
    uint64_t start = now();
    work(context, count);
    printf("%lu\n", now() - start);
    fflush(stdout);
  }
  return 0;
}

/* An ioctl that must work; a macro, so that nothing of C's stands between the twin and the kernel. */
#define need(what, ...)                  \
  do {                                   \
    if (ioctl(__VA_ARGS__) < 0) die(what); \
  } while (0)

static void segment(struct kvm_segment *s, uint8_t type) {
  memset(s, 0, sizeof *s);
  s->limit = 0xffff;
  s->type = type;
  s->present = 1;
  s->s = 1;
}

/*
 * Opens a guest as hvsh's open() with flat() does: arguments memory=BYTES, irqchip=0|1 (with it the 8254 too),
 * at=ADDRESS, code=HEX. sync says which registers KVM keeps in the shared page (KVM_SYNC_X86_*).
 */
static inline struct guest open_guest(int argc, char **argv, uint64_t sync) {
  struct guest g;
  uint64_t memory = number(argc, argv, "memory", NULL);
  g.at = number(argc, argv, "at", NULL);
  int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) die("/dev/kvm");
  g.vm = ioctl(kvm, KVM_CREATE_VM, 0);
  if (g.vm < 0) die("KVM_CREATE_VM");
  need("KVM_SET_TSS_ADDR", g.vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);
  g.ram = mmap(NULL, memory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (g.ram == MAP_FAILED) die("mmap of guest memory");
  struct kvm_userspace_memory_region slot = {.memory_size = memory, .userspace_addr = (uintptr_t)g.ram};
  need("KVM_SET_USER_MEMORY_REGION", g.vm, KVM_SET_USER_MEMORY_REGION, &slot);
  if (number(argc, argv, "irqchip", NULL)) {
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    need("KVM_CREATE_IRQCHIP", g.vm, KVM_CREATE_IRQCHIP, 0);
    need("KVM_CREATE_PIT2", g.vm, KVM_CREATE_PIT2, &pit);
  }
  g.vcpu = ioctl(g.vm, KVM_CREATE_VCPU, 0);
  if (g.vcpu < 0) die("KVM_CREATE_VCPU");
  struct kvm_cpuid2 *cpuid = calloc(1, sizeof *cpuid + 256 * sizeof cpuid->entries[0]);
  if (cpuid == NULL) die("calloc");
  cpuid->nent = 256;
  need("KVM_GET_SUPPORTED_CPUID", kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
  need("KVM_SET_CPUID2", g.vcpu, KVM_SET_CPUID2, cpuid);
  free(cpuid);
  int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  if (size < 0) die("KVM_GET_VCPU_MMAP_SIZE");
  g.run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, g.vcpu, 0);
  if (g.run == MAP_FAILED) die("mmap of the vCPU");

  struct kvm_sregs sregs;
  need("KVM_GET_SREGS", g.vcpu, KVM_GET_SREGS, &sregs);
  struct kvm_segment *data[] = {&sregs.ds, &sregs.es, &sregs.fs, &sregs.gs, &sregs.ss};
  for (size_t i = 0; i < sizeof data / sizeof data[0]; i++) segment(data[i], 3);
  segment(&sregs.cs, 11);
  need("KVM_SET_SREGS", g.vcpu, KVM_SET_SREGS, &sregs);
  struct kvm_regs regs = {.rip = g.at, .rsp = g.at, .rflags = 2};
  need("KVM_SET_REGS", g.vcpu, KVM_SET_REGS, &regs);

  uint8_t *to = g.ram + g.at;
  for (const char *hex = argument(argc, argv, "code", NULL); hex[0] != 0 && hex[1] != 0; hex += 2) {
    unsigned byte = 0;
    if (sscanf(hex, "%2x", &byte) != 1) fail("code= is not hexadecimal", 0);
    *to++ = (uint8_t)byte;
  }
  g.run->kvm_valid_regs = sync;
  return g;
}

#endif
