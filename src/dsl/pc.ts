import { Cmos } from "../devices/cmos.ts";
import { DebugConsole } from "../devices/debug_console.ts";
import { DebugExit } from "../devices/debug_exit.ts";
import type { Timebase } from "../devices/device_clock.ts";
import { Dma8237 } from "../devices/dma8237.ts";
import { FwCfg } from "../devices/fw_cfg.ts";
import { I8042 } from "../devices/i8042.ts";
import { PciAbsent } from "../devices/pci_absent.ts";
import { Piix4Pm } from "../devices/pci/piix4_pm.ts";
import { Port61 } from "../devices/port61.ts";
import { Port92 } from "../devices/port92.ts";
import { Post } from "../devices/post.ts";
import { Uart16550 } from "../devices/uart16550.ts";
import type { Device } from "../vm/device.ts";
import type { StopCause } from "../vm/stop.ts";
import type { ConsoleEnd } from "./console.ts";

/** What the devices of a PC depend on. */
export interface PcOptions {
  readonly memory: number;
  readonly cpus: number;
  /** Whether the hypervisor has the timer, and with it port 0x61. */
  readonly pit: boolean;
  /** Whether firmware offers its boot menu. */
  readonly bootMenu: boolean;
  /** Whether no firmware will set chips up, so that they start as a BIOS leaves them. */
  readonly configured: boolean;
  /** Whether it is described in ACPI tables of ours, which speak of power management. */
  readonly acpi: boolean;
  readonly time: Timebase;
  readonly console: ConsoleEnd;
  /** What firmware tells whoever debugs it. */
  readonly debugLog: ConsoleEnd;
  /** Stops the machine at the next chance. */
  readonly stop: (cause: StopCause) => void;
}

/**
 * The devices a guest finds when none are asked for: COM1 with the console, real-time clock, fw_cfg, debug
 * ports, debug exit, and the system ports that firmware touches. There is no PCI bus.
 */
export function pcDevices(options: PcOptions): Device[] {
  const { memory, cpus, pit, bootMenu, configured, acpi, time, console, debugLog, stop } = options;
  const print = (bytes: Uint8Array) => console.print(bytes);
  const onReset = () => stop({ kind: "shutdown", reason: "reset" });
  // QEMU's port does not gate the interrupt with OUT2, and kernels that only ever ran there forget to set it.
  const uart = new Uart16550({ name: "uart0", base: 0x3f8, irq: 4, sink: print, time, gated: false });
  console.connect((bytes) => uart.receive(bytes));
  return [
    uart,
    new Cmos({ memory, cpus, time }),
    new FwCfg({ memory, cpus, nographic: true, bootMenu }),
    new DebugConsole({ name: "debugcon", port: 0x402, sink: (bytes) => debugLog.print(bytes) }),
    // Bochs' port: kernels that use it have no other console, firmware does not use it.
    new DebugConsole({ name: "debugcon-e9", port: 0xe9, sink: print }),
    new DebugExit({ onExit: (code) => stop({ kind: "exit", code }) }),
    new Port92({ onReset }),
    // A20 is always open under a hypervisor; what the guest sets can be read back.
    new I8042({ time, onReset, onA20: () => {}, configured }),
    ...(pit ? [] : [new Port61({ time })]),
    new PciAbsent({ onReset }),
    ...(acpi
      ? [new Piix4Pm({ time, configured, onPowerOff: () => stop({ kind: "shutdown", reason: "poweroff" }) })]
      : []),
    new Post(),
    new Dma8237(),
  ];
}
