import type { BackendMemory, MemoryRegion } from "../vm/backend.ts";
import { FaultError, UnsupportedError } from "../vm/errors.ts";
import { isError } from "./connection.ts";
import { fromHex, toHex } from "./packets.ts";
import type { Session } from "./session.ts";

/**
 * Guest-physical memory through a stub that reads it (QEMU's PhyMemMode). Other stubs read linear addresses; where they
 * show no page tables either, linear is the only kind of address that there is, and taken for physical.
 */
export class RemoteMemory implements BackendMemory {
  readonly regions: readonly MemoryRegion[];
  /** Whether physical addresses are linear ones. */
  readonly linearAlone: boolean;
  readonly #session: Session;
  /** Bytes of one `m` packet: its answer has two digits for each. */
  readonly #readChunk: number;
  /** Bytes of one `M` packet, which has an address and a length besides. */
  readonly #writeChunk: number;

  constructor(session: Session, regions: readonly MemoryRegion[]) {
    this.regions = regions;
    this.#session = session;
    const paged = session.description.registers.some(({ name }) => name.toLowerCase() === "cr3");
    this.linearAlone = !session.features.physical && !paged;
    this.#readChunk = Math.max(16, Math.floor(session.features.packetSize / 2));
    this.#writeChunk = Math.max(16, Math.floor((session.features.packetSize - 48) / 2));
  }

  read(at: bigint, into: Uint8Array): void {
    if (into.length === 0) return;
    this.#ready();
    this.#regionsOf(at, into.length);
    const chunks = pieces(into.length, this.#readChunk);
    const answers = this.#session.connection.requests(
      chunks.map(({ from, size }) => `m${(at + BigInt(from)).toString(16)},${size.toString(16)}`),
    );
    chunks.forEach(({ from, size }, i) => {
      const bytes = isError(answers[i]) ? undefined : fromHex(answers[i]);
      if (bytes?.length !== size) throw this.#refused(at + BigInt(from));
      into.set(bytes, from);
    });
  }

  write(at: bigint, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#ready();
    const regions = this.#regionsOf(at, bytes.length);
    const readOnly = regions.some((region) => region.readOnly);
    if (readOnly) this.#linear(true);
    try {
      const chunks = pieces(bytes.length, this.#writeChunk);
      const answers = this.#session.connection.requests(
        chunks.map(({ from, size }) =>
          `M${(at + BigInt(from)).toString(16)},${size.toString(16)}:${
            toHex(bytes.subarray(from, from + size))
          }`
        ),
      );
      const failed = answers.findIndex((answer) => answer !== "OK");
      if (failed >= 0) throw this.#refused(at + BigInt(chunks[failed].from));
    } finally {
      if (readOnly) this.#linear(false);
    }
  }

  /** The regions that the range lies in, wholly. @throws {FaultError} If a byte of it is in none. */
  #regionsOf(at: bigint, length: number): MemoryRegion[] {
    const found: MemoryRegion[] = [];
    if (this.linearAlone) return found;
    for (let here = at; here < at + BigInt(length);) {
      const region = this.regions.find(({ start, size }) => here >= start && here < start + size);
      if (region === undefined) {
        throw new FaultError(`0x${here.toString(16)} is not guest memory`, { address: here, space: "gpa" }, {
          remedy: "see vm.memory.regions for what there is",
        });
      }
      found.push(region);
      here = region.start + region.size;
    }
    return found;
  }

  /**
   * By physical address QEMU's stub writes as the guest does, and so not into ROM; by linear address it does.
   *
   * @throws {UnsupportedError} If paging is on, so that the two are different.
   */
  #linear(on: boolean): void {
    const session = this.#session;
    if (on && (cr0(session) & PG) !== 0n) {
      throw new UnsupportedError(
        "writing to read-only memory",
        "QEMU's stub does it by linear address alone",
        {
          remedy: "do it before the guest switches paging on",
        },
      );
    }
    session.command(`Qqemu.PhyMemMode:${on ? 0 : 1}`);
  }

  #ready(): void {
    this.#session.requireOpen();
    if (!this.#session.features.physical && !this.linearAlone) {
      throw new UnsupportedError("guest-physical memory", "this stub reads linear addresses alone", {
        remedy: "use QEMU 4.1 or later, which has PhyMemMode",
      });
    }
    this.#session.halt();
  }

  #refused(address: bigint): FaultError {
    return new FaultError(`the stub refuses memory at 0x${address.toString(16)}`, { address, space: "gpa" }, {
      remedy: this.linearAlone ? "see what is mapped there" : "see vm.memory.regions for what there is",
    });
  }
}

const PG = 1n << 31n;

function cr0(session: Session): bigint {
  session.select(0);
  const register = session.description.registers.find(({ name }) => name === "cr0");
  if (register === undefined) return PG;
  const answer = fromHex(session.connection.request(`p${register.number.toString(16)}`));
  if (answer === undefined) return PG;
  return answer.reduceRight((value, byte) => value << 8n | BigInt(byte), 0n);
}

function pieces(length: number, chunk: number): { from: number; size: number }[] {
  return Array.from({ length: Math.ceil(length / chunk) }, (_, i) => ({
    from: i * chunk,
    size: Math.min(chunk, length - i * chunk),
  }));
}
