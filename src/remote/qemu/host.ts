import type { Stream, Waiter } from "../link.ts";

/** A running QEMU. */
export interface QemuProcess extends AsyncDisposable {
  readonly pid: number;
  /** How it ended; undefined while it runs. */
  readonly over: { readonly code: number; readonly signal: string | null } | undefined;
  /** The end of what it wrote to standard error. */
  readonly errors: string;
  /** Waits for its end. */
  ended(): Promise<unknown>;
}

/** What the host does for this backend, which knows no system calls. */
export interface QemuHost extends Waiter {
  /** Finds a program in PATH. */
  findProgram(name: string): string | undefined;
  /** Why programs can't be started so that they end with hvsh; undefined if they can. */
  noChildren(): string | undefined;
  /** Starts a program that ends when hvsh does. */
  start(program: string, args: readonly string[]): QemuProcess;
  /** Connects to a Unix domain socket. @throws If nobody listens there yet. */
  connect(path: string): Stream;
}
