import type { Backend, BackendName, CpuidEntry, Shadow } from "../vm/backend.ts";
import { Bus } from "../vm/bus.ts";
import { type Capabilities, type CapabilityName, need } from "../vm/capabilities.ts";
import { InputError, UnsupportedError } from "../vm/errors.ts";
import { type BareAddress, type Gpa, type Gva, plain } from "../vm/address.ts";
import type {
  Console,
  Devices,
  Machine,
  MachineInterrupts,
  PhysicalMemory,
  RunLimit,
  StepRequest,
  StepTarget,
  Vcpu,
} from "../vm/machine.ts";
import type { Device } from "../vm/device.ts";
import type { Stop, StopCause } from "../vm/stop.ts";
import type { MachineHistory } from "../vm/history.ts";
import type { HypervisorMonitor } from "../vm/hypervisor.ts";
import type { Trace } from "../vm/trace.ts";
import type { Breakpoints } from "../vm/breakpoint.ts";
import type { Autopsy } from "../debug/autopsy.ts";
import type { Backtrace } from "../debug/backtrace.ts";
import type { DisassembleOptions } from "../debug/code_view.ts";
import { createDebugger, type Debugger } from "../debug/debugger.ts";
import type { Instruction } from "../debug/instruction.ts";
import { Symbols } from "../debug/symbols.ts";
import type { GdbServer, GdbServerOptions } from "../gdb/server.ts";
import type { BootImage, BootWrite } from "../x86/boot/image.ts";
import { DeviceClock, type Timebase } from "../devices/device_clock.ts";
import type { Sound } from "../devices/speaker.ts";
import { isBounded } from "./bounded.ts";
import { BusAccess } from "./bus_access.ts";
import type { VirtioBalloon } from "../devices/virtio/balloon.ts";
import type { VirtioView } from "../devices/virtio/virtio_type.ts";
import { isBalloon, isI8042, isVirtio } from "./device_kinds.ts";
import { type ConsoleEnd, GuestConsole } from "./console.ts";
import type { CoreDump } from "./core_dump.ts";
import { DeviceSet } from "./devices.ts";
import { DoorbellBoard } from "./doorbells.ts";
import type { Drive } from "./drives.ts";
import { InterruptInputs } from "./interrupt_inputs.ts";
import { GuestInterrupts } from "./interrupts.ts";
import { monitorOf } from "./monitor.ts";
import { type Keyboard, keyboardOf } from "./keyboard.ts";
import { type Mouse, mouseOf } from "./mouse.ts";
import { Lending } from "./lending.ts";
import { LinuxView } from "./linux.ts";
import { Notices } from "./notices.ts";
import { pressPower } from "./power.ts";
import { Screen } from "./screen.ts";

/** What a machine is made of. */
export interface MachineParts {
  readonly backend: Backend;
  /** What it boots; undefined for a guest that was attached to. */
  readonly image?: BootImage;
  /** Its IDE drives. */
  readonly drives?: readonly Drive[];
  /** What is closed after it. */
  readonly stores?: Disposable;
}

