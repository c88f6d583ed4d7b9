/*
 * Single steps of a PV guest by the stop stub, all general registers read. Arguments: domain=, stub=HEX with the guest's
 * event channel port as its last four bytes and the entry of #DB first, place= its linear address.
 */
#include "xen_twin.h"

/* What lies at RSP while the vCPU waits in the stub: what it pushed, then what Xen did. */
struct frame {
  uint64_t release, rsi, rdi, rax, rcx, r11, rip, cs, rflags, rsp, ss;
};

struct stepper {
  struct xen xen;
  xenforeignmemory_handle *foreign;
  volatile struct frame *frame;
  /* The page that the frame was found in: its linear address, and where it is mapped. */
  uint64_t page;
  uint8_t *mapped;
  volatile uint64_t sum;
};

static uint8_t *map_at(struct stepper *s, uint64_t linear) {
  xen_pfn_t frame = xc_translate_foreign_address(s->xen.xc, s->xen.domain, 0, linear);
  int error = 0;
  if (frame == 0) die("xc_translate_foreign_address");
  void *at = xenforeignmemory_map(s->foreign, s->xen.domain, PROT_READ | PROT_WRITE, 1, &frame, &error);
  if (at == NULL || error != 0) die("xenforeignmemory_map");
  return at;
}

static void work(void *context, uint64_t count) {
  struct stepper *s = context;
  vcpu_guest_context_any_t any;
  for (uint64_t i = 0; i < count; i++) {
    if (s->frame != NULL) s->frame->release = 0;
    if (i == 0 && xc_domain_unpause(s->xen.xc, s->xen.domain) < 0) die("xc_domain_unpause");
    wait_for_event(&s->xen);
    const struct cpu_user_regs_x86_64 *r = (const void *)&any.x64.user_regs;
    /* While it waits, the stub pushes and pops a number now and then. */
    for (int tries = 0;; tries++) {
      if (xc_vcpu_getcontext(s->xen.xc, s->xen.domain, 0, &any) < 0) die("xc_vcpu_getcontext");
      if ((r->rsp & ~0xffful) != s->page) {
        if (s->mapped != NULL) xenforeignmemory_unmap(s->foreign, s->mapped, 1);
        s->page = r->rsp & ~0xffful;
        s->mapped = map_at(s, s->page);
      }
      s->frame = (volatile struct frame *)(s->mapped + (r->rsp & 0xfff));
      if (s->frame->release == 1) break;
      if (tries == 100) fail("a step ended with vector", (unsigned)s->frame->release);
    }
    s->sum += s->frame->rax + r->rbx + s->frame->rcx + r->rdx + s->frame->rsi + s->frame->rdi + s->frame->rsp + r->rbp +
              r->r8 + r->r9 + r->r10 + s->frame->r11 + r->r12 + r->r13 + r->r14 + r->r15 + s->frame->rip +
              s->frame->rflags;
  }
  /* Its vCPU would go round in the stub while the other side is measured. */
  if (xc_domain_pause(s->xen.xc, s->xen.domain) < 0) die("xc_domain_pause");
}

int main(int argc, char **argv) {
  struct stepper s = {.xen = open_xen(argc, argv)};
  uint64_t place = number(argc, argv, "place", NULL);
  s.foreign = xenforeignmemory_open(NULL, 0);
  if (s.foreign == NULL) die("xenforeignmemory_open");
  int port = xc_evtchn_alloc_unbound(s.xen.xc, s.xen.domain, 0);
  if (port < 0) die("xc_evtchn_alloc_unbound");
  if (xenevtchn_bind_interdomain(s.xen.events, s.xen.domain, (evtchn_port_t)port) < 0) die("xenevtchn_bind_interdomain");
  uint8_t *page = map_at(&s, place & ~0xffful);
  uint8_t *to = page + (place & 0xfff);
  for (const char *hex = argument(argc, argv, "stub", NULL); hex[0] != 0 && hex[1] != 0; hex += 2) {
    unsigned byte = 0;
    if (sscanf(hex, "%2x", &byte) != 1) fail("stub= is not hexadecimal", 0);
    *to++ = (uint8_t)byte;
  }
  memcpy(to - 4, &port, 4);
  vcpu_guest_context_any_t any;
  if (xc_vcpu_getcontext(s.xen.xc, s.xen.domain, 0, &any) < 0) die("xc_vcpu_getcontext");
  struct trap_info *trap = (struct trap_info *)&any.x64.trap_ctxt[1];
  *trap = (struct trap_info){.vector = 1, .flags = 4, .cs = 0xe033, .address = place};
  any.x64.user_regs.rflags |= 0x100;
  if (xc_vcpu_setcontext(s.xen.xc, s.xen.domain, 0, &any) < 0) die("xc_vcpu_setcontext");
  return serve(work, &s);
}
