/**
 * Registers that tell why a device interrupts, in memory that vCPUs' threads share with the main thread: an interrupt
 * handler reads one and writes the other, each time, and a thread that answers by itself saves two wake-ups for each.
 */
import { Mapping, PAGE_SIZE } from "../host/mapping.ts";
import { libc } from "../host/libc.ts";
import type { SharedCauses } from "../vm/backend.ts";
import type { CausePlace } from "../vm/device.ts";
import { EXIT, exit_mmio, KVM } from "./abi.ts";
import { AT } from "./run_page.ts";

/** Devices that may have such registers, and words of each. */
const MOST = 32;
const STRIDE = 8;
/** Whether the entry is somebody's, and whether threads answer; addresses, interrupt input, and the bits themselves. */
const TAKEN = 0;
const ANSWERED = 1;
const STATUS = 2;
const ACKNOWLEDGE = 3;
const GSI = 4;
const BITS = 5;

type Words = Int32Array<SharedArrayBuffer>;
type SetLine = (gsi: number, level: boolean) => void;

/** A buffer for `KvmCauses` and `CauseAnswers`. */
export function causeTable(): SharedArrayBuffer {
  return new SharedArrayBuffer(MOST * STRIDE * 4);
}

/** One device's registers, as the main thread has them. */
export class KvmCauses implements SharedCauses {
  readonly #words: Words;
  readonly #at: number;
  readonly #line: SetLine;

  private constructor(words: Words, at: number, line: SetLine) {
    this.#words = words;
    this.#at = at;
    this.#line = line;
  }

  /** Takes an entry of the table; undefined if all are taken, or the place is above 4 GiB. */
  static take(table: SharedArrayBuffer, place: CausePlace, line: SetLine): KvmCauses | undefined {
    const words: Words = new Int32Array(table);
    if (place.status >> 32n !== 0n || place.acknowledge >> 32n !== 0n) return undefined;
    for (let at = 0; at < words.length; at += STRIDE) {
      if (words[at + TAKEN] !== 0) continue;
      words[at + TAKEN] = 1;
      words[at + STATUS] = Number(place.status);
      words[at + ACKNOWLEDGE] = Number(place.acknowledge);
      words[at + GSI] = place.gsi;
      Atomics.store(words, at + BITS, 0);
      return new KvmCauses(words, at, line);
    }
    return undefined;
  }

  get bits(): number {
    return Atomics.load(this.#words, this.#at + BITS);
  }

  get answered(): boolean {
    return Atomics.load(this.#words, this.#at + ANSWERED) !== 0;
  }

  set answered(on: boolean) {
    Atomics.store(this.#words, this.#at + ANSWERED, Number(on));
  }

  raise(bits: number): void {
    // Where one was set before, whoever set it has the line high, or is about to.
    if (bits !== 0 && Atomics.or(this.#words, this.#at + BITS, bits) === 0) {
      follow(this.#words, this.#at, this.#line);
    }
  }

  acknowledge(bits: number): void {
    clear(this.#words, this.#at, bits, this.#line);
  }

  [Symbol.dispose](): void {
    this.answered = false;
    this.acknowledge(~0);
    this.#words[this.#at + TAKEN] = 0;
  }
}

/** Clears bits; without any the line is low. */
function clear(words: Words, at: number, bits: number, line: SetLine): void {
  if ((Atomics.and(words, at + BITS, ~bits) & ~bits) === 0) follow(words, at, line);
}

/** Sets the line as the bits are. Others may do so at the same time: whoever set it last looks once more, and is right. */
function follow(words: Words, at: number, line: SetLine): void {
  let high: boolean;
  do {
    high = Atomics.load(words, at + BITS) !== 0;
    line(words[at + GSI], high);
  } while (Atomics.load(words, at + BITS) !== 0 !== high);
}

/** Byte offsets in the vCPU's shared page. */
const MMIO = {
  address: AT.exit + exit_mmio.offsets.phys_addr,
  data: AT.exit + exit_mmio.offsets.data,
  length: AT.exit + exit_mmio.offsets.len,
  write: AT.exit + exit_mmio.offsets.is_write,
} as const;

/** The registers of all devices, as a vCPU's thread answers them. */
export class CauseAnswers implements Disposable {
  readonly #table: Words;
  readonly #page: Mapping;
  readonly #words: Uint32Array<ArrayBuffer>;
  readonly #line: SetLine;

  /** @param fd The vCPU's descriptor. @param vm The machine's. @throws {HostError} If the page can't be mapped. */
  constructor(table: SharedArrayBuffer, fd: number, vm: number) {
    this.#table = new Int32Array(table);
    this.#page = Mapping.ofFd(fd, PAGE_SIZE);
    this.#words = new Uint32Array(this.#page.buffer);
    const level = new Uint32Array(2);
    this.#line = (gsi, high) => {
      level[0] = gsi;
      level[1] = Number(high);
      libc().ioctlBuffer(vm, KVM.IRQ_LINE, level);
    };
  }

  /** After KVM_RUN gave 0: whether it was such an access, which is answered now, so that the guest may go on. */
  answer(): boolean {
    const words = this.#words;
    if (words[AT.reason / 4] !== EXIT.MMIO || words[MMIO.length / 4] !== 4) return false;
    if (words[MMIO.address / 4 + 1] !== 0) return false;
    const address = words[MMIO.address / 4] | 0;
    const table = this.#table;
    const register = this.#page.bytes[MMIO.write] === 0 ? STATUS : ACKNOWLEDGE;
    for (let at = 0; at < table.length; at += STRIDE) {
      if (table[at + register] !== address || Atomics.load(table, at + ANSWERED) === 0) continue;
      if (register === STATUS) words[MMIO.data / 4] = Atomics.load(table, at + BITS);
      else clear(table, at, words[MMIO.data / 4], this.#line);
      return true;
    }
    return false;
  }

  [Symbol.dispose](): void {
    this.#page[Symbol.dispose]();
  }
}
