/** Guests in a QEMU of our own: started for one machine, and ended with it. */
import type { Backend, BackendConsole, MemoryRegion } from "../../vm/backend.ts";
import { HvshError, InputError, UnsupportedError } from "../../vm/errors.ts";
import { GdbConnection } from "../connection.ts";
import { GoneError } from "../gone.ts";
import { Links, type Stream } from "../link.ts";
import { Machine } from "../machine.ts";
import { QmpConnection } from "../qmp.ts";
import { RemoteBackend } from "../remote_backend.ts";
import { Session } from "../session.ts";
import { qemuCapabilities, withHistory } from "./capabilities.ts";
import { commandLine, firmwareOf, type QemuOptions, STREAMS } from "./command_line.ts";
import { emptyQcow2 } from "./empty_qcow2.ts";
import type { QemuHost, QemuProcess } from "./host.ts";
import { checkRecordable, finishRecording, recordedEnd } from "./recording.ts";
import { QemuReplay } from "./replay.ts";
import { QemuMonitor } from "./qemu_monitor.ts";

/** The program, by its name in PATH. */
export const PROGRAM = "qemu-system-x86_64";

/** How long QEMU may take until it listens. */
const START_MS = 30_000;
const RETRY_MS = 5;
const RESET_MS = 10_000;
const LOG_TAIL = 64 * 1024;
/** RAM below 4 GiB ends there at most on QEMU's "pc" machine. */
const LOW_RAM = 3n << 30n;
const HIGH_RAM = 4n << 30n;
const MAX_CPUS = 255;
/** Room for states that are saved; the file grows as it is used. */
const STATES_BYTES = 2 ** 40;

/**
 * Starts QEMU, stopped at the reset vector.
 *
 * @throws {UnsupportedError} If there is no QEMU here, or it can't be tied to hvsh's life.
 * @throws {InputError} If the options make no sense.
 * @throws {HvshError} If QEMU does not start: with its own message.
 */
export async function openQemu(options: QemuOptions, host: QemuHost): Promise<Backend> {
  check(options);
  checkRecordable(options);
  const { record, replay } = options;
  const end = replay === undefined ? 0 : await recordedEnd(replay, options.memory);
  if (record !== undefined) await Deno.mkdir(record, { recursive: true });
  const program = options.program ?? host.findProgram(PROGRAM);
  const childless = host.noChildren();
  if (program === undefined || childless !== undefined) {
    throw new UnsupportedError("the qemu backend", childless ?? `there is no ${PROGRAM} in PATH`, {
      remedy: childless === undefined ? "install qemu-system-x86" : "install util-linux",
    });
  }
  await using cleanup = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "hvsh-" });
  cleanup.defer(() => Deno.remove(folder, { recursive: true }));
  await Deno.writeFile(`${folder}/firmware`, firmwareOf(options));
  await Deno.writeFile(`${folder}/states`, emptyQcow2(STATES_BYTES));
  const links = new Links(host);
  const child = cleanup.use(host.start(program, commandLine(folder, options)));
  cleanup.use(links);
  const streams = new Map<typeof STREAMS[number], Stream>();
  const deadline = performance.now() + START_MS;
  for (const name of STREAMS) streams.set(name, await connected(`${folder}/${name}`, host, child, deadline));
  try {
    const qmp = new QmpConnection(links, streams.get("qmp")!);
    const session = new Session(new GdbConnection(links, streams.get("gdb")!));
    const console = new QemuConsole(links, streams.get("com1")!, [
      streams.get("port-e9")!,
      streams.get("debugcon")!,
    ]);
    const machine: Machine = new Machine({
      links,
      session,
      qmp,
      regions: regionsOf(options),
      capabilities: withHistory(
        qemuCapabilities(qmp.version, options.accelerator === "kvm" ? "KVM" : "TCG"),
        options,
      ),
      tripleFault: () => tripleFaulted(`${folder}/log`),
    });
    if (replay !== undefined) machine.history = new QemuReplay(machine, qmp, end);
    links.add(streams.get("exit")!, (bytes) => machine.exited ??= bytes[0] << 1 | 1);
    const resources = cleanup.move();
    const backend = new RemoteBackend({
      name: "qemu",
      machine,
      console,
      monitor: new QemuMonitor(machine, qmp, {
        path: `${folder}/states`,
        plugged: record !== undefined || replay !== undefined,
      }),
      reset: () => reset(qmp, `${folder}/log`),
      close: async () => {
        await using _ = resources;
        if (record === undefined || machine.isLost) return;
        try {
          await finishRecording(record, options, { session, qmp, child });
        } catch (error) {
          // A QEMU that is gone leaves no whole recording, which a replay will tell.
          if (!(error instanceof GoneError)) throw error;
        }
      },
    });
    // The first step of a guest that is recorded ends before it has begun.
    if (record !== undefined) backend.vcpus[0].echoes();
    return backend;
  } catch (error) {
    if (error instanceof GoneError) throw await refusal(child, error.message);
    throw error;
  }
}

