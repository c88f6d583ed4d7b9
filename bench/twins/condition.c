/*
 * A breakpoint at address=N whose condition (RAX against a number) never holds: the guest goes on every time.
 *
 * how=hardware: a debug register. Going on takes a single step with the register off, and the register on again.
 * KVM compares in its instruction emulator without a look at RFLAGS.RF, so that this is the way that works on
 * every host. how=hardware-rf goes on by RFLAGS.RF alone, how=hardware-skip by moving RIP: for comparison.
 *
 * how=int3, hlt, out: bytes in the guest's code. Going on takes RIP back, the guest's bytes in, a single step,
 * the patch in again.
 */
#include "twin.h"

#define TRAP_PORT 0xee
#define DR7_LOCAL_EXACT 0x300
#define RFLAGS_RF (1ul << 16)

enum how { HARDWARE, HARDWARE_RF, HARDWARE_SKIP, INT3, HLT, OUT };

struct breakpoint {
  struct guest guest;
  enum how how;
  uint64_t address;
  /* Bytes of the instruction under it, for how=hardware-skip. */
  uint64_t length;
  uint8_t patch[2];
  uint8_t original[2];
  size_t patch_length;
  struct kvm_guest_debug armed;
  struct kvm_guest_debug stepping;
  volatile uint64_t held;
};

static void enter(struct breakpoint *b, uint32_t reason) {
  need("KVM_RUN", b->guest.vcpu, KVM_RUN, 0);
  if (b->guest.run->exit_reason != reason) fail("exit reason", b->guest.run->exit_reason);
}

/* Finishes an OUT, whose RIP KVM moves at the next entry only. */
static void finish(struct breakpoint *b) {
  b->guest.run->immediate_exit = 1;
  if (ioctl(b->guest.vcpu, KVM_RUN, 0) == 0 || errno != EINTR) die("KVM_RUN with immediate_exit");
  b->guest.run->immediate_exit = 0;
}

static void step(struct breakpoint *b) {
  need("KVM_SET_GUEST_DEBUG", b->guest.vcpu, KVM_SET_GUEST_DEBUG, &b->stepping);
  enter(b, KVM_EXIT_DEBUG);
  need("KVM_SET_GUEST_DEBUG", b->guest.vcpu, KVM_SET_GUEST_DEBUG, &b->armed);
}

static void judge(struct breakpoint *b) {
  if (b->guest.run->s.regs.regs.rax == 0xffffffff) b->held++;
}

static void put(struct breakpoint *b, const uint8_t *bytes) {
  memcpy(b->guest.ram + b->address, bytes, b->patch_length);
}

static void patched(struct breakpoint *b, uint64_t count) {
  struct kvm_run *run = b->guest.run;
  static const uint32_t reasons[] = {[INT3] = KVM_EXIT_DEBUG, [HLT] = KVM_EXIT_HLT, [OUT] = KVM_EXIT_IO};
  for (uint64_t i = 0; i < count; i++) {
    enter(b, reasons[b->how]);
    if (b->how == OUT) finish(b);
    if (run->s.regs.regs.rip != b->address) {
      run->s.regs.regs.rip = b->address;
      run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
    }
    judge(b);
    put(b, b->original);
    /* A step is prepared at the RIP of that moment, so that KVM has to know it first. */
    if (run->kvm_dirty_regs != 0) {
      need("KVM_SET_REGS", b->guest.vcpu, KVM_SET_REGS, &run->s.regs.regs);
      run->kvm_dirty_regs = 0;
    }
    step(b);
    put(b, b->patch);
  }
}

static void work(void *context, uint64_t count) {
  struct breakpoint *b = context;
  struct kvm_run *run = b->guest.run;
  if (b->how >= INT3) {
    patched(b, count);
    return;
  }
  for (uint64_t i = 0; i < count; i++) {
    enter(b, KVM_EXIT_DEBUG);
    if (run->debug.arch.pc != b->address) fail("a debug exit elsewhere", (unsigned)run->debug.arch.pc);
    judge(b);
    switch (b->how) {
      case HARDWARE_RF:
        run->s.regs.regs.rflags |= RFLAGS_RF;
        run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
        break;
      case HARDWARE_SKIP:
        run->s.regs.regs.rip += b->length;
        run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
        break;
      default:
        step(b);
    }
  }
}

int main(int argc, char **argv) {
  static const char *const names[] = {"hardware", "hardware-rf", "hardware-skip", "int3", "hlt", "out"};
  static const uint8_t patches[][2] = {[INT3] = {0xcc}, [HLT] = {0xf4}, [OUT] = {0xe6, TRAP_PORT}};
  struct breakpoint b = {0};
  const char *how = argument(argc, argv, "how", NULL);
  size_t which = 0;
  while (which < sizeof names / sizeof names[0] && strcmp(names[which], how) != 0) which++;
  if (which == sizeof names / sizeof names[0]) fail("how= is none of those this twin knows", 0);
  b.how = (enum how)which;
  b.guest = open_guest(argc, argv, KVM_SYNC_X86_REGS);
  b.address = number(argc, argv, "address", NULL);
  b.length = number(argc, argv, "length", "0");
  b.stepping.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
  if (b.how >= INT3) {
    b.patch_length = b.how == OUT ? 2 : 1;
    memcpy(b.patch, patches[b.how], 2);
    memcpy(b.original, b.guest.ram + b.address, 2);
    if (b.how == INT3) b.armed.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
    put(&b, b.patch);
  } else {
    b.armed.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
    b.armed.arch.debugreg[0] = b.address;
    b.armed.arch.debugreg[7] = 0x400 | DR7_LOCAL_EXACT | 3;
  }
  need("KVM_SET_GUEST_DEBUG", b.guest.vcpu, KVM_SET_GUEST_DEBUG, &b.armed);
  return serve(work, &b);
}
