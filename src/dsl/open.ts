import type { Backend, BackendName, BackendOptions } from "../vm/backend.ts";
import type { BlockFault } from "../vm/block.ts";
import { can } from "../vm/capabilities.ts";
import { checkOptions, show } from "../vm/check.ts";
import type { Device } from "../vm/device.ts";
import { InputError, UnsupportedError } from "../vm/errors.ts";
import type { DomainKind, ToolstackKernel } from "../xen/open.ts";
import type { XenBoot } from "./xen_boot.ts";
import type { BootSpec, DriveOptions, FirmwareBoot } from "./boot.ts";
import { checkController, DRIVE_OPTIONS, hasDrives, withDrives } from "./drive_options.ts";
import type { OpenFlash } from "./flash.ts";
import type { BootImage } from "../x86/boot/image.ts";
import { bootDrives, connectDrives, driveSpecs, floppySpecs, NO_DRIVES, openDrives } from "./drives.ts";
import type { QemuDrive } from "../remote/qemu/command_line.ts";
import type { Host } from "./hosts.ts";
import { connectConsole } from "./hypervisor_console.ts";
import { instructionLength } from "./instruction_length.ts";
import { followsLoader, loadImage } from "./load.ts";
import { GuestMachine } from "./machine.ts";
import { FwCfg } from "../devices/fw_cfg.ts";
import { pcDevices } from "./pc.ts";
import { VGA_WINDOW, VGA_WINDOW_BYTES, wantsVga } from "./vga.ts";
import { vgaRom } from "./vga_rom.ts";

export { HostError } from "../host/error.ts";

/** How a guest is opened. Its drives may be given here or, as what it boots from, to `firmware()`. */
export interface OpenOptions extends DriveOptions {
  /**
   * Which hypervisor; the best usable one if left out, and `vm.backend` says which: kvm, or else qemu, or fake where
   * there are `devices`, which QEMU can't have.
   */
  backend?: BackendName;
  /** RAM in bytes: a multiple of 4096, see `MiB`. 128 MiB if left out. */
  memory?: number;
  /** Number of vCPUs; 1 if left out. */
  cpus?: number;
  /**
   * The processor that the guest sees, on KVM: "host" (if left out), or with features taken out by their names in
   * /proc/cpuinfo: "host,-avx2,-rdrand". "+NAME" refuses a host without the feature. In QEMU names are QEMU's, and
   * "host" is all that QEMU can translate; what it has is QEMU's own choice if left out.
   */
  cpu?: string;
  /** What it boots. Left out: nothing is loaded, and the guest stands at the reset vector. */
  boot?: BootSpec;
  /** Devices on top of the default ones. */
  devices?: readonly Device[];
  /** Whether the default devices of a PC are there; true if left out. */
  defaultDevices?: boolean;
  /**
   * Whether the default devices have a VGA, which takes 0xa0000 to 0xbffff out of the RAM; if left out, they do for
   * `firmware()` and `bootSector()`, and for kernels by multiboot or PVH.
   */
  vga?: boolean;
  /** Interrupt controllers in the hypervisor; where it has them, if left out. */
  irqchip?: boolean;
  /** Timer in the hypervisor; as `irqchip`, if left out. */
  pit?: boolean;
  /** What executes instructions in QEMU: "tcg" translates them and works everywhere; it is taken if left out. */
  accelerator?: "tcg" | "kvm";
  /**
   * A folder that QEMU records the run in, with what comes from outside; it is whole when the guest is closed. One vCPU
   * without drives, which QEMU translates, at a third of its speed or less.
   */
  record?: string;
  /**
   * A folder with a recording: the guest runs as it did then, and `vm.history` goes to and fro in that. Everything else
   * as it was when it was opened for the recording.
   */
  replay?: string;
}

const DEFAULT_MEMORY = 128 * 1024 * 1024;
/** What is the first megabyte again while the A20 gate is closed. */
const WRAPPED = 0x10_0000n;
const WRAPPED_BYTES = 0x10_0000;

