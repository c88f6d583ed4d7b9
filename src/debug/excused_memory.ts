import type { RecordedStep } from "./recording.ts";

/** Bytes that are remembered: some hundred megabytes of a set's own. */
const LIMIT = 1 << 22;

/** The bytes of memory in which two runs differ for a reason that is known. */
export class ExcusedMemory {
  readonly #bytes = new Set<bigint>();

  /** Whether any byte of a range is excused. */
  holds({ address, size }: { address: bigint; size: number }): boolean {
    if (this.#bytes.size === 0) return false;
    for (let i = 0; i < size; i++) if (this.#bytes.has(address + BigInt(i))) return true;
    return false;
  }

  /** Takes the bytes that two steps wrote differently; those that came out the same are excused no more. */
  excuse(a: RecordedStep, b: RecordedStep): void {
    const [left, right] = [bytesOf(a), bytesOf(b)];
    for (const address of new Set([...left.keys(), ...right.keys()])) {
      if (left.get(address) === right.get(address)) this.#bytes.delete(address);
      else if (this.#bytes.size < LIMIT) this.#bytes.add(address);
    }
  }

  /** Both sides wrote the same there. */
  forget({ writes }: RecordedStep): void {
    if (this.#bytes.size === 0) return;
    for (const { address, bytes } of writes) {
      for (let i = 0; i < bytes.length; i++) this.#bytes.delete(address + BigInt(i));
    }
  }
}

/** What a step wrote, byte by byte. */
function bytesOf({ writes }: RecordedStep): Map<bigint, number> {
  return new Map(
    writes.flatMap(({ address, bytes }) =>
      Array.from(bytes, (byte, i) => [address + BigInt(i), byte] as const)
    ),
  );
}
