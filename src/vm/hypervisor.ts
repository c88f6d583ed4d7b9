/** What a hypervisor that runs the guest by itself can be asked for beside what every backend does: QEMU's monitor. */
import type { PortForward } from "./net.ts";

/** How a disk is plugged into a running or paused guest. */
export interface DiskPlug {
  /** Its name in the monitor; one is made up if left out. */
  readonly id?: string;
  /** Whether the guest may only read it. */
  readonly readOnly?: boolean;
  /** The hypervisor's name of the device; "virtio-blk-pci" if left out. */
  readonly driver?: string;
}

/** How a network card is plugged in. */
export interface NetworkPlug {
  /** Its name in the monitor; one is made up if left out. */
  readonly id?: string;
  /** Whether the guest reaches the host's network through it. If not, which is the default, it has a wire to nobody. */
  readonly open?: boolean;
  /** An interface of the host's that its frames go to, in place of a network inside the hypervisor. */
  readonly tap?: string;
  /** Ports of the host that lead to the guest; nothing listens without. */
  readonly forwards?: readonly PortForward[];
  /** Its address; the hypervisor's choice if left out. */
  readonly mac?: string;
  /** A file that its frames are recorded in, as tcpdump writes them. */
  readonly pcap?: string;
  /** The hypervisor's name of the device; "virtio-net-pci" if left out. */
  readonly driver?: string;
}

/** The monitor of the hypervisor. What stops, starts or resets the guest is better asked of the machine. */
export interface HypervisorMonitor {
  /**
   * Runs a command of its machine protocol (QMP).
   *
   * @returns What it returns, as JSON has it.
   * @throws {HvshError} If it refuses: with its words.
   */
  execute(command: string, args?: Readonly<Record<string, unknown>>): unknown;
  /** Runs a line of its human monitor and gives what it prints. @throws {HvshError} If it does not answer. */
  command(line: string): string;
  /**
   * Keeps memory, processors and devices of a guest that stands still under a name. What is on its disks is not in it.
   *
   * @throws {HvshError} If it can't.
   */
  save(name: string): Promise<void>;
  /** Puts back what was saved. @throws {HvshError} If there is no such name. */
  load(name: string): Promise<void>;
  /** Plugs a raw disk image in. Gives its name. @throws {HvshError} If it can't be opened, or plugged in. */
  addDisk(path: string, options?: DiskPlug): string;
  /** Plugs a network card in. Gives its name. @throws {HvshError} If it can't be. */
  addNetwork(options?: NetworkPlug): string;
  /** Asks for a device to be unplugged: the guest has a say in it. @throws {HvshError} If there is no such name. */
  removeDevice(id: string): void;
}
