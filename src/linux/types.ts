/** Where fields of the kernel's structures lie: told by the kernel itself, in VMCOREINFO or BTF. */
import { UnsupportedError } from "../vm/errors.ts";
import { Btf, type Field } from "./btf.ts";
import type { Kernel } from "./kernel.ts";
import type { PagedReader } from "./paged_reader.ts";
import { readVmcoreInfo, type VmcoreInfo } from "./vmcoreinfo.ts";

/** A kernel's BTF has 4 to 8 MiB. */
const MOST_BTF = 64n << 20n;

/** The kernel's types. */
export class KernelTypes {
  /** Its BTF; undefined if it was built without. */
  readonly btf: Btf | undefined;
  /** Its VMCOREINFO; undefined while it has none. */
  readonly info: VmcoreInfo | undefined;

  /** @param btf Asked first, where VMCOREINFO does not know a field. */
  constructor(btf: Btf | undefined, info: VmcoreInfo | undefined) {
    this.btf = btf;
    this.info = info;
  }

  /** Reads both from a kernel. @throws {FaultError} If its symbols lead nowhere. */
  static async read(kernel: Kernel, memory: PagedReader): Promise<KernelTypes> {
    const start = kernel.lookup("__start_BTF");
    const stop = kernel.lookup("__stop_BTF");
    const length = start === undefined || stop === undefined ? 0n : stop - start;
    const btf = start !== undefined && length > 0n && length <= MOST_BTF
      ? Btf.parse(await memory.read(start, Number(length)))
      : undefined;
    return new KernelTypes(btf, await readVmcoreInfo(kernel, memory));
  }

  /** A field in bytes from the structure's start; undefined if nobody knows it. */
  find(struct: string, path: string): number | undefined {
    const told = this.info?.offset(`${struct}.${path}`);
    const field = told === undefined ? this.btf?.field(struct, path) : undefined;
    return told ?? (field === undefined ? undefined : field.bitOffset >> 3);
  }

  /** A field, with its size and bits; from BTF alone. */
  field(struct: string, path: string): Field | undefined {
    return this.btf?.field(struct, path);
  }

  /** A field in bytes from the structure's start. @throws {UnsupportedError} If nobody knows it. */
  offset(struct: string, path: string): number {
    return this.find(struct, path) ?? this.#unknown(`where struct ${struct} has ${path}`);
  }

  /** Bytes of a structure. @throws {UnsupportedError} If nobody knows them. */
  size(struct: string): number {
    return this.info?.size(struct) ?? this.btf?.structSize(struct) ??
      this.#unknown(`how large struct ${struct} is`);
  }

  #unknown(what: string): never {
    throw new UnsupportedError(
      "linux",
      this.btf === undefined
        ? `the kernel carries no BTF and its VMCOREINFO does not tell ${what}`
        : `neither the kernel's BTF nor its VMCOREINFO tells ${what}`,
      { remedy: "Debian's kernels since 6.1 can be read; for others build with CONFIG_DEBUG_INFO_BTF=y" },
    );
  }
}
