/**
 * The C library, opened at its first use: importing hvsh costs no dlopen.
 *
 * The declarations follow what was measured for Deno's fast calls: an ioctl's request is `u32` and a file
 * descriptor `i32`; one C symbol is declared again for each kind of last argument; sizes are `usize` and must
 * be given as BigInt (a number leaves the fast path).
 */

import { HostError } from "./error.ts";

/** What hvsh calls in libc. The comment beside each is C's own declaration. */
const SYMBOLS = {
  // int open(const char *path, int flags)
  open: { parameters: ["buffer", "i32"], result: "i32" },
  // int close(int fd)
  close: { parameters: ["i32"], result: "i32" },
  // int ioctl(int fd, unsigned long request, ...): an int, a structure, or a 64-bit number
  ioctl: { parameters: ["i32", "u32", "i32"], result: "i32" },
  ioctlBuffer: { name: "ioctl", parameters: ["i32", "u32", "buffer"], result: "i32" },
  ioctlU64: { name: "ioctl", parameters: ["i32", "u32", "u64"], result: "i32" },
  // int fcntl(int fd, int cmd, ...): an int or a structure
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  fcntlBuffer: { name: "fcntl", parameters: ["i32", "i32", "buffer"], result: "i32" },
  // void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
  mmap: { parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
  // int munmap(void *addr, size_t length)
  munmap: { parameters: ["pointer", "usize"], result: "i32" },
  // int madvise(void *addr, size_t length, int advice)
  madvise: { parameters: ["pointer", "usize", "i32"], result: "i32" },
  // void *memmem(const void *haystack, size_t, const void *needle, size_t)
  memmem: { parameters: ["pointer", "usize", "buffer", "usize"], result: "pointer" },
  // int *__errno_location(void)
  errnoLocation: { name: "__errno_location", parameters: [], result: "pointer" },
  // pid_t getpid(void); pid_t gettid(void); int tgkill(pid_t tgid, pid_t tid, int sig)
  getpid: { parameters: [], result: "i32" },
  gettid: { parameters: [], result: "i32" },
  tgkill: { parameters: ["i32", "i32", "i32"], result: "i32" },
  // int pthread_sigmask(int how, const sigset_t *set, sigset_t *old): gives the error instead of setting errno
  pthreadSigmask: { name: "pthread_sigmask", parameters: ["i32", "buffer", "buffer"], result: "i32" },
  // int sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
  sigtimedwait: { parameters: ["buffer", "pointer", "buffer"], result: "i32" },
  // int timer_create(clockid_t clock, struct sigevent *event, timer_t *id)
  timerCreate: { name: "timer_create", parameters: ["i32", "buffer", "buffer"], result: "i32" },
  // int timer_settime(timer_t id, int flags, const struct itimerspec *new, struct itimerspec *old)
  timerSettime: { name: "timer_settime", parameters: ["u64", "i32", "buffer", "pointer"], result: "i32" },
  // int timer_delete(timer_t id)
  timerDelete: { name: "timer_delete", parameters: ["u64"], result: "i32" },
  // int clock_gettime(clockid_t clock, struct timespec *now)
  clockGettime: { name: "clock_gettime", parameters: ["i32", "buffer"], result: "i32" },
  // int eventfd(unsigned int initval, int flags); ssize_t read(int, void *, size_t) and write
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  // ssize_t pread(int fd, void *buf, size_t count, off_t offset) and pwrite; int fdatasync(int fd)
  pread: { parameters: ["i32", "buffer", "usize", "i64"], result: "isize" },
  pwrite: { parameters: ["i32", "buffer", "usize", "i64"], result: "isize" },
  // ssize_t preadv(int fd, const struct iovec *iov, int iovcnt, off_t offset)
  preadv: { parameters: ["i32", "buffer", "i32", "i64"], result: "isize" },
  // ssize_t writev(int fd, const struct iovec *iov, int iovcnt)
  writev: { parameters: ["i32", "buffer", "i32"], result: "isize" },
  // int fallocate(int fd, int mode, off_t offset, off_t len)
  fallocate: { parameters: ["i32", "i32", "i64", "i64"], result: "i32" },
  // int fdatasync(int fd)
  fdatasync: { parameters: ["i32"], result: "i32" },
  // off_t lseek(int fd, off_t offset, int whence)
  lseek: { parameters: ["i32", "i64", "i32"], result: "i64" },
  // int statx(int dirfd, const char *pathname, int flags, unsigned int mask, struct statx *statxbuf)
  statx: { parameters: ["i32", "buffer", "i32", "u32", "buffer"], result: "i32" },
  // int socket(int domain, int type, int protocol); int connect(int fd, const struct sockaddr *, socklen_t)
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  // int bind(int fd, const struct sockaddr *, socklen_t); int listen(int fd, int backlog)
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
  // int accept4(int fd, struct sockaddr *, socklen_t *, int flags); int shutdown(int fd, int how)
  accept4: { parameters: ["i32", "pointer", "pointer", "i32"], result: "i32" },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  // ssize_t send(int fd, const void *buf, size_t len, int flags); ssize_t recv(int, void *, size_t, int)
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  // int setsockopt(int fd, int level, int optname, const void *optval, socklen_t optlen)
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  // int poll(struct pollfd *fds, nfds_t nfds, int timeout)
  poll: { parameters: ["buffer", "usize", "i32"], result: "i32" },
  pollLater: { name: "poll", parameters: ["buffer", "usize", "i32"], result: "i32", nonblocking: true },
  // int ppoll(struct pollfd *fds, nfds_t nfds, const struct timespec *timeout, const sigset_t *mask)
  ppoll: { parameters: ["buffer", "usize", "buffer", "pointer"], result: "i32" },
  // int epoll_create1(int flags); int epoll_ctl(int epfd, int op, int fd, struct epoll_event *)
  epollCreate1: { name: "epoll_create1", parameters: ["i32"], result: "i32" },
  epollCtl: { name: "epoll_ctl", parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  // int epoll_wait(int epfd, struct epoll_event *events, int maxevents, int timeout)
  epollWait: { name: "epoll_wait", parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
  // int sched_yield(void)
  schedYield: { name: "sched_yield", parameters: [], result: "i32" },
  // void *dlsym(void *handle, const char *symbol); void *dlopen(const char *filename, int flags)
  dlsym: { parameters: ["pointer", "buffer"], result: "pointer" },
  dlopenLater: { name: "dlopen", parameters: ["buffer", "i32"], result: "pointer", nonblocking: true },
  // void free(void *)
  free: { parameters: ["pointer"], result: "void" },
} as const;

/** libc's functions, typed by their declarations. */
export type Libc = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/** libc, of which each function is bound when it is first asked for: Deno compiles a way into each, 0.2 ms long. */
class Functions {
  static {
    for (const name of Object.keys(SYMBOLS) as (keyof typeof SYMBOLS)[]) {
      Object.defineProperty(Functions.prototype, name, {
        get(this: Functions): unknown {
          const value = bind(name);
          Object.defineProperty(this, name, { value });
          return value;
        },
      });
    }
  }
}

const functions = new Functions() as unknown as Libc;
let errnoCell: Int32Array | undefined;

/** @throws {HostError} If there is no glibc here. */
function bind(name: keyof typeof SYMBOLS): unknown {
  try {
    // SAFETY: the declarations above are those of glibc's headers; the library is never closed, so its
    // functions outlive every caller.
    return (Deno.dlopen("libc.so.6", { [name]: SYMBOLS[name] }).symbols as Record<string, unknown>)[name];
  } catch (cause) {
    throw new HostError(`dlopen libc.so.6, ${name}`, 0, {
      cause,
      remedy: "hvsh's local backends need Linux with glibc, and Deno's --allow-ffi.",
    });
  }
}

/**
 * libc, kept for the life of the thread.
 *
 * @throws {HostError} If there is no glibc here.
 */
export function libc(): Libc {
  if (errnoCell === undefined) {
    const location = functions.errnoLocation();
    if (location === null) throw new HostError("__errno_location", 0);
    // SAFETY: errno of this thread lives as long as the thread does; a Worker loads this module anew and
    // so has its own cell.
    errnoCell = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(location, 4));
  }
  return functions;
}

/** Binds every function now: for tests, whose resource sanitizer takes what is opened in the middle of one for a leak. */
export function bindAll(): void {
  for (const name of Object.keys(SYMBOLS) as (keyof typeof SYMBOLS)[]) void functions[name];
  libc();
}

/** errno as the calling thread's last failed call left it. Read it before anything else calls into libc. */
export function errno(): number {
  return errnoCell === undefined ? 0 : errnoCell[0];
}

/** A NUL-terminated copy of `text` in UTF-8, as C takes paths. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  if (text.includes("\0")) throw new RangeError(`A path can't hold a NUL character: ${JSON.stringify(text)}`);
  return new TextEncoder().encode(`${text}\0`);
}

/**
 * Gives `result` back, or throws when it says that a call failed.
 *
 * @param call What was called, for the message: `ioctl KVM_CREATE_VM`.
 * @param result What the call gave; negative means failure with errno set.
 * @param remedy What the user can do about it.
 * @throws {HostError} If `result` is negative.
 */
export function check(call: string, result: number, remedy?: string): number {
  if (result < 0) throw new HostError(call, errno(), remedy === undefined ? {} : { remedy });
  return result;
}
