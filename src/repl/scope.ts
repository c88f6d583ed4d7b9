import type { GuestMachine } from "../dsl/mod.ts";
import type { RegisterName, Registers } from "../vm/registers.ts";
import { ShellError } from "./error.ts";

/** What the scope needs of the shell. */
export interface ScopeParts {
  /** The guest that commands speak of. */
  vm: GuestMachine | undefined;
  /** Index of the vCPU that `$rax` is read from. */
  readonly vcpu: number;
}

type RegisterNames = typeof import("./expression/registers.ts");

/**
 * The names that TypeScript at the prompt finds on the global object: `vm`, what the library exports, `_` (the
 * last value), and registers as `$rip`. Disposal takes them away again.
 *
 * A register read is synchronous and reading registers is not, so those of the current vCPU are fetched before
 * an input that names one; after a run inside the input, the newest stop's registers are taken.
 */
export class Scope implements Disposable {
  #parts: ScopeParts;
  #defined = new Set<string>();
  #registerNames: RegisterNames | undefined;
  #registers: { readonly values: Registers; readonly at: unknown } | undefined;
  #failure: unknown;
  #written = new Map<RegisterName, bigint>();
  #writes: Promise<void>[] = [];

  /** @param library What is to be found by name; later entries of the same name win. */
  constructor(parts: ScopeParts, library: Readonly<Record<string, unknown>>) {
    this.#parts = parts;
    for (const [name, value] of Object.entries(library)) this.define(name, value);
    this.#property("vm", {
      get: () => parts.vm,
      set: (value: GuestMachine | undefined) => {
        parts.vm = value;
      },
    });
    this.define("_", undefined);
  }

  /** Puts a value on the global object. */
  define(name: string, value: unknown): void {
    this.#property(name, { value, writable: true });
  }

  #property(name: string, descriptor: PropertyDescriptor): void {
    Object.defineProperty(globalThis, name, { configurable: true, enumerable: false, ...descriptor });
    this.#defined.add(name);
  }

  /** Names that were put there, registers not included. */
  names(): string[] {
    return [...this.#defined].filter((name) => !name.startsWith("$"));
  }

  /** Gets the registers that `source` names, before it is evaluated. */
  async prepare(source: string): Promise<void> {
    this.#registers = undefined;
    this.#failure = undefined;
    this.#written.clear();
    const named = source.match(/\$[A-Za-z]\w*/g);
    if (!named) return;
    this.#registerNames ??= await import("./expression/registers.ts");
    const known = named.filter((name) =>
      !(name in globalThis) && this.#registerNames?.registerPart(name.slice(1)) !== undefined
    );
    for (const name of new Set(known)) {
      this.#property(name, {
        get: () => this.#read(name.slice(1)),
        set: (value: bigint) => this.#write(name.slice(1), value),
      });
    }
    const vcpu = this.#parts.vm?.vcpus[this.#parts.vcpu];
    if (!vcpu) return;
    try {
      this.#registers = { values: await vcpu.registers(), at: this.#parts.vm?.lastStop };
    } catch (error) {
      // Only an input that really reads a register shall fail: `$x` can be part of a string.
      this.#failure = error;
    }
  }

  /** Waits for what the input wrote to registers. @throws What the machine refused. */
  async settle(): Promise<void> {
    const writes = this.#writes.splice(0);
    for (const result of await Promise.allSettled(writes)) {
      if (result.status === "rejected") throw result.reason;
    }
  }

  #current(): Registers {
    const { vm, vcpu } = this.#parts;
    if (!vm) {
      throw new ShellError("There is no guest whose registers could be read", "Open one: `await open()`.");
    }
    const stop = vm.lastStop;
    if (stop && stop !== this.#registers?.at && stop.vcpu.index === vcpu) {
      // It ran since: what was written before went with it.
      this.#written.clear();
      this.#registers = { values: stop.registers, at: stop };
    }
    if (!this.#registers) {
      throw this.#failure ??
        new ShellError("The registers are not at hand here", "Use `await vm.vcpus[0].registers()`.");
    }
    return this.#registers.values;
  }

  #read(name: string): bigint {
    const part = this.#registerNames?.registerPart(name);
    if (!part || !this.#registerNames) throw new ReferenceError(`$${name} is no register`);
    const registers = this.#current();
    return this.#registerNames.partOf(this.#written.get(part.register) ?? registers[part.register], part);
  }

  #write(name: string, value: bigint): void {
    const part = this.#registerNames?.registerPart(name);
    if (!part || !this.#registerNames) throw new ReferenceError(`$${name} is no register`);
    const registers = this.#current();
    const whole = this.#registerNames.withPart(
      this.#written.get(part.register) ?? registers[part.register],
      part,
      BigInt(value),
    );
    const vcpu = this.#parts.vm?.vcpus[this.#parts.vcpu];
    if (!vcpu) throw new ShellError(`There is no vCPU ${this.#parts.vcpu}`);
    this.#written.set(part.register, whole);
    // The call starts now, so that a step that follows in the same input comes after it.
    const write = vcpu.setRegisters({ [part.register]: whole });
    write.catch(() => {});
    this.#writes.push(write);
  }

  /** Takes all names away. */
  [Symbol.dispose](): void {
    for (const name of this.#defined) Reflect.deleteProperty(globalThis, name);
    this.#defined.clear();
  }
}