/** A guest under the debugger, with devices, console and boot image: what `open()` and `attach()` give. */
export class GuestMachine implements Machine {
  /** Through which hypervisor it is held. */
  readonly backend: BackendName;
  /** Guest-physical memory. */
  readonly memory: PhysicalMemory;
  /** Its vCPUs, by index. */
  readonly vcpus: readonly Vcpu[];
  /** Breakpoints, watchpoints and breaks on accesses. */
  readonly breakpoints: Breakpoints;
  /** The devices that answer its port and MMIO accesses. */
  readonly devices: Devices;
  /** What the guest prints, and typing into it: COM1 of the default devices. */
  readonly console: Console;
  /** What the firmware prints to its debug port 0x402. */
  readonly debugLog: Console;
  /** What its VGA shows. */
  readonly screen: Screen;
  /** Interrupts and NMIs from outside. */
  readonly interrupts: MachineInterrupts;
  /** The newest port, MMIO and MSR accesses that left the guest, and counts of all exits. */
  readonly trace: Trace;
  /** Names for addresses: those of the booted ELF file, and what is added. */
  readonly symbols = new Symbols();
  /** A Linux guest seen from outside: its log, tasks, modules, symbols. Looked for at the first call. */
  readonly linux: LinuxView;
  /** How the guest was booted: the protocol that was taken and what was odd about the image. */
  readonly boot: Pick<BootImage, "protocol" | "notes"> | undefined;
  /** Its IDE drives, by place. */
  readonly drives: readonly Drive[];
  /** The monitor of the hypervisor, where it runs the guest by itself: QEMU's. */
  readonly monitor: HypervisorMonitor | undefined;
  /** Going back in a recorded run: `open({ backend: "qemu", replay })`. Elsewhere it refuses, with the reason. */
  readonly history: MachineHistory;
  readonly #notices = new Notices();
  readonly #stores: Disposable | undefined;
  readonly #backend: Backend;
  readonly #access: BusAccess;
  readonly #debugger: Debugger;
  readonly #inputs: InterruptInputs;
  readonly #devices: DeviceSet;
  readonly #console: GuestConsole;
  readonly #debugLog: GuestConsole;
  readonly #clock: DeviceClock;
  #image: BootImage | undefined;
  readonly #gdbServers = new Set<GdbServer>();
  #closing: Promise<void> | undefined;