/** A backend that can be opened: whether it works here, and how a guest is made. Loaded when it is needed. */
interface Opener {
  host(): Promise<Host>;
  open(options: OpenRequest): Promise<Backend>;
  /** Whether it has interrupt controllers and timer of its own. */
  readonly chips: boolean;
  /** Whether devices are ours; if not, they are the hypervisor's own, console included. */
  readonly devices: boolean;
  /** Whether devices of ours can stand beside the hypervisor's. */
  readonly beside?: true;
  /** Whether RAM can be hidden, as a PC's VGA needs it; left out where it can. */
  readonly shadow?: false;
  /** What of the boot the hypervisor's toolstack loads, where it has one. */
  boot?(spec: BootSpec | undefined, memory: number): Promise<XenBoot>;
}

/** What an opener is asked for. */
interface OpenRequest extends BackendOptions {
  /** Whether firmware offers its boot menu. */
  readonly bootMenu: boolean;
  /** What executes instructions in QEMU. */
  readonly accelerator?: "tcg" | "kvm";
  readonly record?: string;
  readonly replay?: string;
  readonly drives?: readonly QemuDrive[];
  readonly bootOrder?: string;
  readonly screen?: boolean;
  /** What a toolstack loads. */
  readonly kernel?: ToolstackKernel;
  readonly firmware?: Uint8Array;
}

/** Every backend, best first. */
const OPENERS: Readonly<Partial<Record<BackendName, Opener>>> = {
  kvm: {
    chips: true,
    devices: true,
    host: async () => (await import("../kvm/open.ts")).kvmHost(),
    open: async (options) => (await import("../kvm/open.ts")).openKvm(options),
  },
  qemu: {
    chips: true,
    devices: false,
    host: async () => (await import("./qemu.ts")).qemuHost(),
    open: async (options) => await (await import("./qemu.ts")).startQemu(options),
  },
  "xen-pvh": xenOpener("pvh"),
  "xen-pv": xenOpener("pv"),
  "xen-hvm": xenOpener("hvm"),
  fake: {
    chips: false,
    devices: true,
    host: () => Promise.resolve({ backend: "fake", usable: true, detail: "interpreted, for tests" }),
    open: async (options) => (await import("../vm/fake.ts")).createFake(options),
  },
};

/** Backends that attach to guests of others and open none. */
const ATTACHERS: readonly (() => Promise<Host>)[] = [async () => (await import("../xen/open.ts")).xenHost()];

function xenOpener(kind: DomainKind): Opener {
  return {
    // A PVH guest has LAPICs alone, and no device model but hvsh.
    chips: kind !== "pvh",
    devices: kind === "pvh",
    ...(kind === "hvm" && { beside: true }),
    shadow: false,
    host: async () => (await import("../xen/open.ts")).xenKindHost(kind),
    boot: async (spec, memory) => await (await import("./xen_boot.ts")).xenBoot(kind, spec, memory),
    open: async ({ memory, cpus, kernel, firmware, drives = [], bootOrder }) => {
      if (drives.some((drive) => drive.kind === "floppy")) {
        throw new UnsupportedError("floppy", "Xen's toolstack gives its guests no floppy drives", {
          remedy: "give it a disk or a CD, or use another backend",
        });
      }
      const disks = kind === "hvm" ? { drives, ...(drives.length > 0 && bootOrder && { bootOrder }) } : {};
      const guest = {
        kind,
        memory,
        cpus,
        ...(kernel && { kernel }),
        ...(firmware && { firmware }),
        ...disks,
      };
      const taken = async (domain: number) => (await import("./qemu_slots.ts")).qemuSlots(domain);
      return await (await import("../xen/open.ts")).openXen(guest, instructionLength, taken);
    },
  };
}

/** Opens what guests take of the C library: for tests, where it must not come with the first guest. */
export async function openLibraries(): Promise<void> {
  await import("../host/preload.ts");
}

/** Lists every backend, best first, and whether guests can be opened through it on this host. */
export async function hosts(): Promise<Host[]> {
  const list: Host[] = [];
  for (const opener of Object.values(OPENERS)) list.push(await opener.host());
  for (const host of ATTACHERS) list.push(await host());
  return list;
}

