/**
 * VMCOREINFO: what a kernel says of itself for those who look at it from outside, as lines of `KEY=VALUE`
 * (Documentation/admin-guide/kdump/vmcoreinfo.rst of Linux).
 */
import type { Kernel } from "./kernel.ts";
import type { PagedReader } from "./paged_reader.ts";

/** A kernel has one page of it; a few more may come. */
const MOST_BYTES = 1 << 16;

/** The lines of VMCOREINFO. */
export class VmcoreInfo {
  /** All of it, as it is in memory. */
  readonly text: string;
  readonly #values = new Map<string, string>();

  /** @param text Lines of `KEY=VALUE`; the first of a key counts. */
  constructor(text: string) {
    this.text = text;
    for (const line of text.split("\n")) {
      const equals = line.indexOf("=");
      const key = line.slice(0, equals);
      if (equals > 0 && !this.#values.has(key)) this.#values.set(key, line.slice(equals + 1));
    }
  }

  /** A value, as it is written. */
  value(key: string): string | undefined {
    return this.#values.get(key);
  }

  /** `OFFSET(struct.field)`, in bytes. */
  offset(field: string): number | undefined {
    return this.#number(`OFFSET(${field})`);
  }

  /** `SIZE(struct)`, in bytes. */
  size(struct: string): number | undefined {
    return this.#number(`SIZE(${struct})`);
  }

  /** How far KASLR moved the kernel's linear addresses. */
  get kernelOffset(): bigint | undefined {
    const value = this.value("KERNELOFFSET");
    return value !== undefined && /^[0-9a-f]{1,16}$/.test(value) ? BigInt(`0x${value}`) : undefined;
  }

  #number(key: string): number | undefined {
    const value = this.value(key);
    return value !== undefined && /^\d{1,9}$/.test(value) ? Number(value) : undefined;
  }
}

/**
 * Reads a kernel's VMCOREINFO; undefined while the kernel has not made it, or was built without CONFIG_CRASH_CORE.
 *
 * @throws {FaultError} If the kernel's pointers lead nowhere.
 */
export async function readVmcoreInfo(kernel: Kernel, memory: PagedReader): Promise<VmcoreInfo | undefined> {
  const data = kernel.lookup("vmcoreinfo_data");
  const size = kernel.lookup("vmcoreinfo_size");
  if (data === undefined || size === undefined) return undefined;
  const at = await memory.u64(data);
  const length = await memory.u64(size);
  if (at === 0n || length === 0n || length > BigInt(MOST_BYTES)) return undefined;
  const bytes = await memory.read(at, Number(length));
  const zero = bytes.indexOf(0);
  return new VmcoreInfo(new TextDecoder("latin1").decode(zero < 0 ? bytes : bytes.subarray(0, zero)));
}
