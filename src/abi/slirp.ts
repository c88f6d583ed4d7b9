/** Structures and constants of libslirp 4 (slirp/libslirp.h), in the first version of its configuration. */
import { bytes, s32, struct, u32, u64, u8 } from "./layout.ts";

/** `SlirpConfig` of version 1; pointers as numbers, IPv4 addresses as they lie in memory (big-endian). */
export const SlirpConfig = struct({
  version: u32,
  restricted: s32,
  in_enabled: u8,
  vnetwork: u32,
  vnetmask: u32,
  vhost: u32,
  in6_enabled: u8,
  _pad: bytes(3),
  vprefix_addr6: bytes(16),
  vprefix_len: u8,
  _pad2: bytes(3),
  vhost6: bytes(16),
  vhostname: u64,
  tftp_server_name: u64,
  tftp_path: u64,
  bootfile: u64,
  vdhcp_start: u32,
  vnameserver: u32,
  vnameserver6: bytes(16),
  vdnssearch: u64,
  vdomainname: u64,
  if_mtu: u64,
  if_mru: u64,
  disable_host_loopback: u8,
  enable_emu: u8,
});

/** `SlirpCb` of version 1: functions, in order. */
export const SLIRP_CALLBACKS = [
  "send_packet",
  "guest_error",
  "clock_get_ns",
  "timer_new",
  "timer_free",
  "timer_mod",
  "register_poll_fd",
  "unregister_poll_fd",
  "notify",
] as const;

/** `SLIRP_POLL_*`, and what poll(2) calls them. */
export const SLIRP_POLL: readonly (readonly [slirp: number, poll: number])[] = [
  [1 << 0, 1],
  [1 << 1, 4],
  [1 << 2, 2],
  [1 << 3, 8],
  [1 << 4, 16],
];
