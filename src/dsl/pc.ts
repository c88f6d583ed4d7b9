import { A20Gate } from "../devices/a20_gate.ts";
import { Cmos } from "../devices/cmos.ts";
import { DebugConsole } from "../devices/debug_console.ts";
import { DebugExit } from "../devices/debug_exit.ts";
import type { Timebase } from "../devices/device_clock.ts";
import { Dma8237 } from "../devices/dma8237.ts";
import type { FdcOptions } from "../devices/floppy/fdc.ts";
import { floppyFormat, USUAL_FORMAT } from "../devices/floppy/formats.ts";
import { FwCfg } from "../devices/fw_cfg.ts";
import { bootOrder, e820Table, littleEndian, machineMemoryMap } from "../devices/fw_cfg_items.ts";
import { I8042 } from "../devices/i8042.ts";
import type { IdeDriveSpec } from "../devices/ide/ide_controller.ts";
import { Piix3Ide } from "../devices/ide/piix3_ide.ts";
import { chipset } from "../devices/pci/chipset.ts";
import type { PamArea } from "../devices/pci/i440fx.ts";
import { Port92 } from "../devices/port92.ts";
import { Post } from "../devices/post.ts";
import { Pvpanic } from "../devices/pvpanic.ts";
import type { Vga } from "../devices/vga/vga.ts";
import { Uart16550 } from "../devices/uart16550.ts";
import type { ChipsAtStart, Shadow } from "../vm/backend.ts";
import type { BlockFault } from "../vm/block.ts";
import type { Device } from "../vm/device.ts";
import type { StopCause } from "../vm/stop.ts";
import type { ConsoleEnd } from "./console.ts";
import { type DriveName, FLOPPY_NAMES, type FloppyName, IDE_NAMES, type IdeName } from "./drives.ts";
import type { OpenFlash } from "./flash.ts";
import type { VgaRom } from "./vga_rom.ts";

/** RAM in `etc/e820`. */
const E820_RAM = 1;
/** CMOS's equipment byte: FPU, and a PS/2 mouse. */
const EQUIPMENT = 0x06;

/** What the devices of a PC depend on. */
export interface PcOptions {
  readonly memory: number;
  readonly cpus: number;
  /** Whether the hypervisor has the interrupt controllers. */
  readonly irqchip: boolean;
  /** Whether the hypervisor has the timer, and with it port 0x61. */
  readonly pit: boolean;
  /** Whether firmware offers its boot menu. */
  readonly bootMenu: boolean;
  /** Whether firmware's screen and keyboard are on COM1 too. */
  readonly serialScreen: boolean;
  /** Drives by their place: hda, hdb (IDE primary), hdc, hdd (secondary). */
  readonly drives: Readonly<Partial<Record<IdeName, IdeDriveSpec>>>;
  /** What lies in the floppy drives A and B; undefined for no such drive. */
  readonly floppies: FdcOptions["drives"];
  /** Drives in the order in which firmware shall try them. */
  readonly bootDrives: readonly DriveName[];
  /** The chip that firmware keeps its variables in. */
  readonly flash?: Pick<OpenFlash, "device">;
  /** The VGA's BIOS and font; without it there is no VGA. */
  readonly vga?: VgaRom;
  /** Whether no firmware will set chips up, so that they start as a BIOS leaves them. */
  readonly configured: boolean;
  /** Whether the timer ticks from the start, as a BIOS leaves it. */
  readonly ticking: boolean;
  /** What of the 8259s a BIOS has masked and made level-triggered. */
  readonly pic?: ChipsAtStart["pic"];
  /** Whether the PCI bus is reached by addresses too, as the ACPI tables of a guest without firmware say. */
  readonly ecam: boolean;
  readonly time: Timebase;
  readonly console: ConsoleEnd;
  /** What firmware tells whoever debugs it. */
  readonly debugLog: ConsoleEnd;
  /** Stops the machine at the next chance. */
  readonly stop: (cause: StopCause) => void;
  /** Changes what the guest meets in a stretch of its RAM. */
  readonly shadow: (at: bigint, length: number, how: Shadow) => void;
  /** Writes RAM, whatever lies over it. */
  readonly onHidden?: (at: number, bytes: Uint8Array) => void;
  /** Opens or closes the gate of address line 20; undefined where memory can't wrap. */
  readonly onA20?: (open: boolean) => void;
  /** Tells the user something. */
  readonly notice: (text: string) => void;
  /** The host's side of a drive failed. */
  readonly onFault: (fault: BlockFault) => void;
}

