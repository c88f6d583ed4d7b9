/* Copies memory= bytes by memcpy (what=copy), or finds the pattern= at their end by memmem (what=search). */
#define _GNU_SOURCE
#include "twin.h"

struct memory {
  uint8_t *from;
  uint8_t *to;
  size_t size;
  uint8_t pattern[64];
  size_t length;
  volatile uint64_t sum;
};

static uint8_t *map(size_t size) {
  uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) die("mmap");
  return p;
}

static void copy(void *context, uint64_t count) {
  struct memory *m = context;
  for (uint64_t i = 0; i < count; i++) {
    memcpy(m->to, m->from, m->size);
    m->sum += m->to[m->size - 1];
  }
}

static void search(void *context, uint64_t count) {
  struct memory *m = context;
  for (uint64_t i = 0; i < count; i++) {
    uint8_t *found = memmem(m->from, m->size, m->pattern, m->length);
    if (found != m->from + m->size - m->length) fail("the pattern was not found at its place", 0);
    m->sum += *found;
  }
}

int main(int argc, char **argv) {
  struct memory m = {0};
  m.size = number(argc, argv, "memory", NULL);
  m.from = map(m.size);
  m.to = map(m.size);
  memset(m.to, 1, m.size);
  /* The same bytes as the benchmark's: xorshift32, little-endian. */
  uint32_t x = (uint32_t)number(argc, argv, "seed", NULL);
  for (size_t i = 0; i + 4 <= m.size; i += 4) {
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    memcpy(m.from + i, &x, 4);
  }
  for (const char *hex = argument(argc, argv, "pattern", ""); hex[0] != 0 && hex[1] != 0; hex += 2) {
    unsigned byte = 0;
    if (m.length == sizeof m.pattern || sscanf(hex, "%2x", &byte) != 1) fail("pattern= can't be read", 0);
    m.pattern[m.length++] = (uint8_t)byte;
  }
  memcpy(m.from + m.size - m.length, m.pattern, m.length);
  return serve(strcmp(argument(argc, argv, "what", NULL), "copy") == 0 ? copy : search, &m);
}
