/** What the figures of the GDB protocol have in common: a server of ours, QEMU's stub, the same guest on both. */

import { type BackendName, hosts } from "../mod.ts";
import { type Measured, Obstacle } from "./figure.ts";
import { LOOP_ELF } from "./rsp_guest.ts";
import { build } from "./twin.ts";

const SERVER = new URL("./rsp_server.ts", import.meta.url).pathname;
const QEMU = "qemu-system-x86_64";

/** What both sides run on. */
export interface Hypervisor {
  readonly ours: BackendName;
  readonly accelerator: "kvm" | "tcg";
}

/** KVM on both sides where there is one; where there is none, interpreted by us beside translated by QEMU. */
export async function hypervisor(): Promise<Hypervisor> {
  const kvm = (await hosts()).find(({ backend }) => backend === "kvm")?.usable === true;
  return kvm ? { ours: "kvm", accelerator: "kvm" } : { ours: "fake", accelerator: "tcg" };
}

/** Runs `body` with the guest's image in a file. */
export async function withImage<T>(body: (image: string) => Promise<T>): Promise<T> {
  const image = await Deno.makeTempFile({ suffix: ".elf" });
  try {
    await Deno.writeFile(image, LOOP_ELF);
    return await body(image);
  } finally {
    await Deno.remove(image);
  }
}

/** Runs `body` with the ports of our server and of QEMU's stub, each in a process of its own. */
export function both(
  body: (ours: number, theirs: number) => Promise<Measured>,
  serve: (backend: BackendName, image: string) => Promise<Peer> = ourServer,
): Promise<Measured> {
  return withImage(async (image) => {
    const { ours, accelerator } = await hypervisor();
    await using server = await serve(ours, image);
    await using qemu = qemuStub(accelerator, image);
    const measured = await body(server.port, qemu.port);
    return { ...measured, on: ours === "kvm" ? "kvm" : `${ours}, QEMU ${accelerator}` };
  });
}

/** A process that serves the guest at a port of loopback. */
export interface Peer extends AsyncDisposable {
  readonly port: number;
}

function ourServer(backend: BackendName, image: string): Promise<Peer> {
  return told(start(Deno.execPath(), ["run", "-q", "-A", "--no-check", SERVER, backend, image], "piped"));
}

/** A server in C that does no more than the figures of this protocol ask for: what can be reached. */
export async function cServer(): Promise<Peer> {
  const guest = ["memory=33554432", "irqchip=0", "at=4096", "code=40ebfd"];
  return await told(start(await build("stub"), guest, "piped"));
}

/** A server that says where it listens. */
async function told(child: Deno.ChildProcess): Promise<Peer> {
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { value = "" } = await reader.read();
  const port = Number(/:(\d+)\s*$/.exec(value)?.[1]);
  if (!(port > 0)) throw new Obstacle(`our server said ${JSON.stringify(value)}`, "see its message above");
  return {
    port,
    async [Symbol.asyncDispose]() {
      await child.stdin.close();
      await reader.cancel();
      await child.status;
    },
  };
}

/** QEMU with the guest, stopped at its first instruction. */
export function qemuStub(accelerator: string, image: string): Peer {
  const port = freePort();
  const child = start(QEMU, [
    ...["-accel", accelerator, "-m", "32", "-nodefaults", "-no-user-config", "-display", "none", "-S"],
    ...["-gdb", `tcp:127.0.0.1:${port}`, "-kernel", image],
  ], "null");
  return {
    port,
    async [Symbol.asyncDispose]() {
      try {
        child.kill("SIGKILL");
      } catch (error) {
        // It has ended by itself; what that broke has been told.
        if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
      }
      await child.status;
      await child.stdin.close().catch(() => undefined);
    },
  };
}

function start(program: string, args: string[], stdout: "piped" | "null"): Deno.ChildProcess {
  try {
    return new Deno.Command(program, { args, stdin: "piped", stdout, stderr: "inherit" }).spawn();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Obstacle(`there is no ${program}`, "deno task setup installs Debian's packages");
  }
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return (listener.addr as Deno.NetAddr).port;
}
