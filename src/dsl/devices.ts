import { guarded, isRunaway } from "../debug/guard.ts";
import type { Backend, BackendPci, MaybePromise, MemoryRegion } from "../vm/backend.ts";
import { type Bus, rangesOf } from "../vm/bus.ts";
import { need } from "../vm/capabilities.ts";
import type { ConsoleEnd } from "../vm/console.ts";
import type {
  CausePlace,
  Device,
  DeviceHost,
  DeviceTime,
  InterruptCauses,
  PlacedRange,
  TakenRequest,
} from "../vm/device.ts";
import { HvshError, InputError, StateError } from "../vm/errors.ts";
import type { DeviceHandle, Devices, DeviceWrapper } from "../vm/machine.ts";
import type { PciHost } from "../devices/pci/pci_host.ts";
import type { PciFunction } from "../devices/pci/pci_function.ts";
import { isBounded } from "./bounded.ts";
import { checkShape } from "./device_shape.ts";
import { isPciFunction, isPciHost } from "./device_kinds.ts";
import { DeviceFront } from "./device_front.ts";
import type { DoorbellBoard } from "./doorbells.ts";
import type { InterruptInputs } from "./interrupt_inputs.ts";
import type { Lending } from "./lending.ts";

/** What the set of devices works with. */
export interface DeviceParts {
  readonly backend: Backend;
  readonly port: Bus;
  readonly mmio: Bus;
  /** Where interrupt lines lead. */
  readonly inputs: InterruptInputs;
  /** Memory for DMA: without breakpoints, and with its read-only parts read-only. */
  readonly memory: {
    peek(at: bigint, into: Uint8Array): MaybePromise<void>;
    deposit(at: bigint, bytes: Uint8Array): MaybePromise<void>;
    discard(at: bigint, length: number): MaybePromise<void>;
    window(at: bigint, length: number): Uint8Array | undefined;
  };
  /** RAM for devices that ask for some behind their addresses. */
  readonly lending: Lending;
  /** Doorbells for those that have some. */
  readonly doorbells: DoorbellBoard;
  /** Tells the user something. */
  readonly notice?: (text: string) => void;
  /** Notes a request that a device has taken. */
  readonly requested?: (device: Device, request: TakenRequest) => void;
  /** Device time. */
  readonly clock?: DeviceTime;
  /** What devices print to. */
  readonly console?: ConsoleEnd;
  /** Throws a StateError if the machine is closed. */
  readonly open: () => void;
}

/** A machine's devices: on the buses, by name. */
export class DeviceSet implements Devices {
  readonly #parts: DeviceParts;
  readonly #handles = new Map<string, Handle>();
  /** What is around a device, the newest first. */
  readonly #wrappers = new Map<Device, readonly DeviceWrapper[]>();
  /** hvsh's own, which need no guard against calls that never return: it takes 20 ms to load. */
  readonly #own = new WeakSet<Device>();
  /** Those that may run code of the user's. */
  readonly #unbounded = new Set<Device>();
  /** What stands on the buses in the place of a device that is wrapped. */
  readonly #fronts = new Map<Device, DeviceFront>();
  /** The hypervisor's PCI bus, where functions of ours are on it. */
  #sharedBus: PciHost | undefined;

  constructor(parts: DeviceParts) {
    this.#parts = parts;
  }

  /** Whether every call of every device ends: they are hvsh's own, and nothing is around them. */
  get bounded(): boolean {
    return this.#unbounded.size === 0 && this.#wrappers.size === 0;
  }

  add(device: Device): Promise<DeviceHandle> {
    return Promise.resolve().then(() => {
      const { pci } = this.#parts.backend;
      const shared = pci !== undefined && device instanceof Object && isPciFunction(device);
      return shared ? this.#share(pci, device) : this.plug(device);
    });
  }

  /** Adds a function to the hypervisor's bus, which is a device of ours from the first one on. */
  async #share(pci: BackendPci, device: PciFunction): Promise<DeviceHandle> {
    const { busOf, reserveTaken } = await import("./hypervisor_bus.ts");
    this.#parts.open();
    const bus = this.#sharedBus ??= busOf(pci);
    await reserveTaken(bus, pci, device);
    if (this.#pciHost === undefined) this.plugOwn([bus]);
    try {
      return this.plug(device);
    } catch (error) {
      if (bus.functions.length === 0) this.#unplug(bus);
      throw error;
    }
  }