/**
 * The devices a guest finds when none are asked for: COM1 with the console, real-time clock, fw_cfg, debug
 * ports, debug exit, pvpanic, the system ports that firmware touches, and a PCI bus with Intel's 440FX, PIIX3 with IDE,
 * and PIIX4's power management. What not every guest has is loaded for those that have it.
 */
export async function pcDevices(options: PcOptions): Promise<Device[]> {
  const { memory, cpus, configured, time, console, debugLog, stop } = options;
  const print = (bytes: Uint8Array) => console.print(bytes);
  const onReset = () => stop({ kind: "shutdown", reason: "reset" });
  // QEMU's port does not gate the interrupt with OUT2, and kernels that only ever ran there forget to set it.
  const uart = new Uart16550({ name: "uart0", base: 0x3f8, irq: 4, sink: print, time, gated: false });
  console.connect((bytes) => uart.receive(bytes));
  const pci = chipset({
    time,
    configured,
    ecam: options.ecam,
    onReset,
    onPowerOff: () => stop({ kind: "shutdown", reason: "poweroff" }),
    onPam: (area) => options.shadow(BigInt(area.start), area.length, shadowOf(area)),
    onHidden: options.onHidden,
  });
  const ide = await ideOf(options);
  pci.host.plug({ slot: 1, function: 1 }, ide);
  const vga = options.vga && await vgaOf(options.vga, options);
  if (vga !== undefined) pci.host.plug({ slot: 2 }, vga);
  const dma = new Dma8237();
  const a20 = new A20Gate((open) => options.onA20?.(open));
  return [
    ...await timerAndInterrupts(options),
    uart,
    new Cmos({ memory, cpus, time, equipment: EQUIPMENT, floppies: options.floppies.map(driveType) }),
    await firmwareConfiguration(options),
    new DebugConsole({ name: "debugcon", port: 0x402, sink: (bytes) => debugLog.print(bytes) }),
    // Bochs' port: kernels that use it have no other console, firmware does not use it.
    new DebugConsole({ name: "debugcon-e9", port: 0xe9, sink: print }),
    new DebugExit({ onExit: (code) => stop({ kind: "exit", code }) }),
    new Pvpanic({
      onPanic: () => stop({ kind: "shutdown", reason: "crash", detail: "its kernel panicked" }),
      onCrashLoaded: () => options.notice("the guest's kernel panicked, and its crash kernel takes over"),
    }),
    new Port92({ onReset, a20 }),
    new I8042({ time, onReset, a20, configured }),
    ...pci.devices,
    ide,
    ...(vga ? [vga] : []),
    ...(options.flash ? [options.flash.device(options.onFault)] : []),
    new Post(),
    dma,
    ...await floppyController(options, dma),
  ];
}

/** PIIX3's IDE function with its drives. */
async function ideOf({ configured, drives, onFault }: PcOptions): Promise<Piix3Ide> {
  const { hda, hdb, hdc, hdd } = drives;
  if ((hda ?? hdb ?? hdc ?? hdd) === undefined) return new Piix3Ide({ configured, onFault });
  const { ideController } = await import("../devices/ide/ide_controller.ts");
  return ideController({
    configured,
    primary: { ...(hda && { master: hda }), ...(hdb && { slave: hdb }) },
    secondary: { ...(hdc && { master: hdc }), ...(hdd && { slave: hdd }) },
    onFault,
  });
}

