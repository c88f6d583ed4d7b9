import type { Worker } from "node:worker_threads";
import { ERRNO } from "../abi/errno.ts";
import { HostError } from "../host/error.ts";
import { signalThread, threadExists } from "../host/signals.ts";
import { SLICE_SIGNAL } from "../host/slice_timer.ts";
import { builtin } from "../vm/builtin.ts";
import { CELL, type Mailbox } from "./mailbox.ts";
import type { VcpuOrders } from "./vcpu_worker.ts";

/** The program that vCPUs' threads run. */
const PROGRAM = new URL("./vcpu_worker.ts", import.meta.url);

/** How long a thread that was kicked may take before it is kicked again: a kick is never lost, so this is for luck. */
const KICK_AGAIN_MS = 20;
/** For how many milliseconds a thread that has ended is waited for at most. */
const GONE_TRIES = 1000;
/** How long a thread may take to come up on a busy host. */
const START_LIMIT_MS = 30_000;

/**
 * The thread that runs one vCPU, as the main thread has it.
 *
 * A thread of its own and not the main thread for every entry: KVM waits for all readers of a vCPU's thread id when
 * another thread enters it (milliseconds, on kernels before 6.13). All other requests on the vCPU's descriptor are the
 * main thread's, and only while the thread is parked: KVM lets any thread of the process make them, but they would wait
 * until the guest leaves (virt/kvm/kvm_main.c, kvm_vcpu_ioctl: vcpu->mutex).
 */
export class VcpuThread {
  readonly #mailbox: Mailbox;
  readonly #vcpu: number;
  readonly #worker: Worker;
  readonly #ended: Promise<void>;
  #started = false;
  #quitting = false;
  #death: string | undefined;
  /** errno of the last KVM_RUN that gave -1. */
  errno = 0;

  /** Starts the thread; it comes up while the caller goes on. */
  constructor(
    mailbox: Mailbox,
    vcpu: number,
    machine: Pick<VcpuOrders, "fd" | "vm" | "causes">,
    program: URL = PROGRAM,
  ) {
    this.#mailbox = mailbox;
    this.#vcpu = vcpu;
    const { Worker } = builtin("node:worker_threads");
    const orders: VcpuOrders = { mailbox: mailbox.buffer, vcpu, ...machine, program: program.href };
    const worker = this.#worker = new Worker(program, { workerData: orders, name: `vCPU ${vcpu}` });
    worker.on("error", (error: unknown) => {
      this.#die(error instanceof Error ? error.message : String(error));
    });
    this.#ended = new Promise((resolve) =>
      worker.on("exit", (code: number) => {
        if (!this.#quitting) this.#die(`it ended with code ${code}`);
        resolve();
      })
    );
    // A guest that is not closed does not keep its process alive.
    worker.unref();
  }

  /** Why there is no thread any more; undefined as long as it lives. */
  get death(): string | undefined {
    if (this.#death === undefined && this.#mailbox.state(this.#vcpu) === CELL.DEAD) {
      this.#die(this.#mailbox.lastWords(this.#vcpu));
    }
    return this.#death;
  }

  /** Whether it has come up. */
  get up(): boolean {
    return this.#mailbox.threadOf(this.#vcpu) !== 0;
  }

  /** Whether the vCPU was started and what came of it has not been taken. */
  get started(): boolean {
    return this.#started;
  }

  /** Whether the vCPU is back from the guest, so that its descriptor is the main thread's. */
  get back(): boolean {
    return !this.#started || this.death !== undefined || this.#mailbox.state(this.#vcpu) === CELL.DONE;
  }

  /** Lets the vCPU run. */
  start(): void {
    this.#started = true;
    if (this.death === undefined) this.#mailbox.tell(this.#vcpu, CELL.RUN);
  }

  /** Makes a vCPU that runs come back soon. */
  kick(): void {
    const thread = this.#mailbox.threadOf(this.#vcpu);
    if (this.back || thread === 0) return;
    try {
      signalThread(thread, SLICE_SIGNAL);
    } catch (error) {
      if (!(error instanceof HostError) || error.errno !== ERRNO.ESRCH) throw error;
      this.#die("it is gone");
    }
  }

  /** Blocks until the vCPU is back. */
  park(): void {
    if (this.back) return;
    this.#awaitUp();
    while (!this.back) {
      this.kick();
      if (!this.back) this.#mailbox.leaves(this.#vcpu, CELL.RUN, KICK_AGAIN_MS);
    }
  }

  /** What came of a run, once it is back: what KVM_RUN gave, with `errno` set where it is -1. `taken` is to follow. */
  take(): number {
    if (this.death !== undefined) {
      this.errno = ERRNO.EINTR;
      return -1;
    }
    this.errno = this.#mailbox.errno(this.#vcpu);
    return this.#mailbox.result(this.#vcpu);
  }

  /** The run is over, and what came of it is kept elsewhere. */
  taken(): void {
    this.#started = false;
    if (this.#death === undefined) this.#mailbox.tell(this.#vcpu, CELL.IDLE);
  }

  /** One entry while the caller waits: no longer than `ms`, then the vCPU is kicked. */
  enter(ms: number): number {
    this.start();
    this.#awaitUp();
    if (!this.back) this.#mailbox.leaves(this.#vcpu, CELL.RUN, ms);
    this.park();
    const result = this.take();
    this.taken();
    return result;
  }

  /** Ends the thread, whose vCPU is not run again. Resolves when it is gone. */
  async quit(): Promise<void> {
    if (!this.#quitting) {
      this.#quitting = true;
      this.park();
      this.#worker.ref();
      this.#mailbox.tell(this.#vcpu, CELL.QUIT);
    }
    if (this.#death === undefined) await this.#ended;
    else await this.#worker.terminate();
    // Deno tells of the end a moment before the kernel's thread is gone.
    for (let i = 0; i < GONE_TRIES && this.#exists(); i++) await new Promise((done) => setTimeout(done, 1));
  }

  #exists(): boolean {
    const thread = this.#mailbox.threadOf(this.#vcpu);
    return thread !== 0 && threadExists(thread);
  }

  /** Blocks until the thread has come up. @throws {HostError} If it does not. */
  #awaitUp(): void {
    const deadline = performance.now() + START_LIMIT_MS;
    while (this.death === undefined && !this.up) {
      if (performance.now() > deadline) {
        throw new HostError(`start of the thread of vCPU ${this.#vcpu}`, 0, {
          remedy: "See whether the host has memory and processors to spare.",
        });
      }
      this.#mailbox.wait(this.#mailbox.bell, 1);
    }
  }

  #die(why: string): void {
    this.#death ??= `the thread of vCPU ${this.#vcpu} has ended: ${why}`;
  }
}
