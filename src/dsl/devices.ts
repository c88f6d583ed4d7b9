import { guarded, isRunaway } from "../debug/guard.ts";
import type { Backend, MaybePromise } from "../vm/backend.ts";
import { type Bus, rangesOf } from "../vm/bus.ts";
import { need } from "../vm/capabilities.ts";
import type { Device, DeviceHost, PlacedRange } from "../vm/device.ts";
import { NO_LINE } from "../vm/device.ts";
import { HvshError, InputError, StateError } from "../vm/errors.ts";
import type { DeviceHandle, Devices } from "../vm/machine.ts";

/** What the set of devices works with. */
export interface DeviceParts {
  readonly backend: Backend;
  readonly port: Bus;
  readonly mmio: Bus;
  /** Memory for DMA: without breakpoints, and with its read-only parts read-only. */
  readonly memory: {
    peek(at: bigint, into: Uint8Array): MaybePromise<void>;
    deposit(at: bigint, bytes: Uint8Array): MaybePromise<void>;
  };
  /** Throws a StateError if the machine is closed. */
  readonly open: () => void;
}

/** A machine's devices: on the buses, by name. */
export class DeviceSet implements Devices {
  readonly #parts: DeviceParts;
  readonly #handles = new Map<string, Handle>();

  constructor(parts: DeviceParts) {
    this.#parts = parts;
  }

  add(device: Device): Promise<DeviceHandle> {
    return Promise.resolve().then(() => this.plug(device));
  }

  /** The same at once. */
  plug(device: Device): DeviceHandle {
    const { backend, port, mmio, open } = this.#parts;
    open();
    need(backend.capabilities, "devices");
    if (typeof device.name !== "string" || device.name === "") {
      throw new InputError("a device needs a name", { remedy: 'give it one: { name: "mine", ... }' });
    }
    if (this.#handles.has(device.name)) {
      throw new InputError(`there is a device named ${device.name} already`, {
        remedy: "remove it first, or choose another name",
      });
    }
    if (device.place !== undefined) {
      ask(device, "place", () => device.place!((start, length) => this.#free(start, start + length)));
    }
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
      ask(device, "attach", () => device.attach?.(this.#host(device)));
    } catch (error) {
      port.remove(device);
      mmio.remove(device);
      throw error;
    }
    const handle = new Handle(
      device,
      () => [...port.ranges, ...mmio.ranges].filter((range) => range.device === device),
      () => this.#unplug(device),
    );
    this.#handles.set(device.name, handle);
    return handle;
  }

  list(): readonly DeviceHandle[] {
    return [...this.#handles.values()];
  }

  get(name: string): DeviceHandle | undefined {
    return this.#handles.get(name);
  }

  /** Resets every device that can be. @throws {HvshError} If one threw; the others were reset all the same. */
  reset(): void {
    all([...this.#handles.values()], ({ device }) => ask(device, "reset", () => device.reset?.()));
  }

  /** Takes every device out, the newest first. @throws {HvshError} If one threw; all are out all the same. */
  clear(): void {
    all([...this.#handles.values()].reverse(), ({ device }) => this.#unplug(device));
  }

  #free(start: bigint, end: bigint): boolean {
    const { backend, mmio } = this.#parts;
    return !mmio.ranges.some((r) => start < r.end && r.start < end) &&
      !backend.memory.regions.some((r) => start < r.start + r.size && r.start < end);
  }

  #unplug(device: Device): void {
    this.#handles.delete(device.name);
    this.#parts.port.remove(device);
    this.#parts.mmio.remove(device);
    ask(device, "detach", () => device.detach?.());
  }

  /** @throws {InputError} If an MMIO range lies over memory. */
  #clearOfMemory(device: Device, ranges: readonly PlacedRange[]): void {
    const { regions } = this.#parts.backend.memory;
    for (const { space, start, end } of ranges) {
      const memory = space === "mmio" && regions.find((r) => start < r.start + r.size && r.start < end);
      if (memory) {
        throw new InputError(`${device.name} at 0x${start.toString(16)} lies over ${memory.name}`, {
          remedy: "accesses to memory never reach a device: choose an address without memory",
        });
      }
    }
  }

  #host(device: Device): DeviceHost {
    const { backend, memory } = this.#parts;
    return {
      line: (gsi) => backend.interrupts?.line(gsi) ?? NO_LINE,
      read: (at, into) => atOnce(memory.peek(at, into)),
      write: (at, bytes) => atOnce(memory.deposit(at, bytes)),
      moved: () => this.#moved(device),
    };
  }

  /** The guest moved the device: where its new ranges don't fit it answers nowhere. */
  #moved(device: Device): void {
    if (this.#handles.get(device.name)?.device !== device) return;
    const { port, mmio } = this.#parts;
    for (const [bus, space] of [[port, "port"], [mmio, "mmio"]] as const) {
      bus.remove(device);
      try {
        this.#clearOfMemory(device, rangesOf(device, space));
        bus.add(device);
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
      }
    }
  }
}

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

/**
 * Calls a device's method so that one which never returns is ended, and one which throws is named.
 *
 * @throws {HvshError}
 */
function ask(device: Device, method: string, call: () => void): void {
  try {
    guarded(call);
  } catch (cause) {
    // What hvsh's own devices say of bad options has its sentence and its remedy already.
    if (cause instanceof InputError) throw cause;
    const message = isRunaway(cause) ? "it did not return within two seconds" : messageOf(cause);
    throw new HvshError(`device ${device.name} failed in ${method}(): ${message}`, {
      cause,
      remedy: "mend the device",
    });
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