function check({ cpus, irqchip, pit, roms = [] }: QemuOptions): void {
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > MAX_CPUS) {
    throw new InputError(`A guest in QEMU has 1 to ${MAX_CPUS} vCPUs, not ${cpus}.`, {
      remedy: "leave cpus out for one",
    });
  }
  if (!irqchip || !pit) {
    throw new UnsupportedError("a guest without interrupt controllers", "QEMU's PC always has them", {
      remedy: "leave irqchip and pit out",
    });
  }
  if (roms.length > 1) {
    throw new InputError("QEMU takes one firmware image", { remedy: "leave the others out" });
  }
}

/** Connects as soon as QEMU listens. */
async function connected(
  path: string,
  host: QemuHost,
  child: QemuProcess,
  deadline: number,
): Promise<Stream> {
  for (;;) {
    if (child.over !== undefined) throw await refusal(child, "it ended at once");
    try {
      return host.connect(path);
    } catch (error) {
      if (performance.now() > deadline) {
        throw new HvshError("QEMU does not listen", {
          cause: error,
          remedy: "try again on a less loaded host",
        });
      }
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** QEMU did not do what it was started for: what it wrote says why. */
async function refusal(child: QemuProcess, why: string): Promise<HvshError> {
  await child[Symbol.asyncDispose]();
  const said = child.errors.trim().split("\n").slice(-8).map((line) => `\n  | ${line}`).join("");
  return new HvshError(`QEMU did not start: ${why}${said}`, {
    remedy: said === "" ? "try the same command line by hand" : "mend what QEMU complains about",
  });
}

function regionsOf({ memory, roms = [] }: QemuOptions): MemoryRegion[] {
  const all = BigInt(memory);
  const low = all < LOW_RAM ? all : LOW_RAM;
  return [
    { name: "ram", start: 0n, size: low, readOnly: false },
    ...roms.map(({ name, at, bytes }) => ({ name, start: at, size: BigInt(bytes.length), readOnly: true })),
    ...(all > low ? [{ name: "ram-high", start: HIGH_RAM, size: all - low, readOnly: false }] : []),
  ];
}

/** COM1 and the two debug ports. */
class QemuConsole implements BackendConsole {
  #print: (bytes: Uint8Array) => void = () => {};
  #log: (bytes: Uint8Array) => void = () => {};
  readonly #com1: Stream;

  constructor(links: Links, com1: Stream, [e9, debugcon]: readonly [Stream, Stream]) {
    this.#com1 = com1;
    links.add(com1, (bytes) => this.#print(bytes));
    links.add(e9, (bytes) => this.#print(bytes));
    links.add(debugcon, (bytes) => this.#log(bytes));
  }

  connect(print: (bytes: Uint8Array) => void, log: (bytes: Uint8Array) => void): void {
    this.#print = print;
    this.#log = log;
  }

  type(bytes: Uint8Array): number {
    this.#com1.send(bytes);
    return bytes.length;
  }
}

/** The end of QEMU's log since the last reset of ours. */
function tripleFaulted(log: string): boolean {
  return new TextDecoder("latin1").decode(Deno.readFileSync(log).slice(-LOG_TAIL)).includes("Triple fault");
}

/** A reset by the monitor is a shutdown too, unless QEMU is told otherwise. */
function reset(qmp: QmpConnection, log: string): void {
  qmp.forget();
  qmp.execute("set-action", { reboot: "reset" });
  try {
    qmp.execute("system_reset");
    if (qmp.event("RESET", RESET_MS) === undefined) {
      throw new HvshError("QEMU did not reset the guest", { remedy: "close it and open another one" });
    }
  } finally {
    qmp.execute("set-action", { reboot: "shutdown" });
  }
  // What it says of this guest's last life is of no interest in the next.
  Deno.truncateSync(log);
}
