/*
 * A GDB stub as small as can be, over a guest on /dev/kvm: what a server in C reaches with the packets of `rsp`.
 * One client, no acknowledgements checked, each answer sent at once. `s` is one KVM_RUN and a stop reply with all
 * general registers; `m` reads memory below the guest's end. eager=N looks N times before it sleeps.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#include "twin.h"

#define LARGEST (256 << 10)

static const char digits[] = "0123456789abcdef";
static char in[4096], out[LARGEST + 64];

static char *hex(char *to, const void *from, size_t length) {
  for (const uint8_t *byte = from, *end = byte + length; byte != end; byte++) {
    *to++ = digits[*byte >> 4];
    *to++ = digits[*byte & 15];
  }
  return to;
}

static char *stop_reply(char *to, const struct kvm_regs *r) {
  const uint64_t values[] = {r->rip, r->rsp, r->rbp, r->rax, r->rbx, r->rcx, r->rdx, r->rsi, r->rdi,
                             r->r8,  r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15, r->rflags};
  static const uint8_t numbers[] = {16, 7, 6, 0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15, 17};
  memcpy(to, "T05thread:p1.1;", 15);
  to += 15;
  for (size_t i = 0; i < sizeof numbers; i++) {
    to = hex(to, &numbers[i], 1);
    *to++ = ':';
    to = hex(to, &values[i], numbers[i] == 17 ? 4 : 8);
    *to++ = ';';
  }
  return to;
}

/* The answer's payload behind its `$`; where it ends. */
static char *answer(struct guest *g, uint64_t memory, const char *packet, char *to) {
  if (packet[0] == 's') {
    need("KVM_RUN", g->vcpu, KVM_RUN, 0);
    if (g->run->exit_reason != KVM_EXIT_DEBUG) fail("a step ended with exit reason", g->run->exit_reason);
    return stop_reply(to, &g->run->s.regs.regs);
  }
  unsigned long at, length;
  if (sscanf(packet, "m%lx,%lx", &at, &length) == 2) {
    if (length > LARGEST / 2) length = LARGEST / 2;
    if (at > memory || length > memory - at) fail("memory is asked for that is not there", 0);
    return hex(to, g->ram + at, length);
  }
  return to + sprintf(to, packet[0] == 'q' ? "PacketSize=%x" : "OK", LARGEST);
}

static void give(int fd, const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL);
    if (n < 0) exit(0);
    bytes += n;
    length -= (size_t)n;
  }
}

int main(int argc, char **argv) {
  struct guest g = open_guest(argc, argv, KVM_SYNC_X86_REGS);
  uint64_t memory = number(argc, argv, "memory", NULL), eager = number(argc, argv, "eager", "0");
  struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP};
  need("KVM_SET_GUEST_DEBUG", g.vcpu, KVM_SET_GUEST_DEBUG, &debug);

  struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof here;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  if (listener < 0 || bind(listener, (struct sockaddr *)&here, sizeof here) < 0 || listen(listener, 1) < 0 ||
      getsockname(listener, (struct sockaddr *)&here, &size) < 0) {
    die("listen");
  }
  printf("127.0.0.1:%u\n", ntohs(here.sin_port));
  fflush(stdout);
  int fd = accept(listener, NULL, NULL);
  if (fd < 0) die("accept");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);

  for (;;) {
    ssize_t n = -1;
    for (uint64_t i = 0; n < 0 && i < eager; i++) n = recv(fd, in, sizeof in - 1, MSG_DONTWAIT);
    if (n < 0) n = recv(fd, in, sizeof in - 1, 0);
    if (n <= 0) return 0;
    in[n] = 0;
    const char *packet = strchr(in, '$');
    if (packet == NULL) continue;
    out[0] = '$';
    char *end = answer(&g, memory, packet + 1, out + 1);
    unsigned char sum = 0;
    for (const char *c = out + 1; c != end; c++) sum += (unsigned char)*c;
    *end++ = '#';
    *end++ = digits[sum >> 4];
    *end++ = digits[sum & 15];
    give(fd, out, (size_t)(end - out));
  }
}
