import assert from "node:assert/strict";
import {
  type BootSpec,
  can,
  type CapabilityName,
  type Device,
  type DeviceHost,
  flat,
  HvshError,
  type Machine,
  type OpenOptions,
  type RegisterValues,
  StateError,
  type Stop,
  UnsupportedError,
} from "../../mod.ts";

/** The modes a guest can be started in. */
export type Mode = "real" | "protected" | "long";

/** A backend under the contract: a factory, what it starts guests in, and what it is let off. */
export interface ContractBackend {
  /** As in `vm.backend`. */
  readonly name: string;
  /** Where it runs: "this host", "kvm lab", ... */
  readonly place: string;
  /** The mode of guests that are the same in every mode, and what else tells variants apart. */
  readonly mode: Mode;
  readonly variant?: string;
  /** The modes it can start guests in. */
  readonly modes: readonly Mode[];
  /** How code is loaded at `CODE` and entered, where not by `flat()` in the guest's mode. */
  boot?(code: Uint8Array<ArrayBuffer>): BootSpec;
  /** What a guest stops with at CLI and HLT, by which a case ends: `halt`, unless it is said here. */
  readonly end?: Stop["kind"];
  /** Code for what others do by ports and HLT. */
  readonly code?: GuestCode;
  /** Bytes of RAM by the host's own count, where a guest does not have what was asked for. */
  ram?(vm: Machine): Promise<number>;
  /** A guest-physical address without memory, where a device may lie; `HOLE`, unless it is said here. */
  readonly hole?: number;
  /** Whether hvsh's PC is not in its guests: accesses that no device of hvsh's claims don't come to hvsh. */
  readonly foreign?: boolean;
  /** Whether firmware can be booted; it can, unless it is said here. */
  readonly firmware?: boolean;
  /** How an interrupt comes to a guest in real mode: by input 0 of hvsh's 8259 pair, unless it is said here. */
  readonly interrupt?: InterruptSource;
  /** An MSR that can be set: IA32_SYSENTER_ESP, unless it is said here. */
  readonly msr?: number;
  /** Registers that such a guest has, and nobody can set from outside. */
  readonly fixed?: RegExp;
  /** What an exception without a handler ends in: a triple fault, once IDTR's limit is 0, unless it is said here. */
  readonly unhandled?: (Stop & { kind: "shutdown" })["reason"];
  /**
   * What no host offers for guests of this kind, of what each other kind has: the machine must say so, and why. A case
   * that needs it tries that it is refused, or is skipped with that reason.
   */
  readonly lacks?: readonly CapabilityName[];
  /** Opens a guest; `options` says everything but the backend. */
  open(options: OpenOptions): Promise<Machine>;
  /** Cases it is let off, each as "group: name" or "group: *", and why. */
  readonly skip: readonly { readonly reason: string; readonly tests: readonly string[] }[];
}

/** Machine code in hex for what guests do in ways of their own. */
export interface GuestCode {
  /** Sends RCX bytes at RSI to the console, and then ends. */
  readonly print: string;
  /** Sends back what the console gets, for ever. */
  readonly echo: string;
  /** Waits for ever, for what may come any time. */
  readonly wait: string;
  /** Asks for a reset. */
  readonly reset: string;
}

/** How an interrupt comes to a guest in real mode. */
export interface InterruptSource {
  /** Lets it in, but for RFLAGS.IF; may use AL. Registers for that. */
  readonly code: string;
  readonly registers: RegisterValues;
  /** What it comes as. */
  readonly vector: number;
  /** Raises it, while the guest runs. */
  raise(vm: Machine, host: DeviceHost): void | Promise<void>;
}

/** A guest for a case. */
export interface GuestSpec {
  /** Machine code in hex, blanks allowed; loaded at `CODE` and entered there. */
  readonly code: string;
  /** The mode it needs; by default the backend's own, for code that is the same in every mode. */
  readonly mode?: Mode;
  readonly registers?: RegisterValues;
  readonly cpus?: number;
  readonly devices?: readonly Device[];
  /** Whether the hypervisor shall have interrupt controllers; its default if left out. */
  readonly irqchip?: boolean;
}

/** What a case works with. */
export interface Context {
  readonly backend: ContractBackend;
  /** Opens a guest; it is closed when the case is over. */
  guest(spec: GuestSpec): Promise<Machine>;
  /** Opens a machine by options; it is closed when the case is over. */
  open(options: OpenOptions): Promise<Machine>;
}

/** One clause of the contract. */
export interface Case {
  readonly group: string;
  /** A sentence that says what is promised. */
  readonly name: string;
  /** Modes it can be tried in; all by default. */
  readonly modes?: readonly Mode[];
  run(context: Context): Promise<void>;
}

/** Where code is loaded: the same linear and physical address in every mode. */
export const CODE = 0x1000;

/** Memory that code and boot leave alone. */
export const DATA = 0x4000;

/** RAM of a contract guest; behind it is nothing, which real mode can reach too. */
export const MEMORY = 0x80000;

/** A guest-physical address without memory, below 1 MiB. */
export const HOLE = 0x90000;

/**
 * Nothing here takes that long, unless it does not stop at all: the longest are a hundred hits of a Xen guest's, which
 * take a minute in a lab that has a fifth of the processors.
 */
export const PATIENCE_MS = 180_000;

/** Makes the cases of a group. */
export function group(
  name: string,
  cases: Record<string, Case["run"] | Omit<Case, "group" | "name">>,
): Case[] {
  return Object.entries(cases).map(([clause, body]) =>
    typeof body === "function"
      ? { group: name, name: clause, run: body }
      : { ...body, group: name, name: clause }
  );
}

