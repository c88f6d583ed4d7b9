/* What the twins on Xen share: handles of Xen's libraries, and waiting for an event channel. cc: -lxenctrl -lxenevtchn
 * -lxenforeignmemory -lxendevicemodel. The domain is argument domain=NUMBER, paused by who made it. */
#ifndef XEN_TWIN_H
#define XEN_TWIN_H

#define XC_WANT_COMPAT_MAP_FOREIGN_API 0
#include "twin.h"

#include <poll.h>
#include <xenctrl.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>

struct xen {
  xc_interface *xc;
  xenevtchn_handle *events;
  uint32_t domain;
};

static inline struct xen open_xen(int argc, char **argv) {
  struct xen x = {.domain = (uint32_t)number(argc, argv, "domain", NULL)};
  x.xc = xc_interface_open(NULL, NULL, 0);
  if (x.xc == NULL) die("xc_interface_open");
  x.events = xenevtchn_open(NULL, 0);
  if (x.events == NULL) die("xenevtchn_open");
  return x;
}

/* Until something is told on the event channels. */
static inline void wait_for_event(struct xen *x) {
  struct pollfd fd = {.fd = xenevtchn_fd(x->events), .events = POLLIN};
  if (poll(&fd, 1, -1) < 0) die("poll");
  xenevtchn_port_or_error_t port = xenevtchn_pending(x->events);
  if (port < 0) die("xenevtchn_pending");
  if (xenevtchn_unmask(x->events, (evtchn_port_t)port) < 0) die("xenevtchn_unmask");
}

#endif
