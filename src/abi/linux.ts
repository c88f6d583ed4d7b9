/** Linux structures and constants of x86-64 that hvsh's system calls take, checked against the headers by a test. */

import { array, bytes, s32, s64, struct, u16, u32, u64 } from "./layout.ts";

/** `struct timespec` (time.h). */
export const timespec = struct({ tv_sec: s64, tv_nsec: s64 });

/** `struct itimerspec` (time.h): period (zero for one shot) and time until the next expiry. */
export const itimerspec = struct({ it_interval: timespec, it_value: timespec });

/** `struct sigevent` (sigevent(7)); the thread's id stands in a union that C calls `_sigev_un._tid`. */
export const sigevent = struct({
  sigev_value: u64,
  sigev_signo: s32,
  sigev_notify: s32,
  _sigev_un: struct({ _tid: s32, _pad: bytes(44) }),
});

/** `sigset_t` of glibc: 1024 bits, of which the kernel takes the first 64. */
export const sigset = struct({ __val: array(u64, 16) });

/** Bytes of a signal set that the kernel knows (`_NSIG / 8`). */
export const KERNEL_SIGSET_BYTES = 8;

/** `struct statx` (statx(2)) as far as hvsh reads it; times, device numbers and spares follow. */
export const statx = struct({
  stx_mask: u32,
  stx_blksize: u32,
  stx_attributes: u64,
  stx_nlink: u32,
  stx_uid: u32,
  stx_gid: u32,
  stx_mode: u16,
  __spare0: u16,
  stx_ino: u64,
  stx_size: u64,
  _rest: bytes(208),
});

/** `struct pollfd` (poll(2)). */
export const pollfd = struct({ fd: s32, events: u16, revents: u16 });

/** `struct epoll_event` (epoll_ctl(2)), packed on x86-64; the descriptor stands in a union that C calls `data`. */
export const epoll_event = struct({ events: u32, data: struct({ fd: s32, _pad: u32 }) });

/** `struct sockaddr_un` (unix(7)): the path ends with a zero byte. */
export const sockaddr_un = struct({ sun_family: u16, sun_path: bytes(108) });

/** `struct sockaddr_in` (ip(7)); port and address are big-endian. */
export const sockaddr_in = struct({ sin_family: u16, sin_port: u16, sin_addr: u32, sin_zero: bytes(8) });

/** `struct ifreq` (netdevice(7)) as far as TUNSETIFF takes it; C calls the flags `ifr_flags`. */
export const ifreq = struct({ ifr_name: bytes(16), ifr_flags: u16, _rest: bytes(22) });

/** `struct f_owner_ex`, of fcntl's F_SETOWN_EX. */
export const f_owner_ex = struct({ type: s32, pid: s32 });

/** Constants under their C names. */
export const LINUX = {
  O_RDONLY: 0,
  O_RDWR: 2,
  O_NONBLOCK: 0x800,
  O_CLOEXEC: 0x80000,
  PROT_READ: 1,
  PROT_WRITE: 2,
  MAP_SHARED: 1,
  MAP_PRIVATE: 2,
  MAP_ANONYMOUS: 0x20,
  MAP_NORESERVE: 0x4000,
  MADV_DONTNEED: 4,
  CLOCK_MONOTONIC: 1,
  CLOCK_THREAD_CPUTIME_ID: 3,
  SIGEV_THREAD_ID: 4,
  F_GETFL: 3,
  F_SETFL: 4,
  F_SETOWN_EX: 15,
  F_OWNER_TID: 0,
  O_ASYNC: 0x2000,
  SIGIO: 29,
  SIG_BLOCK: 0,
  SIG_UNBLOCK: 1,
  SIG_SETMASK: 2,
  EFD_CLOEXEC: 0x80000,
  EFD_NONBLOCK: 0x800,
  SEEK_END: 2,
  AT_EMPTY_PATH: 0x1000,
  STATX_BASIC_STATS: 0x7ff,
  O_NOCTTY: 0x100,
  S_IFMT: 0o170000,
  S_IFREG: 0o100000,
  S_IFBLK: 0o060000,
  S_IFDIR: 0o040000,
  AF_UNIX: 1,
  AF_INET: 2,
  SOCK_STREAM: 1,
  SOCK_CLOEXEC: 0x80000,
  SOCK_NONBLOCK: 0x800,
  SHUT_WR: 1,
  MSG_DONTWAIT: 0x40,
  MSG_NOSIGNAL: 0x4000,
  IPPROTO_TCP: 6,
  TCP_NODELAY: 1,
  SOL_SOCKET: 1,
  SO_ERROR: 4,
  IFF_TAP: 2,
  IFF_NO_PI: 0x1000,
  FALLOC_FL_KEEP_SIZE: 1,
  FALLOC_FL_PUNCH_HOLE: 2,
  IFF_VNET_HDR: 0x4000,
  TUN_F_CSUM: 1,
  TUN_F_TSO4: 2,
  TUN_F_TSO6: 4,
  POLLIN: 1,
  POLLOUT: 4,
  EPOLL_CLOEXEC: 0x80000,
  EPOLL_CTL_ADD: 1,
  EPOLL_CTL_DEL: 2,
  EPOLLIN: 1,
  EPOLLET: 0x8000_0000,
} as const;
