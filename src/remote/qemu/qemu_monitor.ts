/** QEMU's monitor as scripts have it: states, disks, network cards, and whatever else it knows. */
import { HvshError, InputError, UnsupportedError } from "../../vm/errors.ts";
import type { DiskPlug, HypervisorMonitor, NetworkPlug } from "../../vm/hypervisor.ts";
import type { Picture } from "../../vm/picture.ts";
import type { Machine } from "../machine.ts";
import { type QmpConnection, QmpError } from "../qmp.ts";
import { readPpm } from "./ppm.ts";

/** The node of the image that states are kept in, in a QEMU of ours. */
export const STATE_NODE = "hvsh-state";
/** Where states are kept. */
export interface StateImage {
  /** An empty qcow2 image. */
  readonly path: string;
  /** Whether QEMU was started with it. */
  readonly plugged: boolean;
}

const JOB_MS = 120_000;
const POLL_MS = 5;

/** The monitor of one QEMU. */
export class QemuMonitor implements HypervisorMonitor {
  readonly #machine: Machine;
  readonly #qmp: QmpConnection;
  readonly #states: StateImage | undefined;
  #plugged: boolean;
  #names = 0;

  /** @param states An image of ours for states; if there is none, QEMU finds one among the guest's disks. */
  constructor(machine: Machine, qmp: QmpConnection, states?: StateImage) {
    this.#machine = machine;
    this.#qmp = qmp;
    this.#states = states;
    this.#plugged = states?.plugged === true;
  }

  execute(command: string, args?: Readonly<Record<string, unknown>>): unknown {
    return this.#qmp.execute(command, args);
  }

  command(line: string): string {
    return this.#qmp.monitor(line);
  }

  async save(name: string): Promise<void> {
    checkName(name);
    this.#machine.session.halt();
    if (this.#states !== undefined) await this.#job("snapshot-save", name);
    else this.#said(this.command(`savevm ${name}`));
  }

  async load(name: string): Promise<void> {
    checkName(name);
    this.#machine.session.halt();
    if (this.#states !== undefined) await this.#job("snapshot-load", name);
    else this.#said(this.command(`loadvm ${name}`));
    this.#machine.revived();
  }

  addDisk(path: string, { id = this.#name("disk"), readOnly = false, driver }: DiskPlug = {}): string {
    checkName(id);
    const node = `${id}-node`;
    this.#qmp.execute("blockdev-add", {
      driver: "raw",
      "node-name": node,
      "read-only": readOnly,
      file: { driver: "file", filename: path },
    });
    try {
      this.#qmp.execute("device_add", { driver: driver ?? "virtio-blk-pci", id, drive: node });
    } catch (error) {
      this.#qmp.execute("blockdev-del", { "node-name": node });
      throw error;
    }
    return id;
  }

  addNetwork(plug: NetworkPlug = {}): string {
    const { id = this.#name("net"), mac, pcap, driver = "virtio-net-pci" } = plug;
    checkName(id);
    const netdev = `${id}-host`;
    using undo = new DisposableStack();
    this.#qmp.execute("netdev_add", { id: netdev, ...netdevOf(plug) });
    undo.defer(() => this.#qmp.execute("netdev_del", { id: netdev }));
    if (pcap !== undefined) {
      const dump = { "qom-type": "filter-dump", id: `${id}-pcap`, netdev, file: pcap };
      this.#qmp.execute("object-add", dump);
      undo.defer(() => this.#qmp.execute("object-del", { id: dump.id }));
    }
    this.#qmp.execute("device_add", { driver, id, netdev, ...(mac !== undefined && { mac }) });
    undo.move();
    return id;
  }

  removeDevice(id: string): void {
    this.#qmp.execute("device_del", { id });
  }

  /** What its screen shows. */
  async picture(): Promise<Picture> {
    const file = await Deno.makeTempFile({ suffix: ".ppm" });
    try {
      this.#screendump(file);
      return readPpm(await Deno.readFile(file));
    } finally {
      await Deno.remove(file);
    }
  }

  #screendump(file: string): void {
    try {
      this.#qmp.execute("screendump", { filename: file });
    } catch (error) {
      if (!(error instanceof QmpError && /no console/.test(error.message))) throw error;
      throw new UnsupportedError("the screen", "this QEMU has no display device", {
        cause: error,
        remedy: "boot it with firmware() (-bios, -hda), or start QEMU with -vga std",
      });
    }
  }

  #name(kind: string): string {
    return `hvsh-${kind}${this.#names++}`;
  }

  /** QEMU drains and flushes what disks it has at every stop, each step's too: this one it has once it is needed. */
  #plug(): void {
    if (this.#plugged || this.#states === undefined) return;
    this.#qmp.execute("blockdev-add", {
      driver: "qcow2",
      "node-name": STATE_NODE,
      // The image does not outlive QEMU: nothing there has to reach the disk.
      cache: { "no-flush": true },
      file: { driver: "file", filename: this.#states.path },
    });
    this.#plugged = true;
  }

  /** Runs a command that takes its time, to its end. */
  async #job(command: string, tag: string): Promise<void> {
    this.#plug();
    const id = this.#name("job");
    this.#qmp.execute(command, { "job-id": id, tag, vmstate: STATE_NODE, devices: [STATE_NODE] });
    for (const deadline = performance.now() + JOB_MS;;) {
      const jobs = this.#qmp.execute("query-jobs") as readonly Record<string, unknown>[];
      const job = jobs.find((one) => one.id === id);
      if (job === undefined || job.status === "concluded") {
        if (job !== undefined) this.#qmp.execute("job-dismiss", { id });
        if (job?.error !== undefined) {
          throw new HvshError(`QEMU failed at ${command}: ${job.error}`, {
            remedy: "see `info snapshots` of its monitor for what was saved",
          });
        }
        return;
      }
      if (performance.now() > deadline) {
        throw new HvshError(`QEMU has not done ${command} within ${JOB_MS / 1000} s`, {
          remedy: "try again on a less loaded host",
        });
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** The human monitor says nothing if all is well. */
  #said(text: string): void {
    if (text.trim() === "") return;
    throw new HvshError(`QEMU refuses: ${text.trim()}`, {
      remedy: "a state is kept in a qcow2 disk of the guest's",
    });
  }
}

/** The network behind a card, in QMP's words. */
function netdevOf({ tap, open = false, forwards = [] }: NetworkPlug): Record<string, unknown> {
  // Scripts that bring interfaces up and down are the host's business: none is run.
  if (tap !== undefined) return { type: "tap", ifname: tap, script: "no", downscript: "no" };
  return {
    type: "user",
    restrict: !open,
    hostfwd: forwards.map(({ protocol = "tcp", host = "127.0.0.1", hostPort, guest = "", guestPort }) => ({
      str: `${protocol}:${host}:${hostPort}-${guest}:${guestPort}`,
    })),
  };
}

function checkName(name: string): void {
  if (/^[A-Za-z][\w.-]{0,60}$/.test(name)) return;
  throw new InputError(`${JSON.stringify(name)} can't be a name in QEMU's monitor`, {
    remedy: "take letters, digits, dots, dashes and underscores, a letter first",
  });
}
