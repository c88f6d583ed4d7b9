/*
 * A client of the GDB remote protocol as small as can be: packets one after another, each answer awaited and
 * thrown away. port=N on loopback, or path=SOCKET. packets=A|B is what it sends, each of them once for every
 * unit of work. memory=ADDRESS instead: `m` with the largest packet that the server takes, a byte of memory is
 * a unit.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "twin.h"

#define MOST_PACKETS 8

struct client {
  int fd;
  char answer[1 << 20];
  size_t length;
  char packets[MOST_PACKETS][64];
  size_t count;
  /* Bytes that one packet fetches; 0 if packets are the unit. */
  uint64_t bytes;
};

static int try_connect(int argc, char **argv) {
  const char *path = argument(argc, argv, "path", "");
  if (*path != 0) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path, path, sizeof to.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0) return fd;
    close(fd);
    return -1;
  }
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(number(argc, argv, "port", NULL))};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0) return fd;
  close(fd);
  return -1;
}

static void frame(char *into, size_t room, const char *payload) {
  unsigned char sum = 0;
  for (const char *c = payload; *c != 0; c++) sum += (unsigned char)*c;
  if (snprintf(into, room, "$%s#%02x", payload, sum) >= (int)room) fail("a packet is too long", 0);
}

/* Waits for one packet; what comes before its `$` is dropped. */
static void await(struct client *c) {
  c->length = 0;
  for (;;) {
    ssize_t n = read(c->fd, c->answer + c->length, sizeof c->answer - c->length);
    if (n < 0) die("read");
    if (n == 0) fail("the server hung up", 0);
    c->length += (size_t)n;
    if (c->length >= 4 && c->answer[c->length - 3] == '#') return;
    if (c->length == sizeof c->answer) fail("an answer is too long", 0);
  }
}

static void ask(struct client *c, const char *packet) {
  size_t length = strlen(packet);
  if (write(c->fd, packet, length) != (ssize_t)length) die("write");
  await(c);
}

static void work(void *context, uint64_t count) {
  struct client *c = context;
  if (c->bytes != 0) count = (count + c->bytes - 1) / c->bytes;
  for (uint64_t i = 0; i < count; i++) {
    for (size_t p = 0; p < c->count; p++) ask(c, c->packets[p]);
  }
}

int main(int argc, char **argv) {
  static struct client c;
  for (int tries = 0; (c.fd = try_connect(argc, argv)) < 0; tries++) {
    if (tries == 3000) die("connect");
    usleep(20000);
  }
  char packet[64], payload[64];
  frame(packet, sizeof packet, "qSupported:multiprocess+");
  ask(&c, packet);
  const char *size = strstr(c.answer, "PacketSize=");
  frame(packet, sizeof packet, "QStartNoAckMode");
  ask(&c, packet);
  if (write(c.fd, "+", 1) != 1) die("write");

  const char *memory = argument(argc, argv, "memory", "");
  if (*memory != 0) {
    if (size == NULL) fail("the server tells no PacketSize", 0);
    /* Two digits a byte, and room for the frame. */
    c.bytes = (strtoull(size + 11, NULL, 16) - 16) / 2;
    snprintf(payload, sizeof payload, "m%llx,%llx", strtoull(memory, NULL, 0), (unsigned long long)c.bytes);
    frame(c.packets[c.count++], sizeof packet, payload);
    return serve(work, &c);
  }
  for (const char *from = argument(argc, argv, "packets", NULL); *from != 0 && c.count < MOST_PACKETS;) {
    size_t length = strcspn(from, "|");
    if (length >= sizeof payload) fail("a packet is too long", (unsigned)length);
    memcpy(payload, from, length);
    payload[length] = 0;
    frame(c.packets[c.count++], sizeof packet, payload);
    from += length + (from[length] == '|');
  }
  return serve(work, &c);
}
