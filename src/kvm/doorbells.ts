/** Writes that signal an eventfd instead of leaving the guest (KVM_IOEVENTFD): its vCPU goes on meanwhile. */
import { EdgeSet } from "../host/edge_set.ts";
import { EventFd } from "../host/eventfd.ts";
import { PollSet } from "../host/poll_set.ts";
import type { Doorbells } from "../vm/backend.ts";
import type { CausePlace, DoorbellPlace } from "../vm/device.ts";
import { KvmCauses } from "./causes.ts";
import type { Mailbox } from "./mailbox.ts";
import type { KvmVm } from "./vm.ts";

/** Descriptors that one guest may take: a device has as many as queues. */
const MOST = 256;

interface Hung {
  readonly bell: EventFd;
  readonly place: DoorbellPlace;
  readonly rung: () => void;
}

/** The doorbells of a machine; where vCPUs have threads, the main thread hears them together with the vCPUs. */
export class KvmDoorbells implements Doorbells, Disposable {
  readonly #vm: KvmVm;
  readonly #mailbox: Mailbox;
  readonly #causes: SharedArrayBuffer;
  readonly #set = new PollSet();
  readonly #hung = new Map<number, Hung>();
  /** Whether one may be hung up. */
  readonly #wanted: () => boolean;
  /** Descriptors of the host that are heard together with doorbells, and what is called for each. */
  readonly #heard = new Map<number, () => void>();
  #edges: EdgeSet | undefined;
  /** By which the vCPUs' threads are heard. */
  #ear: EventFd | undefined;
  /** What the wait before `answer` found: looking again would be another system call. */
  #ready: readonly number[] | undefined;

  constructor(vm: KvmVm, mailbox: Mailbox, causes: SharedArrayBuffer, wanted: () => boolean) {
    this.#vm = vm;
    this.#mailbox = mailbox;
    this.#causes = causes;
    this.#wanted = wanted;
  }

  /** Whether any hangs. */
  get any(): boolean {
    return this.#hung.size > 0;
  }

  /** Whether there is something to hear: if not, the vCPUs' threads are waited for without a system call. */
  get audible(): boolean {
    return this.any || this.#heard.size > 0;
  }

  /**
   * Calls `come` when something has come that the host's descriptor `fd` can read, as if it were a doorbell.
   *
   * @returns What ends that; to be disposed of before `fd` is closed.
   * @throws {HostError} If it is a kind of file that can't.
   */
  hear(fd: number, come: () => void): Disposable {
    this.#prepare();
    if (this.#edges === undefined) this.#set.add((this.#edges = new EdgeSet()).fd);
    const edges = this.#edges;
    edges.add(fd);
    this.#heard.set(fd, come);
    return {
      [Symbol.dispose]: () => {
        if (this.#heard.get(fd) !== come) return;
        this.#heard.delete(fd);
        edges.delete(fd);
      },
    };
  }

  hang(place: DoorbellPlace, rung: () => void): Disposable | undefined {
    if (this.#hung.size === MOST || !this.#wanted()) return undefined;
    this.#prepare();
    using cleanup = new DisposableStack();
    const bell = cleanup.use(new EventFd());
    const { fd } = bell;
    this.#vm.ioeventfd(fd, place, true);
    cleanup.move();
    this.#hung.set(fd, { bell, place, rung });
    this.#set.add(fd);
    return { [Symbol.dispose]: () => this.#takeDown(fd) };
  }

  causes(place: CausePlace): KvmCauses | undefined {
    return KvmCauses.take(this.#causes, place, (gsi, level) => this.#vm.irqLine(gsi, level));
  }

  /** Takes all down: there is nobody who would hear them in time. Such writes are accesses again. */
  takeAllDown(): void {
    for (const fd of [...this.#hung.keys()]) this.#takeDown(fd);
  }

  answer(again = false): boolean {
    if (!this.audible) return false;
    let rung = false;
    const ready = again ? undefined : this.#ready;
    this.#ready = undefined;
    for (const fd of ready ?? this.#set.wait(0)) {
      const found = this.#hung.get(fd);
      if (found !== undefined && found.bell.take() > 0n) {
        rung = true;
        found.rung();
      } else if (fd === this.#edges?.fd) {
        rung = true;
        for (const come of this.#edges.take()) this.#heard.get(come)?.();
      }
    }
    return rung;
  }

  /** Makes sure that the vCPUs' threads can be heard. */
  #prepare(): void {
    if (this.#ear === undefined) this.#set.add((this.#ear = new EventFd()).fd);
  }

  #takeDown(fd: number): void {
    const found = this.#hung.get(fd);
    if (found === undefined) return;
    const { bell, place, rung } = found;
    this.#hung.delete(fd);
    this.#set.delete(fd);
    this.#vm.ioeventfd(fd, place, false);
    // What was written before it was taken down is not lost.
    const late = bell.take() > 0n;
    bell[Symbol.dispose]();
    if (late) rung();
  }

  /** As `Mailbox.wait`, and until one is rung. */
  wait(heard: number, ms: number): void {
    this.#mailbox.listen(this.#ear!.fd);
    this.#ready = this.#mailbox.bell === heard ? this.#set.wait(ms) : undefined;
    this.#mailbox.listen(undefined);
    if (this.#ready?.includes(this.#ear!.fd)) this.#ear!.take();
  }

  /** As `Mailbox.waitAsync`, and until one is rung. */
  async waitAsync(heard: number, ms: number): Promise<void> {
    this.#mailbox.listen(this.#ear!.fd);
    if (this.#mailbox.bell === heard) await this.#set.later(ms);
    this.#mailbox.listen(undefined);
    this.#ear?.take();
    this.#ready = undefined;
  }

  [Symbol.dispose](): void {
    this.#mailbox.listen(undefined);
    this.#ear?.[Symbol.dispose]();
    this.#ear = undefined;
    for (const { bell } of this.#hung.values()) bell[Symbol.dispose]();
    this.#hung.clear();
    this.#heard.clear();
    this.#edges?.[Symbol.dispose]();
    this.#edges = undefined;
  }
}