  /** Made by `open()` and `attach()`, which give it its devices. */
  constructor(parts: MachineParts) {
    const { backend, image } = parts;
    this.#backend = backend;
    this.#image = image;
    this.drives = parts.drives ?? [];
    this.#stores = parts.stores;
    this.#clock = new DeviceClock(() => BigInt(Math.round(performance.now() * 1e6)));
    this.#clock.pause();
    const buses = {
      port: new Bus("port", backend.claims),
      mmio: new Bus("mmio", backend.claims),
    };
    this.#debugger = createDebugger(backend, buses, this.#clock, {
      bounded: () => this.#bounded,
    });
    this.#console = new GuestConsole();
    const { control, memory, vcpus, breakpoints, trace } = this.#debugger;
    this.backend = backend.name;
    this.memory = memory;
    this.vcpus = vcpus;
    this.history = this.#debugger.history;
    this.breakpoints = breakpoints;
    this.trace = trace;
    this.console = this.#console;
    this.debugLog = this.#debugLog = new GuestConsole();
    this.boot = image && { protocol: image.protocol, notes: image.notes };
    if (image?.symbols !== undefined) addSymbols(this.symbols, image.symbols);
    this.#inputs = new InterruptInputs(backend.interrupts, (text) => this.notice(text));
    const lending = new Lending({
      memory: this.#debugger.memory,
      watched: (start, end) => breakpoints.watches(start, end),
    });
    const doorbells = new DoorbellBoard({
      doorbells: backend.parallel?.doorbells,
      watched: (start, end) => breakpoints.watches(start, end),
      failed: ({ name }, error) => {
        const message = error instanceof Error ? error.message : String(error);
        this.requestStop({
          kind: "fault",
          reason: `device ${name} threw when it was notified: ${message}`,
          error,
        });
      },
    });
    breakpoints.onWatch = (space, start, end) => {
      if (backend.claims !== undefined && !buses[space].serves(start, end)) {
        throw new UnsupportedError(
          `a break on ${space === "port" ? "a port" : "MMIO"} where no device of hvsh's is`,
          "such accesses go to the domain's own device model, or to Xen",
          { remedy: "add a device there: its accesses come to hvsh, in place of what is there" },
        );
      }
      if (space === "port") return;
      lending.reclaim({ start, end });
      doorbells.reclaim({ start, end });
    };
    this.devices = this.#devices = new DeviceSet({
      backend,
      inputs: this.#inputs,
      ...buses,
      memory: this.#debugger.memory,
      lending,
      doorbells,
      console: this.#console,
      clock: this.#clock,
      notice: (text) => this.notice(text),
      requested: (device, request) => trace.request(device, request),
      open: () => control.requireOpen("devices"),
    });
    this.screen = new Screen({
      devices: () => this.devices.list().map((handle) => handle.device),
      ...(backend.picture && { picture: () => backend.picture!() }),
      closed: () => control.state === "closed",
    });
    if (backend.monitor !== undefined) this.monitor = monitorOf(control, backend.monitor);
    this.#access = new BusAccess({
      buses,
      capabilities: backend.capabilities,
      irqchip: backend.interrupts?.irqchip ?? false,
      open: () => control.requireOpen("devices"),
    });
    this.linux = new LinuxView({
      guest: this.#debugger,
      symbols: this.symbols,
      ready: (what) => control.requirePaused(what),
    });
    this.interrupts = new GuestInterrupts({
      backend,
      inputs: this.#inputs,
      checkVcpu: (index) => this.#checkVcpu(index),
    });
  }

  /** Whether its run calls nothing but hvsh's own code. */
  get #bounded(): boolean {
    return this.#devices.bounded && !this.#console.heard && !this.#debugLog.heard &&
      this.drives.every(({ medium }) => medium === undefined || isBounded(medium));
  }

  /** What can be done with it on this backend and host, by name. */
  get capabilities(): Capabilities {
    return this.#backend.capabilities;
  }

  /** "running" from `continue()`, `step()` and their like until their stop. */
  get state(): Machine["state"] {
    return this.#debugger.control.state;
  }

  /** The newest stop; undefined before the first and after `reset()`. */
  get lastStop(): Stop | undefined {
    return this.#debugger.control.lastStop;
  }

  /** Device time in nanoseconds: it stands still while the guest does. The devices of `open()` go by it. */
  get clock(): Timebase {
    return this.#clock;
  }

  /** The other sides of console and debug log: where devices print and what they read. */
  get ends(): { readonly console: ConsoleEnd; readonly debugLog: ConsoleEnd } {
    return { console: this.#console, debugLog: this.#debugLog };
  }

  /** Stops a running guest with `cause` at the next chance; for devices. */
  requestStop(cause: StopCause): void {
    this.#debugger.loop.ask(cause);
  }

  /** Adds the devices that `open()` gives every PC. */
  plugOwn(devices: readonly Device[]): void {
    this.#devices.plugOwn(devices);
  }

  /** Puts bytes into memory beside the boot image: now, and again at each reset. */
  async install(write: BootWrite): Promise<void> {
    await this.#backend.memory.write(write.at, write.bytes);
    if (this.#image !== undefined) this.#image = { ...this.#image, writes: [...this.#image.writes, write] };
  }

  /** Its speaker; undefined where the hypervisor has the timer that drives it. */
  get speaker(): Sound | undefined {
    // By its shape: the class is loaded for the machines that have one.
    for (const { device } of this.devices.list()) {
      if ("tones" in device && "wav" in device) return device as Device & Sound;
    }
    return undefined;
  }

  /** Its PS/2 keyboard; undefined if it has none. */
  get keyboard(): Keyboard | undefined {
    for (const { device } of this.devices.list()) {
      if (isI8042(device)) return keyboardOf(device.keyboard);
    }
    return undefined;
  }

  /** Its PS/2 mouse; undefined if it has none. */
  get mouse(): Mouse | undefined {
    for (const { device } of this.devices.list()) {
      if (isI8042(device)) return mouseOf(device.mouse);
    }
    return undefined;
  }

  /** Its virtio devices, by name: what driver and device agreed on, and their queues. */
  get virtio(): ReadonlyMap<string, VirtioView> {
    return new Map(
      this.devices.list().flatMap(({ device }) => isVirtio(device) ? [[device.name, device.virtio]] : []),
    );
  }

  /** Its memory balloon, the first if there are several; undefined if it has none. */
  get balloon(): VirtioBalloon | undefined {
    for (const { type } of this.virtio.values()) if (isBalloon(type)) return type;
    return undefined;
  }

  /**
   * Presses its power button: a guest with an ACPI driver for it, which then runs, turns itself off in good order.
   *
   * @returns Whether the guest has asked to be told of it; undefined where that can't be seen.
   * @throws {UnsupportedError} If it has none.
   */
  pressPower(): boolean | undefined {
    return pressPower(this.devices.list().map(({ device }) => device), this.monitor);
  }

  /** What the user should know of the host's side of its devices, oldest first: at most the newest 100. */
  get notices(): readonly string[] {
    return this.#notices.list;
  }

  /** Calls `listener` with every notice from now on, until what is returned is disposed of. */
  onNotice(listener: (text: string) => void): Disposable {
    return this.#notices.listen(listener);
  }

  /** Tells the user something; for devices. */
  notice(text: string): void {
    this.#notices.add(text);
  }

  /**
   * Changes what the guest meets in a stretch of its RAM: the RAM, that for reads only, or the ROM over it (nothing
   * if there is none); for chipsets.
   *
   * @throws {UnsupportedError} If the backend can't.
   */
  shadow(at: bigint, length: number, how: Shadow): void | Promise<void> {
    return this.#debugger.memory.shadow(at, length, how);
  }

  continue(limit?: RunLimit): Promise<Stop> {
    return this.#debugger.control.continue(limit);
  }

  step(request?: number | StepRequest): Promise<Stop> {
    return this.#debugger.control.step(request);
  }

  stepOver(options?: { count?: number; vcpu?: number; interrupts?: boolean } & RunLimit): Promise<Stop> {
    return this.#debugger.motions.over(options);
  }

  stepOut(options?: { vcpu?: number } & RunLimit): Promise<Stop> {
    return this.#debugger.motions.out(options);
  }

  stepTo(
    kind: StepTarget,
    options?: { vcpu?: number; interrupts?: boolean; into?: boolean } & RunLimit,
  ): Promise<Stop> {
    return this.#debugger.motions.to(kind, options);
  }

  runUntil(address: Gva | Gpa | BareAddress, options?: { vcpu?: number } & RunLimit): Promise<Stop> {
    return this.#debugger.motions.until(address, options);
  }

  pause(): Promise<Stop> {
    return this.#debugger.control.pause();
  }

  stops(): AsyncIterableIterator<Stop> {
    return this.#debugger.control.stops();
  }

  async reset(): Promise<void> {
    const { control } = this.#debugger;
    control.requirePaused("reset");
    need(this.#backend.capabilities, "reset");
    await this.#backend.reset();
    let failed: unknown;
    try {
      this.#devices.reset();
    } catch (error) {
      failed = error;
    }
    if (this.#image !== undefined) {
      const { loadImage } = await import("./load.ts");
      await loadImage(
        this.#backend.vcpus[0],
        this.#image,
        (at, bytes) => this.#debugger.memory.poke(at, bytes),
      );
    }
    control.forget();
    this.linux.forget();
    // The machine is reset as far as it can be: what a device did is told last.
    if (failed !== undefined) throw failed;
  }

  /**
   * Disassembles guest memory at a linear address, by a vCPU's mode and paging.
   *
   * @param options `vcpu` is the index of the vCPU; the one that stopped last by default.
   * @throws {FaultError} If not even the first byte can be read.
   * @throws {StateError} If the guest runs or is closed.
   * @example
   * ```ts
   * import { flat, gva, open } from "hvsh";
   * import assert from "node:assert/strict";
   *
   * const code = Uint8Array.of(0xb8, 0x34, 0x12, 0xf4);
   * await using vm = await open({ backend: "fake", boot: flat(code, { at: 0x1000 }) });
   * const list = await vm.disassemble(gva(0x1000n), { count: 2 });
   * assert.deepEqual(list.map(({ text }) => text), ["mov ax, 0x1234", "hlt"]);
   * ```
   */
  async disassemble(
    at: Gva | BareAddress,
    options: DisassembleOptions & { vcpu?: number } = {},
  ): Promise<Instruction[]> {
    const vcpu = this.vcpus[this.#checkVcpu(options.vcpu ?? this.lastStop?.vcpu.index ?? 0)];
    const registers = await vcpu.registers();
    const symbol = (address: bigint) => this.symbols.format(address);
    const { disassembleMemory } = await import("../debug/code_view.ts");
    return await disassembleMemory(vcpu.memory, registers, plain(at), options, symbol);
  }

  /**
   * Who called whom on a vCPU, by its chain of frame pointers; in a Linux kernel with ORC tables by those.
   *
   * @param options `vcpu` is its index, by default of the one that stopped last; `limit` is the most frames, by
   * default 64.
   * @throws {StateError} If the guest runs or is closed.
   */
  async backtrace(options: { vcpu?: number; limit?: number } = {}): Promise<Backtrace> {
    const vcpu = this.vcpus[this.#checkVcpu(options.vcpu ?? this.lastStop?.vcpu.index ?? 0)];
    const registers = await vcpu.registers();
    const inKernel = await this.linux.tryBacktrace(registers, options.limit);
    if (inKernel !== undefined) return inKernel;
    const { backtrace } = await import("../debug/backtrace.ts");
    return await backtrace(registers, (at, into) => vcpu.memory.readInto(at, into), options);
  }

  /**
   * The CPUID leaves that a vCPU's guest sees.
   *
   * @throws {UnsupportedError} If this backend can't tell.
   */
  async cpuid(vcpu = 0): Promise<readonly CpuidEntry[]> {
    this.#debugger.control.requireOpen("cpuid");
    const leaves = await this.#backend.vcpus[this.#checkVcpu(vcpu)].cpuid?.();
    if (leaves !== undefined) return leaves;
    throw new UnsupportedError("cpuid", "this backend does not tell which leaves its guests see");
  }

  /**
   * Why a triple fault happened, as far as it can be seen.
   *
   * @param vcpu Index of the vCPU; the one that stopped last by default.
   * @throws {StateError} If the guest runs or is closed.
   */
  async autopsy(vcpu = this.lastStop?.vcpu.index ?? 0): Promise<Autopsy> {
    this.#debugger.control.requirePaused("autopsy");
    const { autopsy } = await import("../debug/autopsy.ts");
    return await autopsy(this.#backend, this.#checkVcpu(vcpu), this.#debugger.memory, this.trace);
  }

  /**
   * Reads a port as the guest would: its device answers.
   *
   * @param port 16 bits.
   * @param size Bytes: 1, 2 or 4.
   * @returns The value, little-endian from the bytes the device gave; all ones where none answers.
   * @throws {UnsupportedError} If the backend takes no devices, or if a chip in the hypervisor is there.
   * @throws {InputError} If port or size make no sense.
   * @throws {StateError} If the machine is closed.
   */
  readPort(port: number, size: 1 | 2 | 4 = 1): Promise<bigint> {
    return this.#access.readPort(port, size);
  }

  /**
   * Writes a port as the guest would: its device takes the low `size` bytes of `value`, little-endian.
   *
   * @throws {UnsupportedError} If the backend takes no devices, or if a chip in the hypervisor is there.
   * @throws {InputError} If port or size make no sense.
   * @throws {StateError} If the machine is closed.
   */
  writePort(port: number, size: 1 | 2 | 4, value: bigint | number): Promise<void> {
    return this.#access.writePort(port, size, value);
  }

  /**
   * Reads a guest-physical address without memory as the guest would: its device answers.
   *
   * @param size Bytes: 1, 2, 4 or 8.
   * @returns The value, little-endian from the bytes the device gave; all ones where none answers.
   * @throws {UnsupportedError} If the backend takes no devices, or if a chip in the hypervisor is there.
   * @throws {InputError} If the size makes no sense.
   * @throws {StateError} If the machine is closed.
   */
  readMmio(at: Gpa | BareAddress, size: 1 | 2 | 4 | 8 = 4): Promise<bigint> {
    return this.#access.readMmio(plain(at), size);
  }

  /**
   * Writes a guest-physical address without memory as the guest would: its device takes the low `size` bytes of
   * `value`, little-endian.
   *
   * @throws {UnsupportedError} If the backend takes no devices, or if a chip in the hypervisor is there.
   * @throws {InputError} If the size makes no sense.
   * @throws {StateError} If the machine is closed.
   */
  writeMmio(at: Gpa | BareAddress, size: 1 | 2 | 4 | 8, value: bigint | number): Promise<void> {
    return this.#access.writeMmio(plain(at), size, value);
  }

  /**
   * Writes all of the guest into an ELF core file, that crash(8) and gdb read: memory by physical address, registers
   * of each vCPU, and what a Linux kernel says of itself (VMCOREINFO). Linear addresses in it are those of a Linux
   * kernel's image and its map of all memory; without one, they are the physical ones.
   *
   * @throws {InputError} If the file can't be written.
   * @throws {StateError} If the guest runs or is closed.
   */
  async dumpCore(path: string): Promise<CoreDump> {
    this.#debugger.control.requirePaused("dumpCore");
    return await (await import("./core_dump.ts")).dumpCore(this.#debugger, this.linux, path);
  }

  /**
   * Serves this guest to gdb and lldb, one client at a time, until the server or the guest is closed. What gdb does
   * and what a script does is done to one guest: docs/gdb.md says who stops it and who sees it stop.
   *
   * @param options Where to listen (a free port of 127.0.0.1 by default), and what gdb's `monitor` runs.
   * @throws {InputError} If the address can't be listened on.
   * @throws {StateError} If the machine is closed.
   * @example
   * ```ts
   * import { flat, open } from "hvsh";
   * import assert from "node:assert/strict";
   *
   * await using vm = await open({ backend: "fake", boot: flat(Uint8Array.of(0xf4)) });
   * await using server = await vm.gdbServer({ port: 0 });
   * assert.match(server.address, /^127\.0\.0\.1:\d+$/); // gdb: target remote 127.0.0.1:PORT
   * ```
   */
  async gdbServer(options: GdbServerOptions = {}): Promise<GdbServer> {
    this.#debugger.control.requireOpen("gdbServer");
    const { serve } = await import("./gdb.ts");
    this.#debugger.control.requireOpen("gdbServer");
    const server = serve(this, options);
    const handle: GdbServer = {
      address: server.address,
      close: async () => {
        await server.close();
        this.#gdbServers.delete(handle);
      },
      [Symbol.asyncDispose]: () => handle.close(),
    };
    this.#gdbServers.add(handle);
    return handle;
  }

  require(name: CapabilityName | string): void {
    if (name === "linux") {
      if (this.linux.info !== undefined) return;
      throw new UnsupportedError("linux", "no Linux kernel has been found in this guest yet", {
        remedy: "await vm.linux.locate() once it has booted",
      });
    }
    need(this.capabilities, name);
  }

  keep(): void {
    if (this.#backend.keep === undefined) {
      throw new UnsupportedError("keep", `a guest on ${this.backend} lives in this process and ends with it`);
    }
    this.#backend.keep();
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  /** Closes it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    await this.#debugger.control.close();
    try {
      for (const server of [...this.#gdbServers]) await server.close();
      await this.#debugger.detach();
      this.#devices.clear();
    } finally {
      this.#console.close();
      this.#debugLog.close();
      await this.#backend.close();
      this.#stores?.[Symbol.dispose]();
    }
  }

  #checkVcpu(index: number): number {
    if (this.#backend.vcpus[index] === undefined) {
      throw new InputError(`there is no vCPU ${index}: this machine has 0 to ${this.vcpus.length - 1}`, {
        remedy: "take one of vm.vcpus, or open the guest with more cpus",
      });
    }
    return index;
  }
}

/** A kernel that was stripped has no symbols: that is no error. */
function addSymbols(symbols: Symbols, file: Uint8Array): void {
  try {
    symbols.add("kernel", file);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
  }
}
