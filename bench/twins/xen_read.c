/* A guest's memory from address 0 on: mapped in pieces of pages= frames, copied, unmapped. */
#include "xen_twin.h"

struct reader {
  struct xen xen;
  xenforeignmemory_handle *foreign;
  uint64_t size, pages;
  uint8_t *into;
  xen_pfn_t *frames;
  int *errors;
};

static void work(void *context, uint64_t count) {
  struct reader *r = context;
  for (uint64_t i = 0; i < count; i++) {
    for (uint64_t at = 0; at < r->size; at += r->pages * 4096) {
      for (uint64_t n = 0; n < r->pages; n++) r->frames[n] = at / 4096 + n;
      void *from = xenforeignmemory_map(r->foreign, r->xen.domain, PROT_READ, r->pages, r->frames, r->errors);
      if (from == NULL) die("xenforeignmemory_map");
      memcpy(r->into + at, from, r->pages * 4096);
      xenforeignmemory_unmap(r->foreign, from, r->pages);
    }
  }
}

int main(int argc, char **argv) {
  struct reader r = {.xen = open_xen(argc, argv)};
  r.size = number(argc, argv, "size", NULL);
  r.pages = number(argc, argv, "pages", NULL);
  r.foreign = xenforeignmemory_open(NULL, 0);
  if (r.foreign == NULL) die("xenforeignmemory_open");
  r.into = malloc(r.size);
  r.frames = calloc(r.pages, sizeof *r.frames);
  r.errors = calloc(r.pages, sizeof *r.errors);
  if (r.into == NULL || r.frames == NULL || r.errors == NULL) die("malloc");
  memset(r.into, 1, r.size);
  return serve(work, &r);
}