  /** Adds devices of hvsh's own, at once. */
  plugOwn(devices: readonly Device[]): void {
    for (const device of devices) {
      this.#own.add(device);
      this.plug(device);
    }
  }

  /** As `add`, at once. */
  plug(device: Device): DeviceHandle {
    const { backend, port, mmio, open } = this.#parts;
    open();
    need(backend.capabilities, "devices");
    checkShape(device);
    if (typeof device.name !== "string" || device.name === "") {
      throw new InputError("a device needs a name", { remedy: 'give it one: { name: "mine", ... }' });
    }
    if (this.#handles.has(device.name)) {
      throw new InputError(`there is a device named ${device.name} already`, {
        remedy: "remove it first, or choose another name",
      });
    }
    if (device.place !== undefined) {
      this.#ask(device, "place", () => device.place!((start, length) => this.#free(start, start + length)));
    }
    if (isPciFunction(device)) this.#join(device);
    const ranges = [...rangesOf(device, "port"), ...rangesOf(device, "mmio")];
    if (ranges.length === 0 && device.ports === undefined && device.mmio === undefined) {
      throw new InputError(`${device.name} has neither ports nor mmio`, {
        remedy: "give it a range to answer at, or an empty list of them if they come later",
      });
    }
    this.#clearOfMemory(device, ranges);
    port.add(device);
    try {
      mmio.add(device);
      this.#ask(device, "attach", () => device.attach?.(this.#host(device)));
    } catch (error) {
      port.remove(device);
      mmio.remove(device);
      this.#leave(device);
      throw error;
    }
    const handle = new Handle(
      device,
      () => {
        const front = this.#fronts.get(device) ?? device;
        return [...port.ranges, ...mmio.ranges].filter((range) => range.device === front);
      },
      () => this.#unplug(device),
    );
    this.#handles.set(device.name, handle);
    if (!this.#own.has(device) && !isBounded(device)) this.#unbounded.add(device);
    this.#parts.inputs.plugged(device);
    return handle;
  }

  wrap(name: string, wrapper: DeviceWrapper): Disposable {
    this.#parts.open();
    const { device } = this.#named(name);
    this.#wrappers.set(device, [wrapper, ...this.#wrappers.get(device) ?? []]);
    this.#place(device);
    return {
      [Symbol.dispose]: () => {
        const left = (this.#wrappers.get(device) ?? []).filter((other) => other !== wrapper);
        if (left.length > 0) this.#wrappers.set(device, left);
        else this.#wrappers.delete(device);
        if (this.#handles.get(name)?.device === device) this.#place(device);
      },
    };
  }

  swap(device: Device): Promise<DeviceHandle> {
    return Promise.resolve().then(() => {
      this.#parts.open();
      const { device: old } = this.#named(device.name);
      if (isPciFunction(old)) {
        throw new InputError(`${old.name} is a PCI function, which its bus knows by itself`, {
          remedy: "wrap() its accesses instead",
        });
      }
      const state = this.#ask(old, "save", () => old.save?.());
      const wrappers = this.#wrappers.get(old);
      try {
        this.#unplug(old);
        const handle = this.plug(device);
        if (state !== undefined) this.#ask(device, "restore", () => device.restore?.(state));
        return handle;
      } catch (error) {
        this.#putBack(old, device, wrappers, state, error);
        throw error;
      }
    });
  }

  /** After a swap that failed: `old` in the place of `device`, as it was. @throws {HvshError} If that fails too. */
  #putBack(
    old: Device,
    device: Device,
    wrappers: readonly DeviceWrapper[] | undefined,
    state: unknown,
    why: unknown,
  ): void {
    const steps: (() => void)[] = [
      () => {
        if (this.#handles.get(device.name)?.device === device) this.#unplug(device);
      },
      () => void this.plug(old),
      () => {
        if (wrappers === undefined) return;
        this.#wrappers.set(old, wrappers);
        this.#place(old);
      },
      () => {
        if (state !== undefined) this.#ask(old, "restore", () => old.restore?.(state));
      },
    ];
    try {
      all(steps, (step) => step());
    } catch (cause) {
      throw new HvshError(`${messageOf(why)}; and putting ${old.name} back: ${messageOf(cause)}`, {
        cause,
        remedy: "see devices for what is there, and mend both devices",
      });
    }
  }

  list(): readonly DeviceHandle[] {
    return [...this.#handles.values()];
  }

  get(name: string): DeviceHandle | undefined {
    return this.#handles.get(name);
  }

  /** Resets every device that can be. @throws {HvshError} If one threw; the others were reset all the same. */
  reset(): void {
    all([...this.#handles.values()], ({ device }) => this.#ask(device, "reset", () => device.reset?.()));
  }

  /** Takes every device out, the newest first. @throws {HvshError} If one threw; all are out all the same. */
  clear(): void {
    all([...this.#handles.values()].reverse(), ({ device }) => this.#unplug(device));
  }

  /** Puts a PCI function on the bus that is there. @throws {InputError} If there is none, or it is full. */
  #join(device: PciFunction): void {
    const bus = this.#pciHost;
    if (bus === undefined) {
      throw new InputError(`${device.name} is a PCI function, and this machine has no PCI bus`, {
        remedy:
          'a virtio device can be over MMIO (transport: "mmio", device_add virtio-...-device); else open the machine with ' +
          "the default devices, or on xen-hvm",
      });
    }
    bus.join(device, (start, length) => this.#free(start, start + length));
  }

  #leave(device: Device): void {
    if (isPciFunction(device)) this.#pciHost?.leave(device);
  }

  get #pciHost(): PciHost | undefined {
    for (const { device } of this.#handles.values()) if (isPciHost(device)) return device;
    return undefined;
  }

  #free(start: bigint, end: bigint): boolean {
    return !this.#parts.mmio.ranges.some((r) => start < r.end && r.start < end) &&
      this.#memoryIn(start, end) === undefined;
  }

  /** Memory of which a byte lies in [start, end). */
  #memoryIn(start: bigint, end: bigint): MemoryRegion | undefined {
    return this.#parts.backend.memory.regions.find((r) => start < r.start + r.size && r.start < end);
  }

  /** @throws {InputError} If there is none. */
  #named(name: string): DeviceHandle {
    const found = this.#handles.get(name);
    if (found !== undefined) return found;
    throw new InputError(`there is no device named ${name}`, {
      remedy: `take one of ${[...this.#handles.keys()].join(", ")}`,
    });
  }

  /** Takes a device off the buses. */
  #clear(device: Device): void {
    // On the bus again, it must not lie over memory.
    this.#parts.lending.reclaim({ device });
    this.#parts.doorbells.reclaim({ device });
    for (const bus of [this.#parts.port, this.#parts.mmio]) {
      bus.remove(this.#fronts.get(device) ?? device);
    }
  }

  /** Puts a device on the buses again, behind its wrappers; where its ranges don't fit it answers nowhere. */
  #place(device: Device): void {
    this.#clear(device);
    const wrappers = this.#wrappers.get(device);
    if (wrappers === undefined) this.#fronts.delete(device);
    else this.#fronts.set(device, new DeviceFront(device, wrappers));
    const { port, mmio } = this.#parts;
    for (const [bus, space] of [[port, "port"], [mmio, "mmio"]] as const) {
      try {
        this.#clearOfMemory(device, rangesOf(device, space));
        bus.add(this.#fronts.get(device) ?? device);
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
      }
    }
  }

  #unplug(device: Device): void {
    this.#handles.delete(device.name);
    this.#clear(device);
    this.#fronts.delete(device);
    this.#wrappers.delete(device);
    this.#unbounded.delete(device);
    this.#parts.inputs.unplugged(device);
    this.#ask(device, "detach", () => device.detach?.());
    this.#leave(device);
  }

  /** @throws {InputError} If an MMIO range lies over memory. */
  #clearOfMemory(device: Device, ranges: readonly PlacedRange[]): void {
    for (const { space, start, end } of ranges) {
      const memory = space === "mmio" ? this.#memoryIn(start, end) : undefined;
      if (memory !== undefined) {
        throw new InputError(`${device.name} at 0x${start.toString(16)} lies over ${memory.name}`, {
          remedy: "accesses to memory never reach a device: choose an address without memory",
        });
      }
    }
  }

  #host(device: Device): DeviceHost {
    const { backend, inputs, memory, lending, doorbells, console, clock, notice, requested } = this.#parts;
    return {
      ...(console && { console }),
      ...(clock && { clock }),
      ...(notice && { notice }),
      ...(requested && { requested: (request: TakenRequest) => requested(device, request) }),
      lend: (start, length, taken, what) =>
        this.#wrappers.has(device) ? undefined : lending.lend(device, start, length, taken, what),
      doorbell: (place, rung) => this.#wrappers.has(device) ? undefined : doorbells.hang(device, place, rung),
      causes: (place) => this.#causes(device, place),
      readable: (fd, come) => this.#readable(device, fd, come),
      line: (gsi) => inputs.line(gsi),
      message: (address, data) => inputs.message(address, data),
      masks: (address, data) => inputs.masks(address, data),
      read: (at, into) => atOnce(memory.peek(at, into)),
      write: (at, bytes) => atOnce(memory.deposit(at, bytes)),
      window: (at, length) => memory.window(at, length),
      ...(backend.memory.discard && { discard: (at, length) => atOnce(memory.discard(at, length)) }),
      moved: () => this.#moved(device),
    };
  }

  #causes(device: Device, place: CausePlace): InterruptCauses | undefined {
    const causes = this.#parts.doorbells.causes(device, place);
    if (causes === undefined) return undefined;
    const { aside } = causes;
    return Object.assign(causes, { aside: () => this.#wrappers.has(device) ? undefined : aside?.() });
  }

  /** A device of hvsh's own alone: there is no access to blame, and to end, for code that fails or never returns. */
  #readable(device: Device, fd: number, come: () => void): Disposable | undefined {
    if (!isBounded(device)) return undefined;
    return this.#parts.backend.readable?.(fd, () => {
      try {
        come();
      } catch (error) {
        this.#parts.doorbells.failed(device, error);
      }
    });
  }

