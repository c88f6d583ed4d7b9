/* Port accesses answered by a switch: a latch of one byte at port=N. */
#include "twin.h"

struct board {
  struct guest guest;
  uint16_t port;
  uint8_t latch;
};

static void out(struct board *b, uint16_t port, const uint8_t *data) {
  switch (port - b->port) {
    case 0:
      b->latch = *data;
      break;
    default:
      break;
  }
}

static void in(struct board *b, uint16_t port, uint8_t *data) {
  switch (port - b->port) {
    case 0:
      *data = b->latch;
      break;
    default:
      *data = 0xff;
      break;
  }
}

static void work(void *context, uint64_t count) {
  struct board *b = context;
  struct kvm_run *run = b->guest.run;
  for (uint64_t i = 0; i < count; i++) {
    need("KVM_RUN", b->guest.vcpu, KVM_RUN, 0);
    switch (run->exit_reason) {
      case KVM_EXIT_IO: {
        uint8_t *data = (uint8_t *)run + run->io.data_offset;
        if (run->io.direction == KVM_EXIT_IO_OUT) out(b, run->io.port, data);
        else in(b, run->io.port, data);
        break;
      }
      default:
        fail("exit reason", run->exit_reason);
    }
  }
}

int main(int argc, char **argv) {
  struct board b = {0};
  b.port = (uint16_t)number(argc, argv, "port", NULL);
  b.guest = open_guest(argc, argv, 0);
  return serve(work, &b);
}
