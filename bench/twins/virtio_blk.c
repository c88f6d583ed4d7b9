/*
 * The device's side of a virtio-blk queue: requests of fixtures/virtio_loop.s answered by pread() from disk=FILE. Of
 * the registers there is QueueNotify alone; the split ring lies where that guest puts it.
 */
#define _GNU_SOURCE
#include "twin.h"
#include <unistd.h>

enum { DESCRIPTORS = 0x20000, DRIVER = 0x21000, USED = 0x22000, SIZE = 256 };
enum { NEXT = 1, WRITE = 2 };
#define NOTIFY 0xd0000050ul

struct descriptor {
  uint64_t at;
  uint32_t length;
  uint16_t flags;
  uint16_t next;
};

struct board {
  struct guest guest;
  uint64_t memory;
  int disk;
  uint16_t avail;
  uint16_t used;
};

static uint8_t *buffer(struct board *b, const struct descriptor *d) {
  if (d->at >= b->memory || d->length > b->memory - d->at) fail("a buffer is no memory", d->length);
  return b->guest.ram + d->at;
}

/* One IN request (virtio 1.2, 5.2.6): the header, buffers, the status in the last byte. Gives the bytes written. */
static uint32_t request(struct board *b, uint16_t head) {
  const struct descriptor *table = (const struct descriptor *)(b->guest.ram + DESCRIPTORS);
  const struct descriptor *d = &table[head % SIZE];
  if (d->length < 16) fail("a header of bytes", d->length);
  uint64_t at;
  memcpy(&at, buffer(b, d) + 8, 8);
  at *= 512;
  uint32_t written = 0;
  for (int i = 0; i < SIZE && (d->flags & NEXT) != 0; i++) {
    d = &table[d->next % SIZE];
    uint8_t *to = buffer(b, d);
    if ((d->flags & NEXT) == 0) *to = 0; /* VIRTIO_BLK_S_OK */
    else if (pread(b->disk, to, d->length, (off_t)(at + written)) != (ssize_t)d->length) die("pread");
    written += d->length;
  }
  return written;
}

static void notified(struct board *b) {
  const volatile uint16_t *driver = (const volatile uint16_t *)(b->guest.ram + DRIVER);
  volatile uint16_t *index = (volatile uint16_t *)(b->guest.ram + USED) + 1;
  volatile uint32_t *ring = (volatile uint32_t *)(b->guest.ram + USED + 4);
  while (b->avail != driver[1]) {
    uint16_t head = driver[2 + b->avail++ % SIZE];
    uint32_t slot = b->used++ % SIZE * 2;
    ring[slot] = head;
    ring[slot + 1] = request(b, head);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    *index = b->used;
  }
}

/* Until so many requests are answered, and the guest says so. */
static void work(void *context, uint64_t count) {
  struct board *b = context;
  struct kvm_run *run = b->guest.run;
  *(volatile uint32_t *)(b->guest.ram + b->guest.at + 8) = (uint32_t)count;
  for (;;) {
    need("KVM_RUN", b->guest.vcpu, KVM_RUN, 0);
    if (run->exit_reason == KVM_EXIT_IO) return;
    if (run->exit_reason != KVM_EXIT_MMIO) fail("exit reason", run->exit_reason);
    if (run->mmio.phys_addr == NOTIFY) notified(b);
  }
}

int main(int argc, char **argv) {
  struct board b = {0};
  b.memory = number(argc, argv, "memory", NULL);
  b.disk = open(argument(argc, argv, "disk", NULL), O_RDONLY | O_CLOEXEC);
  if (b.disk < 0) die("disk=");
  b.guest = open_guest(argc, argv, 0);
  const char *chain = argument(argc, argv, "chain", NULL);
  for (uint8_t *to = b.guest.ram + DESCRIPTORS; chain[0] != 0 && chain[1] != 0; chain += 2) {
    unsigned byte = 0;
    if (sscanf(chain, "%2x", &byte) != 1) fail("chain= is not hexadecimal", 0);
    *to++ = (uint8_t)byte;
  }
  return serve(work, &b);
}
