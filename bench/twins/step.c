/*
 * Single steps with all general registers read. registers=sync reads them from the shared page
 * (KVM_CAP_SYNC_REGS), registers=ioctl with KVM_GET_REGS.
 */
#include "twin.h"

struct stepper {
  struct guest guest;
  int by_ioctl;
  /* Keeps the compiler from dropping the reads. */
  volatile uint64_t sum;
};

static uint64_t sum_of(const struct kvm_regs *r) {
  return r->rax + r->rbx + r->rcx + r->rdx + r->rsi + r->rdi + r->rsp + r->rbp + r->r8 + r->r9 + r->r10 + r->r11 +
         r->r12 + r->r13 + r->r14 + r->r15 + r->rip + r->rflags;
}

static void work(void *context, uint64_t count) {
  struct stepper *s = context;
  struct kvm_run *run = s->guest.run;
  struct kvm_regs regs;
  for (uint64_t i = 0; i < count; i++) {
    need("KVM_RUN", s->guest.vcpu, KVM_RUN, 0);
    if (run->exit_reason != KVM_EXIT_DEBUG) fail("a step ended with exit reason", run->exit_reason);
    if (s->by_ioctl) {
      need("KVM_GET_REGS", s->guest.vcpu, KVM_GET_REGS, &regs);
      s->sum += sum_of(&regs);
    } else {
      s->sum += sum_of(&run->s.regs.regs);
    }
  }
}

int main(int argc, char **argv) {
  struct stepper s = {0};
  s.by_ioctl = strcmp(argument(argc, argv, "registers", "sync"), "ioctl") == 0;
  s.guest = open_guest(argc, argv, s.by_ioctl ? 0 : KVM_SYNC_X86_REGS);
  struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP};
  need("KVM_SET_GUEST_DEBUG", s.guest.vcpu, KVM_SET_GUEST_DEBUG, &debug);
  return serve(work, &s);
}
