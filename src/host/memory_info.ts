import { sysinfo } from "../abi/linux.ts";
import { check, libc } from "./libc.ts";

/**
 * How much memory the host has at all, in bytes: RAM and swap (sysinfo(2)). A guest that is larger can't be served.
 *
 * @throws {HostError} If the host does not tell.
 */
export function hostMemory(): number {
  const buffer = new Uint8Array(sysinfo.size);
  check("sysinfo", libc().sysinfo(buffer));
  const info = sysinfo.read(new DataView(buffer.buffer));
  return Number((info.totalram + info.totalswap) * BigInt(info.mem_unit));
}
