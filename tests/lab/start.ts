import { asLabError } from "./cache.ts";
import { Channel } from "./channel.ts";
import { type ConsoleState, readConsole } from "./console.ts";
import { LabError } from "./errors.ts";
import { destroy, type LabRecord, makeFolder, qemuProcess, sweep, writeRecord } from "./folder.ts";
import { linuxImage, xenImage } from "./images.ts";
import { initramfs, withConfig } from "./initramfs.ts";
import { findKernel, findXen, type KernelFolders } from "./kernel.ts";
import { Lab } from "./lab.ts";
import { DEFAULT_MACHINE, FILES, type LabKind, qemuArguments } from "./qemu.ts";
import { checkXen } from "./xen_check.ts";

/** What {@linkcode startLab} may be told. */
export interface StartOptions {
  /** MiB. */
  memory?: number;
  cpus?: number;
  /** Folders of the host that are writable inside. */
  shares?: string[];
  /** Whether the lab outlives this process. */
  keep?: boolean;
  /** A process with which even a kept lab ends: the next use of labs sweeps it away when that process is gone. */
  owner?: number;
  /** The lab's name; left out, KIND-N. */
  name?: string;
  /** Milliseconds until the agent must have answered. */
  bootTimeoutMs?: number;
  /** Ends the start. */
  abort?: AbortSignal;
  /** Told each stage as it is reached. */
  progress?: (stage: string) => void;
  /** Where initramfs and unpacked Xen are kept; left out, `.cache/lab` of the checkout. */
  cache?: string;
  /** Where kernels are. */
  kernels?: KernelFolders;
  /** The program to start. */
  qemu?: string;
  /** Xen's options besides the fixed ones; tests leave eager-fpu out to see the check fail. */
  xenExtra?: string;
  /** Whether to run Xen's check of itself. */
  check?: boolean;
}

/** On a machine with four times as many busy processes as cores a Xen lab was seen to take two minutes. */
const BOOT_TIMEOUT_MS = 300_000;

/** The checkout this file is in. */
export const CHECKOUT = decodeURIComponent(new URL("../..", import.meta.url).pathname).replace(/\/$/, "");

/**
 * Boots a lab and waits until commands can be run in it, a few seconds after which a Xen lab has checked itself.
 *
 * @throws {LabError} If something is missing, the start takes too long, or Xen's check fails.
 */
export async function startLab(kind: LabKind, options: StartOptions = {}): Promise<Lab> {
  await sweep();
  const qemu = findProgram(options.qemu ?? "qemu-system-x86_64");
  const cache = options.cache ?? `${CHECKOUT}/.cache/lab`;
  const kernel = findKernel(options.kernels);
  const xen = kind === "xen" ? findXen() : undefined;
  const linux = await linuxImage(kernel, cache);
  const archive = await initramfs(kernel, cache);
  const hypervisor = xen && await xenImage(xen.image, cache);
  const shares = (options.shares ?? []).map(shareFolder);

  const { name, folder } = makeFolder(kind, options.name);
  const record: LabRecord = {
    kind,
    kept: (options.keep ?? false) && options.owner === undefined,
    owner: options.owner ?? Deno.pid,
    uuid: crypto.randomUUID(),
    work: workFolder(Deno.cwd()),
    ...(xen && { tools: xen.tools }),
    started: Date.now(),
    vouched: kind === "kvm",
  };
  const config = { kind, deno: Deno.execPath(), work: record.work, shares: shares.join("\n") };
  let process: QemuProcess | undefined;
  try {
    Deno.symlinkSync(linux, `${folder}/${FILES.kernel}`);
    if (hypervisor) Deno.symlinkSync(hypervisor, `${folder}/${FILES.xen}`);
    const lines = Object.entries(config).map(([name, text]) => [name, text && `${text}\n`]);
    Deno.writeFileSync(`${folder}/${FILES.initramfs}`, await withConfig(archive, Object.fromEntries(lines)));
    writeRecord(folder, record);
    const machine = { ...DEFAULT_MACHINE[kind], ...defined({ memory: options.memory, cpus: options.cpus }) };
    const args = qemuArguments(kind, { ...machine, shares }, record.work, options.xenExtra);
    process = await startQemu(qemu, [...args, "-uuid", record.uuid], folder, options.keep ?? false);
    await waitForAgent(folder, record, process, options);
    const lab = new Lab(name);
    if (kind === "xen" && (options.check ?? true)) {
      options.progress?.("check");
      await checkXen(lab, cache);
    }
    return lab;
  } catch (error) {
    await destroy(folder);
    await process?.ended;
    throw asLabError(error, "start the lab");
  }
}

