/** Writes that signal an eventfd instead of leaving the guest (KVM_IOEVENTFD): its vCPU goes on meanwhile. */
import { EventFd } from "../host/eventfd.ts";
import { PollSet } from "../host/poll_set.ts";
import type { Doorbells } from "../vm/backend.ts";
import type { DoorbellPlace } from "../vm/device.ts";
import type { Mailbox } from "./mailbox.ts";
import type { KvmVm } from "./vm.ts";

/** Descriptors that one guest may take: a device has as many as queues. */
const MOST = 256;

/** The doorbells of a machine whose vCPUs have threads; the main thread hears them together with the vCPUs. */
export class KvmDoorbells implements Doorbells, Disposable {
  readonly #vm: KvmVm;
  readonly #mailbox: Mailbox;
  readonly #set = new PollSet();
  readonly #hung = new Map<number, { readonly bell: EventFd; readonly rung: () => void }>();
  /** By which the vCPUs' threads are heard. */
  #ear: EventFd | undefined;
  /** What the wait before `answer` found: looking again would be another system call. */
  #ready: readonly number[] | undefined;

  constructor(vm: KvmVm, mailbox: Mailbox) {
    this.#vm = vm;
    this.#mailbox = mailbox;
  }

  /** Whether there is any: if not, the vCPUs' threads are waited for without a system call. */
  get any(): boolean {
    return this.#hung.size > 0;
  }

  hang(place: DoorbellPlace, rung: () => void): Disposable | undefined {
    if (this.#hung.size === MOST) return undefined;
    if (this.#ear === undefined) this.#set.add((this.#ear = new EventFd()).fd);
    using cleanup = new DisposableStack();
    const bell = cleanup.use(new EventFd());
    const { fd } = bell;
    this.#vm.ioeventfd(fd, place, true);
    cleanup.move();
    this.#hung.set(fd, { bell, rung });
    this.#set.add(fd);
    return {
      [Symbol.dispose]: () => {
        if (!this.#hung.delete(fd)) return;
        this.#set.delete(fd);
        this.#vm.ioeventfd(fd, place, false);
        // What was written before it was taken down is not lost.
        const late = bell.take() > 0n;
        bell[Symbol.dispose]();
        if (late) rung();
      },
    };
  }

  answer(again = false): boolean {
    if (!this.any) return false;
    let rung = false;
    const ready = again ? undefined : this.#ready;
    this.#ready = undefined;
    for (const fd of ready ?? this.#set.wait(0)) {
      const found = this.#hung.get(fd);
      if (found === undefined || found.bell.take() === 0n) continue;
      rung = true;
      found.rung();
    }
    return rung;
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
  }
}
