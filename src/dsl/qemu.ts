/** QEMU as a backend, put together of the host's part (sockets, processes) and the protocols' part. */
import { findProgram, findSetpriv, HostChild } from "../host/child.ts";
import { HostStream, waitForStreams } from "../host/stream.ts";
import type { QemuOptions } from "../remote/qemu/command_line.ts";
import type { QemuHost } from "../remote/qemu/host.ts";
import { openQemu, PROGRAM } from "../remote/qemu/open_qemu.ts";
import { attachStub } from "../remote/attach.ts";
import type { Backend } from "../vm/backend.ts";
import { HostError } from "../host/error.ts";
import { InputError } from "../vm/errors.ts";
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

/**
 * Attaches to a stub, and to QEMU's monitor if its address is given.
 *
 * @throws {InputError} If an address or what answers there makes no sense.
 * @throws {HostError} If nobody listens.
 */
export async function attachGdb({ address, qmp }: { address: string; qmp?: string }): Promise<Backend> {
  using cleanup = new DisposableStack();
  const monitor = qmp === undefined ? undefined : cleanup.use(await reach(qmp, QMP_REMEDY));
  const gdb = async () => cleanup.use(await reach(address, STUB_REMEDY));
  const backend = await attachStub({ gdb, ...(monitor && { qmp: monitor }) }, QEMU_HOST);
  cleanup.move();
  return backend;
}

const STUB_REMEDY = "check the address, and that a stub listens there: QEMU's does on port 1234 after -s";
const QMP_REMEDY =
  "check the address, and that QEMU listens there: -qmp tcp:127.0.0.1:4444,server=on,wait=off";

/** As `connect`; says what to do where nobody listens. */
async function reach(address: string, remedy: string): Promise<HostStream> {
  try {
    return await connect(address);
  } catch (cause) {
    if (!(cause instanceof HostError) || cause.remedy !== undefined) throw cause;
    throw new HostError(cause.call, cause.errno, { cause, remedy });
  }
}

/** HOST:PORT, :PORT for this host, or unix:PATH. */
async function connect(address: string): Promise<HostStream> {
  if (address.startsWith("unix:")) return HostStream.unix(address.slice(5));
  const [, host, digits] = /^([^:]*):(\d{1,5})$/.exec(address) ?? [];
  const port = Number(digits);
  if (!(port >= 1 && port <= 65535)) {
    throw new InputError(`${JSON.stringify(address)} is no address of a stub`, {
      remedy: "write HOST:PORT, such as 127.0.0.1:1234, or unix:PATH",
    });
  }
  return HostStream.tcp(await numeric(host), port);
}

async function numeric(host: string): Promise<string> {
  if (host === "" || host === "localhost") return "127.0.0.1";
  if (/^[\d.]+$/.test(host)) return host;
  try {
    return (await Deno.resolveDns(host, "A"))[0];
  } catch (cause) {
    throw new InputError(`there is no host ${host}`, { cause, remedy: "give its IPv4 address" });
  }
}

/** Starts a QEMU for one guest. @throws As `openQemu`. */
export function startQemu(options: QemuOptions): Promise<Backend> {
  return openQemu(options, QEMU_HOST);
}