/** A QEMU that was started; `ended` resolves with how, for one that is not kept. */
interface QemuProcess {
  ended?: Promise<string>;
}

/**
 * A kept QEMU makes itself a daemon. One that is not is our child, and PR_SET_PDEATHSIG (prctl(2)) ends it with us,
 * even when we are killed.
 */
async function startQemu(qemu: string, args: string[], cwd: string, keep: boolean): Promise<QemuProcess> {
  if (keep) {
    const { success, stderr } = await new Deno.Command(qemu, { args: [...args, "-daemonize"], cwd }).output();
    if (!success) throw new LabError(`QEMU did not start: ${new TextDecoder().decode(stderr).trim()}`);
    return {};
  }
  const child = new Deno.Command("setpriv", {
    args: ["--pdeathsig", "KILL", qemu, ...args],
    cwd,
    detached: true, // Ctrl-C is for us, not for QEMU
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const ended = child.output().then(({ code, signal, stderr }) => {
    const said = new TextDecoder().decode(stderr).trim();
    return `QEMU ended with ${signal ?? `code ${code}`}${said && `: ${said}`}`;
  });
  child.unref();
  return { ended };
}

/** Watches the console until the agent answers. */
async function waitForAgent(
  folder: string,
  record: LabRecord,
  process: QemuProcess,
  options: StartOptions,
): Promise<void> {
  const limit = options.bootTimeoutMs ?? BOOT_TIMEOUT_MS;
  const abort = new AbortController();
  let answered = false;
  let ended: string | undefined;
  void process.ended?.then((how) => ended = how);
  const hello = connectWhenThere(folder, abort.signal).then(() => answered = true, () => {});
  const give = (why: string, { stage, tail }: ConsoleState, remedy?: string) =>
    new LabError(why, { stage, console: tail, remedy });
  const started = Date.now();
  let stage = "";
  try {
    while (!answered) {
      const state = readConsole(folder);
      if (state.stage !== stage) {
        stage = state.stage;
        options.progress?.(stage);
      }
      const at = `the last stage it reached is "${stage}"`;
      if (options.abort?.aborted) {
        throw give(`The start of the lab was interrupted; ${at}.`, { ...state, tail: [] });
      }
      if (state.panic) throw give(`The lab's kernel panicked: ${state.panic}`, state);
      if (state.failed) throw give(`The lab's start failed: ${state.failed}; ${at}.`, state);
      const age = Date.now() - started;
      if (ended !== undefined || (!process.ended && qemuProcess(folder, record) === null)) {
        throw give(`${ended ?? "QEMU ended"} before the lab was up; ${at}.`, state);
      }
      if (age > limit) {
        throw give(
          `The ${record.kind} lab did not come up within ${limit / 1000} s; ${at}.`,
          state,
          "On a busy machine give it more time: --boot-timeout SECONDS.",
        );
      }
      await Promise.race([hello, pause(100)]);
    }
  } finally {
    abort.abort();
    await hello;
  }
}

/** Connects to the agent and hangs up: QEMU makes its sockets before the guest runs, but not at once. */
async function connectWhenThere(folder: string, abort: AbortSignal): Promise<void> {
  while (!abort.aborted) {
    try {
      const channel = await Channel.open(folder, abort);
      channel[Symbol.dispose]();
      return;
    } catch (error) {
      if (error instanceof LabError) throw error;
      await pause(50);
    }
  }
}

/**
 * @throws {LabError} If there is no such program.
 */
function findProgram(name: string): string {
  const folders = name.includes("/")
    ? [""]
    : (Deno.env.get("PATH") ?? "").split(":").map((folder) => `${folder}/`);
  for (const folder of folders) {
    try {
      if (Deno.statSync(`${folder}${name}`).isFile) return `${folder}${name}`;
    } catch {
      // not in this one
    }
  }
  throw new LabError(`${name} isn't installed.`, {
    remedy: "Install it: deno task setup (package qemu-system-x86).",
  });
}

/**
 * @throws {LabError} If it is not a folder.
 */
function shareFolder(path: string): string {
  try {
    const real = Deno.realPathSync(path);
    if (Deno.statSync(real).isDirectory && !real.includes("\n")) return real;
  } catch {
    // said below
  }
  throw new LabError(`${path} can't be shared with the lab: it is not a folder.`);
}

/** The folder whose files are read anew for each command: the checkout, or the current folder when it is elsewhere. */
function workFolder(cwd: string): string {
  return cwd === "/" || `${cwd}/`.startsWith(`${CHECKOUT}/`) ? CHECKOUT : cwd;
}

function defined<T extends object>(values: T): Partial<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<T>;
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