/** The floppy disk controller, if there are drives. */
async function floppyController({ floppies, onFault }: PcOptions, dma: Dma8237): Promise<Device[]> {
  if (floppies.every((drive) => drive === undefined)) return [];
  const { Fdc } = await import("../devices/floppy/fdc.ts");
  return [new Fdc({ dma: dma.channel(2), drives: floppies, onFault })];
}

/** What the CMOS RAM says of a floppy drive: that it is one for what lies in it. */
function driveType(inside: FdcOptions["drives"][number]): number {
  if (inside === undefined) return 0;
  return (inside === "empty" ? USUAL_FORMAT : floppyFormat(inside.size) ?? USUAL_FORMAT).drive;
}

async function vgaOf({ font }: VgaRom, { time, configured }: PcOptions): Promise<Vga> {
  const { Vga } = await import("../devices/vga/vga.ts");
  return new Vga({ time, configured, ...(font && { font }) });
}

/** What of interrupt controllers and timer the hypervisor does not have. */
async function timerAndInterrupts(
  { irqchip, pit, configured, ticking, pic: start, time }: PcOptions,
): Promise<Device[]> {
  if (pit) return [];
  const { Pit8254 } = await import("../devices/pit8254.ts");
  const { Port61 } = await import("../devices/port61.ts");
  const { Speaker } = await import("../devices/speaker.ts");
  const timer = new Pit8254({ time, configured: ticking, onTone: () => speaker.update() });
  const speaker = new Speaker({ time, timer });
  const onSpeaker = (on: boolean) => speaker.connect(on);
  const others = [timer, new Port61({ time, timer, onSpeaker }), speaker];
  if (irqchip) return others;
  const { Pic8259 } = await import("../devices/pic8259.ts");
  const { IoApic } = await import("../devices/ioapic.ts");
  const onAcknowledge = (irq: number) => irq === 0 && timer.acknowledged();
  return [new Pic8259({ configured, onAcknowledge, ...(start && { start }) }), new IoApic(), ...others];
}

/** fw_cfg with the files that SeaBIOS looks for. */
async function firmwareConfiguration(options: PcOptions): Promise<FwCfg> {
  const { memory, cpus, bootMenu, configured, serialScreen, bootDrives, vga } = options;
  const fwCfg = new FwCfg({ memory, cpus, nographic: vga === undefined, bootMenu });
  const map = machineMemoryMap(memory);
  fwCfg.items.addFile("etc/e820", e820Table(map));
  if (!configured) {
    // Without them SeaBIOS makes some of its own, and clears much memory for them byte by byte.
    const { smbiosTables } = await import("../x86/smbios.ts");
    const { anchor, structures } = smbiosTables({ cpus, ram: map.filter(({ type }) => type === E820_RAM) });
    fwCfg.items.addFile("etc/smbios/smbios-anchor", anchor);
    fwCfg.items.addFile("etc/smbios/smbios-tables", structures);
  }
  if (serialScreen) fwCfg.items.addFile("etc/sercon-port", littleEndian(0x3f8, 8));
  // SeaBIOS looks for a function's option ROM under its vendor and device before it asks the function.
  if (vga?.bytes !== undefined) fwCfg.items.addFile("pci1234,1111.rom", vga.bytes);
  if (bootDrives.length > 0) {
    fwCfg.items.addFile("bootorder", bootOrder(bootDrives.map(openFirmwarePath)));
  }
  return fwCfg;
}

/** How SeaBIOS's `bootorder` names a drive (QEMU, docs/bootindex.txt). */
function openFirmwarePath(name: DriveName): string {
  const floppy = FLOPPY_NAMES.indexOf(name as FloppyName);
  if (floppy >= 0) return `/pci@i0cf8/isa@1/fdc@03f0/floppy@${floppy}`;
  const place = IDE_NAMES.indexOf(name as IdeName);
  return `/pci@i0cf8/ide@1,1/drive@${place >> 1}/disk@${place & 1}`;
}

/** What the guest meets in an area of the bridge; the mode that reads ROM and writes RAM has its writes done by it. */
function shadowOf({ readRam, writeRam }: PamArea): Shadow {
  return !readRam ? "rom" : writeRam ? "ram" : "read-only";
}
