import assert from "node:assert/strict";
import {
  type BootSpec,
  can,
  type CapabilityName,
  type Device,
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
  /** Where the console is not COM1: code that sends RCX bytes at RSI and then ends, and code that sends back what it gets. */
  readonly serial?: { readonly print: string; readonly echo: string };
  /** Opens a guest; `options` says everything but the backend. */
  open(options: OpenOptions): Promise<Machine>;
  /** Cases it is let off, each as "group: name" or "group: *", and why. */
  readonly skip: readonly { readonly reason: string; readonly tests: readonly string[] }[];
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
  const segment = BigInt(address >> 4);
  const offset = BigInt(address & 15);
  return {
    ds: segment,
    ds_base: segment << 4n,
    es: segment,
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