/** Hex digits to bytes. */
export function hex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text.match(/[0-9a-fA-F]{2}/g) ?? [], (byte) => parseInt(byte, 16));
}

/** A guest's code at `CODE`. */
export function boot(code: string, backend: ContractBackend, mode: Mode = backend.mode): BootSpec {
  return backend.boot?.(hex(code)) ?? flat(hex(code), { at: CODE, mode });
}

/**
 * Registers that make `mov [di/bx], al` (88 07), `mov al, [di/bx]` (8A 07) and string instructions reach
 * `address`: those bytes mean the same in every mode, with (R)BX or (R)DI as their base.
 */
export function pointer(address: number, mode: Mode): RegisterValues {
  if (mode !== "real") return { rbx: BigInt(address), rdi: BigInt(address), rsi: BigInt(address) };
  const segment = BigInt(address >>> 4);
  const offset = BigInt(address & 15);
  // Beyond 1 MiB the bases lead there alone, which is what a real mode with a past in protected mode has.
  const selector = segment & 0xffffn;
  return {
    ds: selector,
    ds_base: segment << 4n,
    es: selector,
    es_base: segment << 4n,
    rbx: offset,
    rdi: offset,
    rsi: offset,
  };
}

/** Continues, and fails if the guest has not stopped after a long time. */
export async function go(vm: Machine): Promise<Stop> {
  const stop = await vm.continue({ timeoutMs: PATIENCE_MS });
  assert.notEqual(stop.kind, "timeout", `the guest did not stop; RIP 0x${stop.rip.toString(16)}`);
  return stop;
}

/** Continues to a stop of `kind`. */
export async function until<K extends Stop["kind"]>(vm: Machine, kind: K): Promise<Stop & { kind: K }> {
  const stop = await go(vm);
  const why = "reason" in stop ? `: ${stop.reason}` : "";
  assert.equal(stop.kind, kind, `stopped by ${stop.kind} at 0x${stop.rip.toString(16)}${why}`);
  return stop as Stop & { kind: K };
}

/** Continues to the guest's own end: CLI, HLT. */
export async function ended(c: Context, vm: Machine): Promise<Stop> {
  return await until(vm, c.backend.end ?? "halt");
}

/** What a case throws that can't be tried here: it counts as skipped, with this reason. */
export class NotHere {
  constructor(readonly reason: string) {}
}

/** Skips the case unless the machine says that it can. @throws {NotHere} */
export function needs(vm: Machine, name: CapabilityName): void {
  if (can(vm.capabilities, name)) return;
  throw new NotHere(`no ${name}: ${vm.capabilities.get(name)?.reason ?? "not offered"}`);
}

/**
 * Skips the case if guests of this kind have none of it, with the reason that the machine gives.
 *
 * @throws {NotHere}
 */
export function wants(c: Context, vm: Machine, name: CapabilityName): void {
  if (can(vm.capabilities, name)) return;
  const why = `no ${name}: ${vm.capabilities.get(name)?.reason ?? "not offered"}`;
  assert.ok(c.backend.lacks?.includes(name), why);
  throw new NotHere(why);
}

/** Where the RAM ends that code and data lie in. */
export function endOf(vm: Machine): number {
  const found = vm.memory.regions.find(({ start, size }) => start <= DATA && DATA < start + size);
  assert.ok(found, "there is a region with the guest's code and data");
  return Number(found.start + found.size);
}

/**
 * What `make` gives, or undefined if the backend refuses (or two breakpoints don't find room beside each other):
 * then the refusal must say why and what to do.
 */
export async function orRefused<T>(make: () => Promise<T>): Promise<T | undefined> {
  try {
    return await make();
  } catch (error) {
    const overlap = error instanceof StateError && error.state === "overlap";
    assert.ok(error instanceof UnsupportedError || overlap, `refused by ${error}`);
    assertHelpful(error);
    return undefined;
  }
}

/** What `make` gives; skips the case if the backend refuses, with what it says. @throws {NotHere} */
export async function orSkipped<T>(make: () => Promise<T>): Promise<T> {
  try {
    return await make();
  } catch (error) {
    if (!(error instanceof UnsupportedError)) throw error;
    assertHelpful(error);
    throw new NotHere(error.message);
  }
}

/** An error of ours says in one sentence what happened, and what to do. */
export function assertHelpful(error: unknown): asserts error is HvshError {
  assert.ok(error instanceof HvshError, `an error of hvsh, not ${error}`);
  const [sentence, ...more] = error.message.split("\n");
  assert.ok(
    more.every((line) => line.startsWith("  ")),
    `"${error.message}" is more than a sentence and its details`,
  );
  assert.ok(sentence.length > 10, `"${error.message}" says little`);
  assert.ok((error.remedy?.length ?? 0) > 5, `"${error.message}" does not say what to do`);
}

/** The kinds of error that a refused call throws. */
export type ErrorClass = new (...args: never[]) => Error;

/** `call` is refused with an error of `type` that says what to do; gives the error. */
export async function refused<E extends Error>(
  type: new (...args: never[]) => E,
  call: () => unknown,
): Promise<E> {
  try {
    await call();
  } catch (error) {
    assert.ok(error instanceof type, `${type.name} was expected; got ${error}`);
    if (error instanceof HvshError) assertHelpful(error);
    return error as E;
  }
  throw new assert.AssertionError({ message: `the call was not refused with ${type.name}` });
}