/**
 * Opens a guest of our own, paused at its first instruction. Disposing of it destroys it.
 *
 * @throws {UnsupportedError} If the backend can't be used here; carries reason and remedy.
 * @throws {InputError} If an option or an image makes no sense.
 * @throws {HostError} If the host refuses something.
 * @example
 * ```ts
 * import { flat, gpa, open } from "hvsh";
 * import assert from "node:assert/strict";
 * // mov al, 'A'; out 0x3f8, al... from real mode, on the backend that works everywhere
 * const code = Uint8Array.of(0xb0, 0x41, 0xba, 0xf8, 0x03, 0xee, 0xfa, 0xf4);
 * await using vm = await open({ backend: "fake", boot: flat(code, { at: 0x1000 }) });
 * const stop = await vm.continue();
 * assert.equal(stop.kind, "halt");
 * assert.equal(vm.console.text, "A");
 * assert.deepEqual([...await vm.memory.read(gpa(0x1000n), 2)], [0xb0, 0x41]);
 * ```
 */
export async function open(options: OpenOptions = {}): Promise<GuestMachine> {
  check(options);
  const { memory = DEFAULT_MEMORY, cpus = 1 } = options;
  const [name, opener] = await choose(options.backend, (options.devices?.length ?? 0) > 0);
  if (options.accelerator !== undefined && name !== "qemu") {
    throw new InputError(`accelerator is for the qemu backend, and this is ${name}`, {
      remedy: "leave it out",
    });
  }
  const { record, replay } = options;
  if ((record !== undefined || replay !== undefined) && name !== "qemu") {
    throw new InputError(`record and replay are for the qemu backend, and this is ${name}`, {
      remedy: 'give backend: "qemu" (--backend qemu)',
    });
  }
  if (options.cpu !== undefined && name !== "kvm" && name !== "qemu") {
    throw new InputError(`cpu is for the kvm and qemu backends, and this is ${name}`, {
      remedy: "leave it out",
    });
  }
  const irqchip = options.irqchip ?? opener.chips;
  const pit = options.pit ?? irqchip;
  const acpi = irqchip && opener.devices && describesHardware(options);
  const told = withDrives(options.boot?.firmware ?? {}, options);
  if (opener.boot !== undefined) await usable(name, opener);
  const taken = await opener.boot?.(options.boot, memory);
  const image = taken === undefined ? await options.boot?.resolve(memory) : taken.image;
  const { accelerator, devices = [] } = options;
  if (devices.length > 0 && !opener.devices && !opener.beside) refuseDevices(name);
  // A kernel that Xen's toolstack starts is told by Xen what there is.
  const pc = opener.devices && taken?.kernel === undefined && (options.defaultDevices ?? true);
  // ROM over RAM needs the chipset's memory attributes to get at the RAM.
  const roms = image?.roms?.filter((rom) => pc || !rom.shadow);
  const vga = pc && opener.shadow !== false && wantsVga(options.boot, options.vga, image);
  const videoRom = vga ? await vgaRom(options.boot) : undefined;
  // A kernel that nobody gave a VGA may never look at it.
  const unseen = options.vga === undefined && options.boot?.kind === "elf";
  using cleanup = new DisposableStack();
  if (opener.devices) checkController(told, pc);
  const { drives, notes, stores } = !opener.devices || !hasDrives(told)
    ? NO_DRIVES
    : openDrives(told, (await import("./disks.ts")).openDisk);
  const media = cleanup.use(new DisposableStack());
  media.use(stores);
  const flash = told.variables === undefined ? undefined : await flashOf(told, image, pc);
  media.use(flash);
  const theirs = opener.devices ? undefined : (await import("./qemu_drives.ts")).qemuDrives(told);
  const bootMenu = told.menu ?? (options.boot?.kind === "firmware" && !hasDrives(told));
  // Code that expects no BIOS would not know what to do with a tick.
  const kind = options.boot?.kind;
  const chips = {
    initialised: kind !== undefined && kind !== "firmware",
    ticking: kind === "elf" || kind === "linux",
    // Kernels that boot loaders start find interrupts as the BIOS before them left them.
    ...(followsLoader(image) && { pic: (await import("../x86/bios_pic.ts")).PIC_LEFT_BY_BIOS }),
  };
  const backend = await opener.open({
    memory,
    cpus,
    irqchip,
    pit,
    chips,
    bootMenu,
    ...(accelerator && { accelerator }),
    ...(record !== undefined && { record }),
    ...(replay !== undefined && { replay }),
    ...theirs,
    screen: options.boot?.kind === "firmware",
    ...(options.cpu !== undefined && { cpu: options.cpu }),
    ...(roms && { roms: [...roms, ...(flash ? [flash.memory] : [])] }),
    ...(taken?.kernel && { kernel: taken.kernel }),
    ...(taken?.firmware && { firmware: taken.firmware }),
  });
  try {
    if (image !== undefined) {
      await loadImage(backend.vcpus[0], image, (at, bytes) => backend.memory.write(at, bytes));
    }
    const machine = new GuestMachine({
      backend,
      drives,
      stores: media,
      ...(image &&
        {
          image: {
            ...image,
            notes: [...image.notes, ...notes, ...flash?.notes ?? [], ...unseen ? [] : videoRom?.notes ?? []],
          },
        }),
    });
    connectConsole(machine, backend);
    if (pc) {
      const { clock: time, ends } = machine;
      const stop = machine.requestStop.bind(machine);
      const pcOptions = {
        memory,
        cpus,
        irqchip,
        pit,
        bootMenu,
        serialScreen: options.boot?.kind === "firmware" && (told.serial ?? true),
        drives: driveSpecs(drives),
        floppies: floppySpecs(drives),
        bootDrives: bootDrives(drives, told.order),
        ...(flash && { flash }),
        ...(videoRom && { vga: videoRom }),
        configured: chips.initialised,
        ticking: chips.ticking,
        ...(chips.pic && { pic: chips.pic }),
        ecam: acpi,
        time,
        ...ends,
        stop,
        shadow: machine.shadow.bind(machine),
        ...(backend.memory.hidden && {
          onHidden: (at: number, bytes: Uint8Array) => backend.memory.hidden!(BigInt(at), bytes),
        }),
        ...(can(backend.capabilities, "a20") && {
          onA20: (open: boolean) => void machine.shadow(WRAPPED, WRAPPED_BYTES, open ? "ram" : "below"),
        }),
        notice: machine.notice.bind(machine),
        onFault: ({ message, remedy }: BlockFault) => machine.notice(`${message}: ${remedy}`),
      };
      // Accesses to RAM never reach a device: where the VGA has its window there is none.
      if (vga) await machine.shadow(VGA_WINDOW, VGA_WINDOW_BYTES, "rom");
      const own = await pcDevices(pcOptions);
      machine.plugOwn(own);
      connectDrives(drives, own);
    }
    for (const device of devices) await machine.devices.add(device);
    const all = machine.devices.list().map((handle) => handle.device);
    const fwCfg = all.find((device) => device instanceof FwCfg);
    if (pc && options.boot?.kind === "firmware" && fwCfg !== undefined) {
      (await import("./acpi.ts")).acpiForFirmware(fwCfg, { cpus, memory, devices: all });
    }
    if (image !== undefined && acpi) {
      const { acpiWrite, pointerWrite } = await import("./acpi.ts");
      const { smbiosWrite } = await import("./smbios.ts");
      const { mpTableWrite } = await import("./mp_table.ts");
      const { writes } = image;
      const root = acpiWrite({ cpus, devices: all }, writes);
      const others = root === undefined ? writes : [...writes, root];
      const leaves = await backend.vcpus[0].cpuid?.() ?? [];
      const tables = [
        root,
        smbiosWrite({ cpus, memory }, others),
        mpTableWrite(cpus, leaves, others),
        ...(root && image.rootPointer !== undefined ? [pointerWrite(image.rootPointer, root.at)] : []),
      ];
      for (const table of tables) if (table !== undefined) await machine.install(table);
    }
    await backend.ready?.();
    cleanup.move();
    return machine;
  } catch (error) {
    await backend.close();
    throw error;
  }
}

