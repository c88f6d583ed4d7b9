/*
 * What this host's KVM really does, found out without any code of hvsh's: each feature by a tiny guest of its own in a
 * virtual machine of its own. Prints NAME=yes or NAME=no, with the names that vm.capabilities has.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

enum mode { REAL, LONG };
enum { CODE = 0x1000, HANDLER = 0x1800, TABLES = 0x2000, DATA = 0x6000, STACK = 0x8000, SIZE = 0x10000, PORT = 0x42f };

static int kvm, vm, vcpu;
static size_t run_size;
static uint8_t *ram;
static struct kvm_run *run;

static int must(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(2);
    }
    return result;
}

static void tick(int signal)
{
    (void)signal;
}

static void slot(int number, uint64_t from, uint64_t size, uint32_t flags)
{
    struct kvm_userspace_memory_region region = {
        .slot = number, .flags = flags, .guest_phys_addr = from, .memory_size = size, .userspace_addr = (uintptr_t)ram + from
    };
    must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
}

/* A virtual machine in `mode`, its code at CODE; the page at DATA is read-only if asked for. */
static void begin(enum mode mode, const uint8_t *code, size_t length, int read_only)
{
    vm = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);
    ram = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ram == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    slot(0, 0, DATA, 0);
    slot(1, DATA, 0x1000, read_only ? KVM_MEM_READONLY : 0);
    slot(2, DATA + 0x1000, SIZE - DATA - 0x1000, 0);
    memcpy(ram + CODE, code, length);
    vcpu = must(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);

    struct kvm_sregs sregs;
    must(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
    struct kvm_segment *data[] = { &sregs.ds, &sregs.es, &sregs.fs, &sregs.gs, &sregs.ss };
    sregs.cs.base = 0;
    sregs.cs.selector = mode == REAL ? 0 : 8;
    if (mode == LONG) {
        uint64_t *tables = (uint64_t *)(ram + TABLES);
        tables[0] = (TABLES + 0x1000) | 7;
        tables[512] = (TABLES + 0x2000) | 7;
        tables[1024] = 0x87; /* 2 MiB, present, writable, user */
        sregs.cs.limit = 0xffffffff;
        sregs.cs.g = sregs.cs.l = 1;
        sregs.cs.db = 0;
        for (int i = 0; i < 5; i++) {
            data[i]->selector = 0x10;
            data[i]->limit = 0xffffffff;
            data[i]->g = data[i]->db = 1;
        }
        sregs.cr0 = 0x80010031;
        sregs.cr3 = TABLES;
        sregs.cr4 = 0x20;
        sregs.efer = 0x500;
        sregs.idt.limit = 0;
    } else {
        sregs.idt.base = 0;
        sregs.idt.limit = 0x3ff;
    }
    must(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
    struct kvm_regs regs = { .rip = CODE, .rsp = STACK, .rflags = 2, .rdx = PORT };
    must(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

static void end(void)
{
    munmap(run, run_size);
    close(vcpu);
    close(vm);
    munmap(ram, SIZE);
}

static void vector(int number)
{
    ram[number * 4] = HANDLER & 0xff;
    ram[number * 4 + 1] = HANDLER >> 8;
}

/* Sets control and breakpoint 0 of DR7; false if KVM refuses. */
static int debug(uint32_t control, uint64_t address, uint64_t dr7)
{
    struct kvm_guest_debug debug = { .control = control ? control | KVM_GUESTDBG_ENABLE : 0 };
    debug.arch.debugreg[0] = address;
    debug.arch.debugreg[7] = dr7 | 0x400;
    return ioctl(vcpu, KVM_SET_GUEST_DEBUG, &debug) == 0;
}

/* The reason of the next exit; 0 if the guest does not leave by itself. */
static uint32_t go(void)
{
    struct itimerval timer = { .it_value = { .tv_sec = 1 } }, off = { 0 };
    setitimer(ITIMER_REAL, &timer, NULL);
    int result = ioctl(vcpu, KVM_RUN, 0);
    setitimer(ITIMER_REAL, &off, NULL);
    return result < 0 ? 0 : run->exit_reason;
}

static struct kvm_regs registers(void)
{
    struct kvm_regs regs;
    must(ioctl(vcpu, KVM_GET_REGS, &regs), "KVM_GET_REGS");
    return regs;
}

static void say(const char *name, int yes)
{
    printf("%s=%s\n", name, yes ? "yes" : "no");
    end();
}

#define BEGIN(mode, ...)                               \
    do {                                               \
        const uint8_t code[] = { __VA_ARGS__ };        \
        begin(mode, code, sizeof code, 0);             \
    } while (0)
#define OUT_DX_AL 0xee
#define INC_AX 0xff, 0xc0

static int stepped_to(uint64_t rip)
{
    return go() == KVM_EXIT_DEBUG && registers().rip == rip;
}

static void single_step(const char *name, enum mode mode)
{
    BEGIN(mode, INC_AX, INC_AX, OUT_DX_AL);
    debug(KVM_GUESTDBG_SINGLESTEP, 0, 0);
    int yes = stepped_to(CODE + 2) && registers().rax == 1;
    say(name, yes && stepped_to(CODE + 4));
}

static void step_into_handler(void)
{
    BEGIN(REAL, 0xcd, 0x21, 0x90, OUT_DX_AL);
    vector(0x21);
    ram[HANDLER] = 0xcf; /* iret */
    debug(KVM_GUESTDBG_SINGLESTEP, 0, 0);
    say("single-step-handlers", stepped_to(HANDLER));
}

static void step_behind_popf(void)
{
    BEGIN(REAL, 0x6a, 2, 0x9d, INC_AX, INC_AX, OUT_DX_AL);
    debug(KVM_GUESTDBG_SINGLESTEP, 0, 0);
    say("single-step-popf", stepped_to(CODE + 2) && stepped_to(CODE + 3) && stepped_to(CODE + 5));
}

static void execute_breakpoint(const char *name, enum mode mode)
{
    BEGIN(mode, INC_AX, INC_AX, OUT_DX_AL);
    debug(KVM_GUESTDBG_USE_HW_BP, CODE + 2, 0x302);
    say(name, go() == KVM_EXIT_DEBUG && registers().rip == CODE + 2 && registers().rax == 1);
}

static void watchpoint(void)
{
    BEGIN(LONG, 0x89, 0x04, 0x25, DATA & 0xff, DATA >> 8, 0, 0, OUT_DX_AL); /* mov [DATA], eax */
    debug(KVM_GUESTDBG_USE_HW_BP, DATA, 0xd0302); /* four bytes, writes */
    say("watchpoint-hardware", go() == KVM_EXIT_DEBUG && registers().rip == CODE + 7);
}

static void int3(const char *name, enum mode mode)
{
    BEGIN(mode, INC_AX, 0xcc, OUT_DX_AL);
    if (mode == REAL) {
        vector(3);
        ram[HANDLER] = OUT_DX_AL;
    }
    debug(KVM_GUESTDBG_USE_SW_BP, 0, 0);
    say(name, go() == KVM_EXIT_DEBUG && run->debug.arch.exception == 3 && registers().rip == CODE + 2);
}

static void halt(void)
{
    BEGIN(LONG, 0xf4, OUT_DX_AL);
    say("breakpoint-hlt", go() == KVM_EXIT_HLT && registers().rip == CODE + 1);
}

static void out(const char *name, enum mode mode)
{
    BEGIN(mode, 0xe6, 0x7f, INC_AX, OUT_DX_AL);
    int yes = go() == KVM_EXIT_IO && run->io.direction == KVM_EXIT_IO_OUT && run->io.port == 0x7f;
    run->immediate_exit = 1;
    yes = yes && ioctl(vcpu, KVM_RUN, 0) < 0 && errno == EINTR;
    say(name, yes && registers().rip == CODE + 2 && registers().rax == 0);
}

static void read_only(void)
{
    const uint8_t code[] = { 0x88, 0x04, 0x25, DATA & 0xff, DATA >> 8, 0, 0, OUT_DX_AL }; /* mov [DATA], al */
    begin(LONG, code, sizeof code, 1);
    ram[DATA] = 0x11;
    int yes = go() == KVM_EXIT_MMIO && run->mmio.is_write && run->mmio.phys_addr == DATA;
    say("watchpoint-page", yes && ram[DATA] == 0x11);
}

static void interrupt(const char *name, int nmi)
{
    BEGIN(REAL, 0x90, 0x90, 0x90, 0xb0, 1, OUT_DX_AL);
    vector(nmi ? 2 : 0x20);
    ram[HANDLER] = OUT_DX_AL; /* AL is still 0 */
    struct kvm_regs regs = registers();
    regs.rflags |= 0x200;
    must(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
    struct kvm_interrupt irq = { .irq = 0x20 };
    int sent = nmi ? ioctl(vcpu, KVM_NMI, 0) : ioctl(vcpu, KVM_INTERRUPT, &irq);
    uint32_t reason = sent < 0 ? 0 : go();
    say(name, reason == KVM_EXIT_IO && *((uint8_t *)run + run->io.data_offset) == 0);
}

static void chips(void)
{
    vm = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);
    printf("irqchip=%s\n", ioctl(vm, KVM_CREATE_IRQCHIP, 0) == 0 ? "yes" : "no");
    struct kvm_pit_config config = { .flags = KVM_PIT_SPEAKER_DUMMY };
    printf("pit=%s\n", ioctl(vm, KVM_CREATE_PIT2, &config) == 0 ? "yes" : "no");
    close(vm);
}

int main(void)
{
    struct sigaction action = { .sa_handler = tick }; /* without SA_RESTART: KVM_RUN ends with EINTR */
    sigaction(SIGALRM, &action, NULL);
    kvm = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    run_size = must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    chips();
    single_step("single-step", LONG);
    single_step("single-step-real", REAL);
    step_into_handler();
    step_behind_popf();
    execute_breakpoint("breakpoint-hardware", LONG);
    execute_breakpoint("breakpoint-hardware-real", REAL);
    watchpoint();
    int3("breakpoint-int3", LONG);
    int3("breakpoint-int3-real", REAL);
    halt();
    out("breakpoint-out", LONG);
    out("port-exits", REAL);
    read_only();
    interrupt("interrupts", 0);
    interrupt("nmi", 1);
    return 0;
}
