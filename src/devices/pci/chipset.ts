/** The PCI devices every PC of ours has, each in its place: Intel's 440FX with PIIX3 and PIIX4 functions. */
import type { Device } from "../../vm/device.ts";
import type { Timebase } from "../device_clock.ts";
import { I440fx, type PamArea } from "./i440fx.ts";
import { PciHost } from "./pci_host.ts";
import { Piix3 } from "./piix3.ts";
import { Piix4Pm } from "./piix4_pm.ts";

/** What the chipset is wired to. */
export interface ChipsetOptions {
  /** The clock it follows. */
  readonly time: Timebase;
  /** The guest asked for a reset through port 0xcf9. */
  readonly onReset: () => void;
  /** The guest turned the power off. */
  readonly onPowerOff: () => void;
  /** The guest asked for suspend to RAM. */
  readonly onSuspend?: () => void;
  /** The guest changed what an area below 1 MiB reads from and writes to. */
  readonly onPam?: (area: PamArea) => void;
  /** The guest wrote RAM below 1 MiB that a ROM hides from reads. */
  readonly onHidden?: (at: number, bytes: Uint8Array) => void;
  /**
   * Whether the power management registers are where firmware puts them, and all memory below 1 MiB is RAM, for a
   * guest without it.
   */
  readonly configured?: boolean;
  /** Whether configuration space is reached by addresses too: for a guest with tables that say so. */
  readonly ecam?: boolean;
}

/** The functions by what they are; further ones are plugged into `host` and the machine alike. */
export interface Chipset {
  readonly host: PciHost;
  /** 00:00.0 */
  readonly bridge: I440fx;
  /** 00:01.0 */
  readonly isa: Piix3;
  /** 00:01.3 */
  readonly power: Piix4Pm;
  /** All of them, to be plugged into a machine in this order. */
  readonly devices: readonly Device[];
}

/** Makes the chipset. 00:01.1 is left free for the IDE function. */
export function chipset(options: ChipsetOptions): Chipset {
  const { time, onReset, onPowerOff, onSuspend, onPam, onHidden, configured, ecam } = options;
  const isa = new Piix3({ configured });
  const host = new PciHost({ onReset, router: isa, configured, ecam });
  const bridge = new I440fx({ onPam, onHidden, configured });
  const power = new Piix4Pm({ time, onPowerOff, onSuspend, configured });
  host.plug({ slot: 0 }, bridge);
  host.plug({ slot: 1 }, isa);
  host.plug({ slot: 1, function: 3 }, power);
  return { host, bridge, isa, power, devices: [host, bridge, isa, power] };
}