  /**
   * Calls a device's method so that one which never returns is ended, and one which throws is named.
   *
   * @throws {HvshError}
   */
  #ask<T>(device: Device, method: DeviceMethod, call: () => T): T | undefined {
    if (device[method] === undefined) return undefined;
    try {
      return this.#own.has(device) || isBounded(device) ? call() : guarded(call);
    } catch (cause) {
      // What hvsh's own devices say of bad options, or the host of them, has its sentence and its remedy already.
      if (cause instanceof InputError || cause instanceof Error && "remedy" in cause) throw cause;
      const message = isRunaway(cause) ? "it did not return in time" : messageOf(cause);
      throw new HvshError(`device ${device.name} failed in ${method}(): ${message}`, {
        cause,
        remedy: "mend the device",
      });
    }
  }

  /** The guest moved the device: where its new ranges don't fit it answers nowhere. */
  #moved(device: Device): void {
    if (this.#handles.get(device.name)?.device !== device) return;
    this.#place(device);
  }
}

/** What a device is asked for by its machine, and not by the guest. */
type DeviceMethod = "place" | "attach" | "detach" | "reset" | "save" | "restore";

class Handle implements DeviceHandle {
  readonly device: Device;
  readonly #placed: () => readonly PlacedRange[];
  readonly #unplug: () => void;
  #gone = false;

  constructor(device: Device, placed: () => readonly PlacedRange[], unplug: () => void) {
    this.device = device;
    this.#placed = placed;
    this.#unplug = unplug;
  }

  get ranges(): DeviceHandle["ranges"] {
    return this.#placed().map(({ space, start, end }) => ({ space, start, length: end - start }));
  }

  get name(): string {
    return this.device.name;
  }

  remove(): Promise<void> {
    return Promise.resolve().then(() => {
      if (this.#gone) return;
      this.#gone = true;
      this.#unplug();
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.remove();
  }
}

/** Does something with each, whatever it does with the others. @throws The first error. */
function all<T>(items: readonly T[], each: (item: T) => void): void {
  const errors: unknown[] = [];
  for (const item of items) {
    try {
      each(item);
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Devices do DMA at once; backends where memory is far away take no devices. */
function atOnce(done: void | Promise<void>): void {
  if (done instanceof Promise) {
    throw new StateError("this backend's memory can't be reached at once, so devices can't do DMA", "remote");
  }
}
