/* Single steps of an HVM or PVH guest by vm_event, all general registers read. */
#include "xen_twin.h"
#include <xen/vm_event.h>

struct stepper {
  struct xen xen;
  vm_event_back_ring_t ring;
  int port;
  /* Whether the vCPU waits in an event. */
  int stopped;
  volatile uint64_t sum;
};

static void work(void *context, uint64_t count) {
  struct stepper *s = context;
  for (uint64_t i = 0; i < count; i++) {
    if (s->stopped) {
      RING_PUSH_RESPONSES(&s->ring);
      if (xenevtchn_notify(s->xen.events, (evtchn_port_t)s->port) < 0) die("xenevtchn_notify");
    } else if (xc_domain_unpause(s->xen.xc, s->xen.domain) < 0) {
      die("xc_domain_unpause");
    }
    while (!RING_HAS_UNCONSUMED_REQUESTS(&s->ring)) wait_for_event(&s->xen);
    vm_event_request_t event = *RING_GET_REQUEST(&s->ring, s->ring.req_cons);
    s->ring.req_cons++;
    s->ring.sring->req_event = s->ring.req_cons + 1;
    if (event.reason != VM_EVENT_REASON_DEBUG_EXCEPTION) fail("a step ended with reason", event.reason);
    const struct vm_event_regs_x86 *r = &event.data.regs.x86;
    s->sum += r->rax + r->rbx + r->rcx + r->rdx + r->rsi + r->rdi + r->rsp + r->rbp + r->r8 + r->r9 + r->r10 + r->r11 +
              r->r12 + r->r13 + r->r14 + r->r15 + r->rip + r->rflags;
    event.flags = VM_EVENT_FLAG_VCPU_PAUSED;
    *RING_GET_RESPONSE(&s->ring, s->ring.rsp_prod_pvt) = event;
    s->ring.rsp_prod_pvt++;
    s->stopped = 1;
  }
}

int main(int argc, char **argv) {
  struct stepper s = {.xen = open_xen(argc, argv)};
  uint32_t port = 0;
  void *page = xc_monitor_enable(s.xen.xc, s.xen.domain, &port);
  if (page == NULL) die("xc_monitor_enable");
  memset(page, 0, 4096);
  SHARED_RING_INIT((vm_event_sring_t *)page);
  BACK_RING_INIT(&s.ring, (vm_event_sring_t *)page, 4096);
  s.port = xenevtchn_bind_interdomain(s.xen.events, s.xen.domain, port);
  if (s.port < 0) die("xenevtchn_bind_interdomain");
  if (xc_monitor_debug_exceptions(s.xen.xc, s.xen.domain, true, true) < 0) die("xc_monitor_debug_exceptions");
  vcpu_guest_context_any_t any;
  if (xc_vcpu_getcontext(s.xen.xc, s.xen.domain, 0, &any) < 0) die("xc_vcpu_getcontext");
  any.x64.user_regs.rflags |= 0x100;
  if (xc_vcpu_setcontext(s.xen.xc, s.xen.domain, 0, &any) < 0) die("xc_vcpu_setcontext");
  int code = serve(work, &s);
  xc_domain_pause(s.xen.xc, s.xen.domain);
  xc_monitor_disable(s.xen.xc, s.xen.domain);
  return code;
}