/** The chip that firmware keeps its variables in. @throws {UnsupportedError} If the machine has no devices of ours. */
async function flashOf(told: FirmwareBoot, image: BootImage | undefined, pc: boolean): Promise<OpenFlash> {
  if (!pc || image === undefined) {
    throw new UnsupportedError(
      "variables",
      "the flash chip is one of hvsh's own devices, which this guest has not",
      {
        remedy: "take the kvm backend, with its default devices",
      },
    );
  }
  const [{ openFlash }, { openDisk }] = await Promise.all([import("./flash.ts"), import("./disks.ts")]);
  return openFlash(told.variables!, told, image, openDisk);
}

/** Whether the guest is a kernel that would have found firmware's tables on a real PC. */
function describesHardware({ boot, defaultDevices = true, memory = DEFAULT_MEMORY }: OpenOptions): boolean {
  return (boot?.kind === "linux" || boot?.kind === "elf") && defaultDevices && memory >= 1 << 20;
}

/** Devices that are TypeScript objects need every access to come here. */
function refuseDevices(name: BackendName): never {
  throw new UnsupportedError(
    "devices",
    name === "xen-pv"
      ? "a PV guest has no ports, and no addresses but those of memory"
      : `a guest on ${name} has the hypervisor's own; accesses do not come to hvsh`,
    {
      remedy: "leave devices out, or use the kvm backend, or fake, which interprets the guest",
    },
  );
}

