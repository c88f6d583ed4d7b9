/**
 * hvsh in `deno test` files: guests as fixtures, and failures that show where the guest stood.
 *
 * @example
 * ```ts
 * import { guest } from "./testing.ts";
 * import { flat } from "./mod.ts";
 * import assert from "node:assert/strict";
 *
 * // In real mode at 0x1000: mov al, 'O'; out 0xe9, al; mov al, 'K'; out 0xe9, al; mov al, 21; out 0xf4, al
 * const code = Uint8Array.of(0xb0, 0x4f, 0xe6, 0xe9, 0xb0, 0x4b, 0xe6, 0xe9, 0xb0, 21, 0xe6, 0xf4);
 * await using vm = await guest({ backend: "fake", boot: flat(code), timeoutMs: 5_000 });
 * await vm.expectConsole("OK");
 * const stop = await vm.expectStop("exit");
 * assert.equal(stop.code, 43); // the debug-exit port makes (value << 1) | 1 of it
 * ```
 *
 * @module
 */
import {
  type GuestMachine,
  hosts,
  HvshError,
  open,
  type OpenOptions,
  type Stop,
  TimeoutError,
} from "./src/dsl/mod.ts";
import { openLibraries } from "./src/dsl/open.ts";
import { report, told } from "./src/dsl/report.ts";

/** How a guest for a test is opened. */
export interface GuestOptions extends OpenOptions {
  /** Milliseconds that one wait (for a stop, for the console) may take; 30,000 if left out. */
  timeoutMs?: number;
}

/** What a guest in a test can do besides all that a machine can. */
export interface GuestChecks {
  /**
   * Lets the guest run until it stops, which it must do for this reason and in time.
   *
   * @throws {GuestFailure} If it stops for another reason, or not at all.
   */
  expectStop<K extends Stop["kind"]>(kind: K, options?: { timeoutMs?: number }): Promise<Stop & { kind: K }>;
  /**
   * Lets the guest run until its console shows `pattern`, and pauses it. If it stops before, that is a failure
   * unless the pattern was there by then; `expectStop` is then about that stop.
   *
   * @returns The match.
   * @throws {GuestFailure} If the pattern does not come in time.
   */
  expectConsole(pattern: RegExp | string, options?: { timeoutMs?: number }): Promise<RegExpMatchArray>;
  /** Where the guest stands: registers, code, its last accesses, the end of its console. */
  report(): Promise<string>;
}

/**
 * A guest in a test: a machine with checks. Disposing of it destroys it. Its `console.expect` and `screen.expect`
 * wait as long as `timeoutMs` says; what does not come in time pauses the guest, and the error shows where it stood.
 */
export type TestGuest = GuestMachine & GuestChecks;

/** An expectation was not met; the message shows where the guest stood. */
export class GuestFailure extends HvshError {
  /** The class's name. */
  override name = "GuestFailure";
}

const DEFAULT_TIMEOUT_MS = 30_000;
const GRACE_MS = 50;

/**
 * Opens a guest for a test.
 *
 * @throws {UnsupportedError} If the backend can't be used here.
 * @throws {InputError} If an option or an image makes no sense.
 */
export async function guest(options: GuestOptions = {}): Promise<TestGuest> {
  const { timeoutMs: limit = DEFAULT_TIMEOUT_MS, ...rest } = options;
  const vm = await open(rest);
  /** The console's own, which leaves the guest as it is. */
  const consoleExpect = vm.console.expect.bind(vm.console);
  reported(vm, vm.console, limit);
  reported(vm, vm.screen, limit);
  /** A stop that came while the console was waited for: the next expectation of a stop is about it. */
  let early: Stop | undefined;
  const checks: GuestChecks = {
    async expectStop<K extends Stop["kind"]>(kind: K, { timeoutMs = limit } = {}) {
      const asked = callerOf(checks.expectStop);
      const stop = early ?? await vm.continue({ timeoutMs });
      early = undefined;
      if (stop.kind !== kind) {
        throw await failure(vm, `expected the guest to stop by ${kind}; it stopped by ${told(stop)}`, asked);
      }
      return stop as Stop & { kind: K };
    },
    async expectConsole(pattern, { timeoutMs = limit } = {}) {
      const asked = callerOf(checks.expectConsole);
      const give = new AbortController();
      const match = consoleExpect(pattern, { timeoutMs, signal: give.signal });
      const seen = match.then(() => "seen" as const, () => "missing" as const);
      const stopped = vm.continue();
      if (await Promise.race([seen, stopped.then(() => "stopped" as const)]) === "stopped") {
        // What it printed last is looked at once the event loop has had its turn.
        const grace = setTimeout(() => give.abort(), GRACE_MS);
        await seen;
        clearTimeout(grace);
      }
      const outcome = await seen;
      if (vm.state === "running") await vm.pause();
      const stop = await stopped;
      early = stop.kind === "pause" ? undefined : stop;
      if (outcome === "seen") return await match;
      const how = stop.kind === "pause"
        ? `within ${timeoutMs} ms`
        : `before the guest stopped by ${told(stop)}`;
      throw await failure(vm, `the console did not show ${pattern} ${how}`, asked);
    },
    report: () => report(vm),
  };
  return Object.assign(vm, checks);
}

