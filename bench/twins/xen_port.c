/* A device at port=, served by an ioreq server: it keeps what is written and gives it back. */
#include "xen_twin.h"
#include <xen/hvm/ioreq.h>
#include <xendevicemodel.h>

struct server {
  struct xen xen;
  ioreq_t *request;
  int port;
  uint32_t latch;
  int running;
};

static void work(void *context, uint64_t count) {
  struct server *s = context;
  if (!s->running && xc_domain_unpause(s->xen.xc, s->xen.domain) < 0) die("xc_domain_unpause");
  s->running = 1;
  for (uint64_t done = 0; done < count;) {
    if (s->request->state != STATE_IOREQ_READY) {
      wait_for_event(&s->xen);
      continue;
    }
    __sync_synchronize();
    s->request->state = STATE_IOREQ_INPROCESS;
    if (s->request->data_is_ptr) fail("an access by string instructions", 0);
    if (s->request->dir == IOREQ_READ) s->request->data = s->latch;
    else s->latch = (uint32_t)s->request->data;
    __sync_synchronize();
    s->request->state = STATE_IORESP_READY;
    if (xenevtchn_notify(s->xen.events, (evtchn_port_t)s->port) < 0) die("xenevtchn_notify");
    done++;
  }
}

int main(int argc, char **argv) {
  struct server s = {.xen = open_xen(argc, argv)};
  uint64_t port = number(argc, argv, "port", NULL);
  xendevicemodel_handle *model = xendevicemodel_open(NULL, 0);
  xenforeignmemory_handle *foreign = xenforeignmemory_open(NULL, 0);
  if (model == NULL || foreign == NULL) die("opening Xen's libraries");
  ioservid_t id;
  domid_t domain = (domid_t)s.xen.domain;
  if (xendevicemodel_create_ioreq_server(model, domain, 0, &id) < 0) die("create_ioreq_server");
  if (xendevicemodel_map_io_range_to_ioreq_server(model, domain, id, 0, port, port) < 0) die("map_io_range");
  void *page = NULL;
  if (xenforeignmemory_map_resource(foreign, domain, XENMEM_resource_ioreq_server, id,
                                    XENMEM_resource_ioreq_server_frame_ioreq(0), 1, &page, PROT_READ | PROT_WRITE, 0) ==
      NULL) die("map_resource");
  if (xendevicemodel_set_ioreq_server_state(model, domain, id, 1) < 0) die("set_ioreq_server_state");
  s.request = &((shared_iopage_t *)page)->vcpu_ioreq[0];
  s.port = xenevtchn_bind_interdomain(s.xen.events, s.xen.domain, s.request->vp_eport);
  if (s.port < 0) die("xenevtchn_bind_interdomain");
  int code = serve(work, &s);
  xc_domain_pause(s.xen.xc, s.xen.domain);
  xendevicemodel_destroy_ioreq_server(model, domain, id);
  return code;
}