/** Before files are read for it. @throws {UnsupportedError} If the backend can't be used here. */
async function usable(name: BackendName, opener: Opener): Promise<void> {
  const host = await opener.host();
  if (!host.usable) {
    throw new UnsupportedError(`opening a guest on ${name}`, host.reason, { remedy: host.remedy });
  }
}

/** @param devices Whether devices that are TypeScript objects are wanted, which QEMU can't have. */
async function choose(name: BackendName | undefined, devices: boolean): Promise<[BackendName, Opener]> {
  if (name !== undefined) {
    const opener = OPENERS[name];
    if (opener !== undefined) return [name, opener];
    if (name === "xen") {
      throw new UnsupportedError("opening a guest on xen", "its kind has to be told", {
        remedy:
          'take xen-pvh, xen-pv or xen-hvm; attach({ backend: "xen", domain }) is for domains of others',
      });
    }
    throw new InputError(`there is no backend "${name}"`, {
      remedy: `take one of ${Object.keys(OPENERS).join(", ")}`,
    });
  }
  const kvm = await OPENERS.kvm!.host();
  if (kvm.usable) return ["kvm", OPENERS.kvm!];
  if (devices) return ["fake", OPENERS.fake!];
  const qemu = await OPENERS.qemu!.host();
  if (qemu.usable) return ["qemu", OPENERS.qemu!];
  throw new UnsupportedError("a hypervisor", `${kvm.reason}, and ${qemu.reason}`, {
    remedy: `${kvm.remedy} Or ${qemu.remedy}; or open({ backend: "fake" }) to try things in the built-in ` +
      "interpreter.",
  });
}

const KNOWN = [
  "backend",
  "memory",
  "cpus",
  "cpu",
  "boot",
  "devices",
  "defaultDevices",
  "vga",
  "irqchip",
  "pit",
  "accelerator",
  "record",
  "replay",
  ...DRIVE_OPTIONS,
];

function check(options: OpenOptions): void {
  checkOptions("open()", options, KNOWN);
  const { boot, memory = DEFAULT_MEMORY, cpus = 1 } = options;
  if (typeof memory === "number" && memory > Number.MAX_SAFE_INTEGER && memory < Infinity) {
    throw new InputError(`no host has ${memory} bytes of memory for a guest`, {
      remedy: "give memory: MiB(64), say",
    });
  }
  if (!Number.isSafeInteger(memory) || memory <= 0 || memory % 4096 !== 0) {
    throw new InputError(`a guest's memory is a positive multiple of 4096 bytes, not ${show(memory)}`, {
      remedy: "give memory: MiB(64), say",
    });
  }
  if (!Number.isInteger(cpus) || cpus < 1) {
    throw new InputError(`a guest has at least one vCPU, not ${show(cpus)}`, {
      remedy: "leave cpus out for one",
    });
  }
  if (options.devices !== undefined && !Array.isArray(options.devices)) {
    throw new InputError(`devices is an array, not ${show(options.devices)}`, {
      remedy: "devices: [device], or vm.devices.add(device)",
    });
  }
  if (boot !== undefined && typeof boot?.resolve !== "function") {
    throw new InputError("boot is made by firmware(), bootSector(), flat(), elf() or linux()", {
      remedy: 'for a file: boot: firmware("/usr/share/seabios/bios.bin")',
    });
  }
}