/** What prints, and can be waited for. */
interface Printing {
  expect(
    pattern: RegExp | string,
    options?: { timeoutMs?: number; signal?: AbortSignal },
  ): Promise<RegExpMatchArray>;
}

/** Has `printing.expect` wait for `limit` milliseconds if it is not told otherwise, and show the guest if that was in vain. */
function reported(vm: GuestMachine, printing: Printing, limit: number): void {
  const wait = printing.expect.bind(printing);
  printing.expect = async function expect(pattern, options) {
    const asked = callerOf(expect);
    try {
      return await wait(pattern, { ...options, timeoutMs: options?.timeoutMs ?? limit });
    } catch (error) {
      if (!(error instanceof TimeoutError) || vm.state === "closed") throw error;
      throw await shown(vm, TimeoutError, error.message, asked, error);
    }
  };
}

/**
 * A test with a guest: opened before, destroyed after, and shown if the test fails. Where the backend can't be
 * used, the test is ignored and the reason printed.
 *
 * @param name The test's name.
 * @param options How the guest is opened.
 */
export function guestTest(name: string, options: GuestOptions, body: (vm: TestGuest) => Promise<void>): void {
  const missing = reasonAgainst(options);
  if (missing !== undefined) console.log(`${name}: skipped, ${missing}`);
  Deno.test({ name, ignore: missing !== undefined, fn: () => runWithGuest(options, body) });
}

async function runWithGuest(options: GuestOptions, body: (vm: TestGuest) => Promise<void>): Promise<void> {
  await using vm = await guest(options);
  try {
    await body(vm);
  } catch (error) {
    if (error instanceof GuestFailure || vm.state === "closed") throw error;
    throw await failure(vm, sentencesOf(error), framesOf(error), error);
  }
}

/** What was thrown, and what can be done about it: Deno shows an error's message alone. */
function sentencesOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const remedy = "remedy" in thrown ? thrown.remedy : undefined;
  return typeof remedy === "string" ? `${thrown.message}\n${remedy}` : thrown.message;
}

// Libraries that are opened in the middle of a test are leaks to Deno's sanitizer.
await openLibraries();

/** What this host has. */
const HOSTS = await hosts();

function reasonAgainst({ backend, devices = [] }: GuestOptions): string | undefined {
  const against = (name: string) => {
    const host = HOSTS.find((h) => h.backend === name);
    return host === undefined || host.usable ? undefined : host.reason;
  };
  const missing = against(backend ?? "kvm");
  // Without KVM a guest opens in QEMU, which takes no devices.
  const other = backend === undefined && devices.length === 0 && against("qemu") === undefined;
  return other ? undefined : missing;
}

function failure(vm: GuestMachine, message: string, frames: string, cause?: unknown): Promise<GuestFailure> {
  return shown(vm, GuestFailure, message, frames, cause);
}

/** An error whose message goes on with where the guest stands. */
async function shown<E extends HvshError>(
  vm: GuestMachine,
  Kind: new (message: string, options: { cause?: unknown; remedy?: string }) => E,
  message: string,
  frames: string,
  cause?: unknown,
): Promise<E> {
  if (vm.state === "running") await vm.pause();
  const failed = new Kind(`${message}\n${await report(vm)}`, {
    remedy: "the report shows where the guest stood",
    ...(cause === undefined ? {} : { cause }),
  });
  // What the reader wants to see is the line of the test that expected something, not this module. Deno shows the
  // message and then all of such a stack but its first line.
  if (frames !== "") failed.stack = `${failed.name}: ${message.split("\n", 1)[0]}\n${frames}`;
  return failed;
}

/** The stack's frames from the caller of `check` on. Taken before anything is awaited, when they are all there. */
function callerOf(check: (...args: never[]) => unknown): string {
  const here: { stack?: string } = {};
  Error.captureStackTrace(here, check);
  return framesOf(here);
}

/** The frames of what was thrown, without its message; none if it is no error. */
function framesOf(thrown: unknown): string {
  const { stack } = (thrown ?? {}) as { stack?: unknown };
  return typeof stack !== "string" ? "" : stack.split("\n").filter((l) => /^ {4}at /.test(l)).join("\n");
}
