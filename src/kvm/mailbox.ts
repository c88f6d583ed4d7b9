/**
 * What the main thread and the threads that run vCPUs say to each other, in shared memory: one cell for each vCPU, and
 * a bell that a vCPU rings when it has come back. The exit itself lies in the vCPU's own shared page, which the main
 * thread reads: a thread tells no more than what KVM_RUN gave.
 *
 * A cell goes IDLE -> RUN (main) -> DONE (thread) -> IDLE (main), and at last to QUIT (main), or to DEAD (thread).
 * Whoever finds it in another state than its own turn leaves it alone, so that each word has one writer at any time.
 */

/** What a cell's first word says. */
export const CELL = {
  /** The main thread's turn: nothing is asked for. */
  IDLE: 0,
  /** The thread's turn: enter the guest. */
  RUN: 1,
  /** The main thread's turn: KVM_RUN has returned. */
  DONE: 2,
  /** The thread shall end. */
  QUIT: 3,
  /** The thread has ended without being told to. */
  DEAD: 4,
} as const;

const BELL = 0;
/** Whether the main thread waits in a system call, and the eventfd by which it hears the bell there. */
const LISTENING = 1;
const EAR = 2;
/** Words of the bell, and at the head of a cell: a cache line each, so that vCPUs don't wait for each other's. */
const STRIDE = 16;
const STATE = 0;
const THREAD = 1;
const RESULT = 2;
const ERRNO = 3;
/** Bytes of a thread's last words, which follow a cell's head behind their length. */
const LAST_WORDS_BYTES = 252;
const CELL_WORDS = STRIDE + 1 + LAST_WORDS_BYTES / 4;

/** The shared words of one machine. */
export class Mailbox {
  /** To be handed to a thread, which makes a `Mailbox` of its own over it. */
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #signal: (fd: number) => void;

  /**
   * @param of The number of vCPUs, or another thread's `buffer`.
   * @param signal Signals an eventfd; nobody may `listen` where it is left out.
   */
  constructor(of: number | SharedArrayBuffer, signal: (fd: number) => void = () => {}) {
    this.#signal = signal;
    this.buffer = typeof of === "number" ? new SharedArrayBuffer((STRIDE + of * CELL_WORDS) * 4) : of;
    this.#words = new Int32Array(this.buffer);
  }

  #at(vcpu: number, word: number): number {
    return STRIDE + vcpu * CELL_WORDS + word;
  }

  /** What the vCPU's cell says now. */
  state(vcpu: number): number {
    return Atomics.load(this.#words, this.#at(vcpu, STATE));
  }

  /** The kernel's id of the vCPU's thread; 0 before it is up. */
  threadOf(vcpu: number): number {
    return Atomics.load(this.#words, this.#at(vcpu, THREAD));
  }

  /** What KVM_RUN gave, to be asked for in the state DONE. */
  result(vcpu: number): number {
    return this.#words[this.#at(vcpu, RESULT)];
  }

  /** errno of a KVM_RUN that gave -1. */
  errno(vcpu: number): number {
    return this.#words[this.#at(vcpu, ERRNO)];
  }

  /** The main thread says something to a vCPU's thread. */
  tell(vcpu: number, state: number): void {
    const at = this.#at(vcpu, STATE);
    Atomics.store(this.#words, at, state);
    Atomics.notify(this.#words, at);
  }

  /** Waits while the cell says `state`, at most `ms`; false if it still does. Blocks the thread. */
  leaves(vcpu: number, state: number, ms: number): boolean {
    return Atomics.wait(this.#words, this.#at(vcpu, STATE), state, ms) !== "timed-out";
  }

  /** The thread is up, and says who it is. */
  arrive(vcpu: number, thread: number): void {
    Atomics.store(this.#words, this.#at(vcpu, THREAD), thread);
    this.ring();
  }

  /** The thread's KVM_RUN has returned. */
  done(vcpu: number, result: number, errno: number): void {
    this.#words[this.#at(vcpu, RESULT)] = result;
    this.#words[this.#at(vcpu, ERRNO)] = errno;
    this.tell(vcpu, CELL.DONE);
    this.ring();
  }

  /** The thread ends, and says why. */
  die(vcpu: number, why: string): void {
    const words = new TextEncoder().encode(why).subarray(0, LAST_WORDS_BYTES);
    const at = this.#at(vcpu, STRIDE);
    this.#words[at] = words.length;
    new Uint8Array(this.buffer, (at + 1) * 4, words.length).set(words);
    this.tell(vcpu, CELL.DEAD);
    this.ring();
  }

  /** Why the thread has ended, in the state DEAD. */
  lastWords(vcpu: number): string {
    const at = this.#at(vcpu, STRIDE);
    const length = Math.min(this.#words[at], LAST_WORDS_BYTES);
    return new TextDecoder().decode(new Uint8Array(this.buffer, (at + 1) * 4, length).slice());
  }

  /** Rings the bell: there is something to look at. */
  ring(): void {
    Atomics.add(this.#words, BELL, 1);
    Atomics.notify(this.#words, BELL);
    if (Atomics.load(this.#words, LISTENING) !== 0) this.#signal(Atomics.load(this.#words, EAR));
  }

  /**
   * From now on the bell signals the eventfd `fd` as well, for a main thread that waits in the kernel for several
   * things; undefined ends that. Look at `bell` behind this and before waiting, and no ring is missed.
   */
  listen(fd: number | undefined): void {
    if (fd !== undefined) Atomics.store(this.#words, EAR, fd);
    Atomics.store(this.#words, LISTENING, fd === undefined ? 0 : 1);
  }

  /** How often the bell has rung: read it before looking into the cells, and no ring is missed. */
  get bell(): number {
    return Atomics.load(this.#words, BELL);
  }

  /** Blocks until the bell has rung since it stood at `heard`, at most `ms`. */
  wait(heard: number, ms: number): void {
    Atomics.wait(this.#words, BELL, heard, ms);
  }

  /** The same without blocking the event loop. */
  async waitAsync(heard: number, ms: number): Promise<void> {
    const { async, value } = Atomics.waitAsync(this.#words, BELL, heard, ms);
    if (!async) return;
    // Atomics.waitAsync does not keep the process alive; a timer does.
    let timer: ReturnType<typeof setTimeout> | undefined;
    const limit = new Promise((resolve) => timer = setTimeout(resolve, ms));
    await Promise.race([value, limit]);
    clearTimeout(timer);
  }
}
