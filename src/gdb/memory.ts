/** Memory in packets: m, M, X and x (GDB manual, E.2). Addresses are linear, or physical if the client asked for that. */
import { gpa, gva } from "../vm/address.ts";
import { FaultError } from "../vm/errors.ts";
import type { Machine } from "../vm/machine.ts";
import { DATA_BYTES } from "./sizes.ts";
import { addressAndLength, hexBytes, latin1, PacketError, positionOf } from "./text.ts";

/** Bytes whose digits fit one packet. */
const MOST_BYTES = DATA_BYTES / 2;

/** Reads and writes as one vCPU sees memory. */
export class GdbMemory {
  /** Whether addresses are guest-physical: QEMU's `Qqemu.PhyMemMode`, which other clients know too. */
  physical = false;
  readonly #vm: Machine;
  /** Where reads go: room of its own for each would cost more than the reading. */
  readonly #bytes = new Uint8Array(MOST_BYTES);

  constructor(vm: Machine) {
    this.#vm = vm;
  }

  /**
   * Reads `ADDRESS,LENGTH`: as much as there is up to the first byte that is not, and as one packet holds in digits.
   *
   * @returns Valid until the next read.
   * @throws {FaultError} If not even the first byte is there.
   */
  async read(vcpu: number, text: string): Promise<Uint8Array> {
    const { address, length } = addressAndLength(text);
    const room = length === 0 ? 0n : (1n << 64n) - address;
    const wanted = Math.min(length, MOST_BYTES, room > BigInt(MOST_BYTES) ? MOST_BYTES : Number(room));
    const into = this.#bytes.subarray(0, wanted);
    try {
      await this.#readInto(vcpu, address, into);
      return into;
    } catch (error) {
      if (!(error instanceof FaultError)) throw error;
      return await this.#byPages(vcpu, address, into, error);
    }
  }

  /** `M`: hexadecimal digits behind a colon; `X`: the bytes themselves. @param packet What stands behind the letter. */
  async write(vcpu: number, packet: Uint8Array, binary: boolean): Promise<void> {
    const colon = positionOf(packet, ":");
    const { address, length } = addressAndLength(latin1(packet.subarray(0, colon)));
    const data = packet.subarray(colon + 1);
    const bytes = binary ? data : hexBytes(data);
    if (bytes.length !== length) {
      throw new PacketError(`${length} bytes are announced and ${bytes.length} are there`);
    }
    if (length === 0) return;
    if (address + BigInt(length) > 1n << 64n) {
      throw new PacketError("the range goes past the end of memory", 14);
    }
    if (this.physical) await this.#vm.memory.write(gpa(address), bytes);
    else await this.#vm.vcpus[vcpu].memory.write(gva(address), bytes);
  }

  async #readInto(vcpu: number, address: bigint, into: Uint8Array): Promise<void> {
    if (into.length === 0) return;
    if (this.physical) await this.#vm.memory.readInto(gpa(address), into);
    else await this.#vm.vcpus[vcpu].memory.readInto(gva(address), into);
  }

  /** Whole pages up to the first that is not there: memory comes and goes by pages. */
  async #byPages(vcpu: number, address: bigint, into: Uint8Array, error: FaultError): Promise<Uint8Array> {
    let length = 0;
    while (length < into.length) {
      const at = address + BigInt(length);
      const size = Math.min(into.length - length, Number(4096n - (at & 4095n)));
      try {
        await this.#readInto(vcpu, at, into.subarray(length, length + size));
      } catch (next) {
        if (!(next instanceof FaultError)) throw next;
        if (length === 0) throw error;
        break;
      }
      length += size;
    }
    return into.subarray(0, length);
  }
}

/**
 * The memory map (GDB manual, appendix "Memory Map Format"): every linear address may be memory. What is RAM, ROM or
 * nothing is a matter of physical addresses and of page tables, which change under gdb.
 */
export const MEMORY_MAP = `<?xml version="1.0"?>
<!DOCTYPE memory-map PUBLIC "+//IDN gnu.org//DTD GDB Memory Map V1.0//EN" "http://sourceware.org/gdb/gdb-memory-map.dtd">
<memory-map>
<memory type="ram" start="0x0" length="0x8000000000000000"/>
<memory type="ram" start="0x8000000000000000" length="0x8000000000000000"/>
</memory-map>
`;

/** Addresses from here up to as far below the top are canonical in no paging mode (SDM volume 1, 3.3.7.1). */
const HOLE = 1n << 56n;
const TOP = 1n << 64n;

/**
 * The answer to lldb's `qMemoryRegionInfo` (lldb, docs/resources/lldbgdbremote.md): the same, but for where nothing can
 * be. lldb looks for such a place to keep the results of expressions in, and prints an assertion of its own for each
 * expression where there is none.
 */
export function memoryRegion(address: bigint): string {
  const hole = address >= HOLE && address < TOP - HOLE;
  const start = address < HOLE ? 0n : hole ? HOLE : TOP - HOLE;
  // One byte less at the top: lldb adds the size in 64 bits, and ends a listing at the last address.
  const size = hole ? TOP - 2n * HOLE : start === 0n ? HOLE : HOLE - 1n;
  return `start:${start.toString(16)};size:${size.toString(16)};${hole ? "" : "permissions:rwx;"}`;
}
