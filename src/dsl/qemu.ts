/** QEMU as a backend, put together of the host's part (sockets, processes) and the protocols' part. */
import { findProgram, findSetpriv, HostChild } from "../host/child.ts";
import { HostStream, waitForStreams } from "../host/stream.ts";
import type { QemuOptions } from "../remote/qemu/command_line.ts";
import type { QemuHost } from "../remote/qemu/host.ts";
import { openQemu, PROGRAM } from "../remote/qemu/open_qemu.ts";
import type { Backend } from "../vm/backend.ts";
import type { Host } from "./hosts.ts";

const NO_SETPRIV = "there is no setpriv, by which QEMU ends with hvsh";

/** What this host does for the backend. */
export const QEMU_HOST: QemuHost = {
  findProgram,
  noChildren: () => findSetpriv() === undefined ? NO_SETPRIV : undefined,
  start: (program, args) => new HostChild(program, args),
  connect: (path) => HostStream.unix(path),
  wait: (streams: readonly HostStream[], timeoutMs) => waitForStreams(streams, timeoutMs),
};

/** Versions that programs told, by path: starting QEMU to ask takes longer than anything else of `hosts()`. */
const versions = new Map<string, string>();

/** Whether guests can be opened in a QEMU here, and which. */
export async function qemuHost(): Promise<Host> {
  const program = findProgram(PROGRAM);
  if (program === undefined) {
    return {
      backend: "qemu",
      usable: false,
      reason: `there is no ${PROGRAM} in PATH`,
      remedy: "install qemu-system-x86",
    };
  }
  if (findSetpriv() === undefined) {
    return { backend: "qemu", usable: false, reason: NO_SETPRIV, remedy: "install util-linux" };
  }
  let version = versions.get(program);
  if (version === undefined) {
    const { stdout } = await new Deno.Command(program, { args: ["-version"], stderr: "null" }).output();
    version = /version ([\d.]+)/.exec(new TextDecoder().decode(stdout))?.[1] ?? "of an unknown version";
    versions.set(program, version);
  }
  return { backend: "qemu", usable: true, detail: `QEMU ${version}, translating (TCG)` };
}

/** Starts a QEMU for one guest. @throws As `openQemu`. */
export function startQemu(options: QemuOptions): Promise<Backend> {
  return openQemu(options, QEMU_HOST);
}
