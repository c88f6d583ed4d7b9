/** `struct vcpu_guest_context`: registers of PV vCPUs, and of all others what can be set through it. */

import { cpu_user_regs, vcpu_guest_context, XEN } from "../abi/xen.ts";
import { GENERAL, type RegisterName } from "../vm/registers.ts";
import type { Trap } from "./trap_table.ts";

const CONTEXT = vcpu_guest_context.offsets;
const USER = cpu_user_regs.offsets;

/** Where a register stands in the context: byte offset and bytes. */
const PLACES = new Map<RegisterName, readonly [number, 2 | 8]>();
// deno-fmt-ignore: rows of eight are easier to check than a column
const USER_LONG = [
  "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp",
  "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags",
] as const;
for (const name of USER_LONG) PLACES.set(name, [CONTEXT.user_regs + USER[name], 8]);
for (const name of ["cs", "ss", "ds", "es", "fs", "gs"] as const) {
  PLACES.set(name, [CONTEXT.user_regs + USER[name], 2]);
}
for (const n of [0, 1, 2, 3, 6, 7] as const) PLACES.set(`dr${n}`, [CONTEXT.debugreg + 8 * n, 8]);

/** What a PV guest's segments are: 64-bit code, data; of ring 3, where its kernel runs too. */
const CODE_64 = 0xa0fbn;
const CODE_32 = 0xc0fbn;
const DATA = 0xc0f3n;
/** A 64-bit PV guest runs with paging, in long mode, with NX and SYSCALL, and can't do otherwise. */
const CR0_PE_PG = 1n << 31n | 1n;
const CR4_PAE = 1n << 5n;
const EFER = 0xd01n;
/** Linux's and Xen's selectors of 32-bit user code (__USER32_CS, FLAT_RING3_CS32). */
const CODE_32_SELECTORS: readonly bigint[] = [0x23n, 0xe023n];

/** Where the general registers stand in the context, in 64-bit words and in the order of `GENERAL`. */
export const GENERAL_WORDS: readonly number[] = GENERAL.map((name) => CONTEXT.user_regs + USER[name] >> 3);

/** A view of one context. */
export class GuestContext {
  readonly bytes = new Uint8Array(vcpu_guest_context.size);
  /** The same, as 64-bit words. */
  readonly words = new BigUint64Array(this.bytes.buffer);
  readonly #view = new DataView(this.bytes.buffer);

  /** One register that stands in the context. */
  get(name: RegisterName): bigint {
    const place = PLACES.get(name);
    if (place === undefined) throw new RangeError(`${name} does not stand in a vcpu_guest_context.`);
    return place[1] === 8
      ? this.#view.getBigUint64(place[0], true)
      : BigInt(this.#view.getUint16(place[0], true));
  }

  /** Sets one; false if it does not stand in the context. */
  set(name: RegisterName, value: bigint): boolean {
    if (name === "fs_base") this.#view.setBigUint64(CONTEXT.fs_base, value, true);
    else if (name === "gs_base") this.#view.setBigUint64(this.#gsBase, value, true);
    else {
      const place = PLACES.get(name);
      if (place === undefined) return false;
      if (place[1] === 8) this.#view.setBigUint64(place[0], value, true);
      else this.#view.setUint16(place[0], Number(value), true);
    }
    return true;
  }

  /** Whether a PV vCPU is in its kernel, and not in a user program. */
  get inKernel(): boolean {
    return (this.#view.getBigUint64(CONTEXT.flags, true) & BigInt(XEN.VGCF_in_kernel)) !== 0n;
  }

  /** Whether the vCPU is up. */
  get online(): boolean {
    return (this.#view.getBigUint64(CONTEXT.flags, true) & BigInt(XEN.VGCF_online)) !== 0n;
  }

  /** Brings the vCPU up, or takes it down, once the context is set. */
  setOnline(on: boolean): void {
    const flags = this.#view.getBigUint64(CONTEXT.flags, true);
    const bit = BigInt(XEN.VGCF_online);
    this.#view.setBigUint64(CONTEXT.flags, on ? flags | bit : flags & ~bit, true);
  }

  /** A vector of a PV guest's virtual IDT: where its handler is. */
  trap(vector: number): Trap {
    const at = CONTEXT.trap_ctxt + 16 * vector;
    return {
      flags: this.#view.getUint8(at + 1),
      cs: this.#view.getUint16(at + 2, true),
      address: this.#view.getBigUint64(at + 8, true),
    };
  }

  /** Points a vector elsewhere. */
  setTrap(vector: number, trap: Trap): void {
    const at = CONTEXT.trap_ctxt + 16 * vector;
    this.#view.setUint8(at, vector);
    this.#view.setUint8(at + 1, trap.flags);
    this.#view.setUint16(at + 2, trap.cs, true);
    this.#view.setBigUint64(at + 8, trap.address, true);
  }

  /** Where events come in: in the kernel's text. */
  get eventCallback(): bigint {
    return this.#view.getBigUint64(CONTEXT.event_callback_eip, true);
  }

  /** The legacy FPU image. */
  get fpu(): Uint8Array {
    return this.bytes.subarray(CONTEXT.fpu_ctxt, CONTEXT.fpu_ctxt + 512);
  }

  /** Sets the legacy FPU image, and says that there is one. */
  setFpu(image: Uint8Array): void {
    this.fpu.set(image);
    const flags = this.#view.getBigUint64(CONTEXT.flags, true);
    this.#view.setBigUint64(CONTEXT.flags, flags | BigInt(XEN.VGCF_I387_VALID), true);
  }

  /** One of `ldt_base`, `kernel_sp`, `syscall_callback_eip` and their like. */
  word(
    member: "kernel_ss" | "kernel_sp" | "gdt_ents" | "ldt_base" | "ldt_ents" | "syscall_callback_eip",
  ): bigint {
    return this.#view.getBigUint64(CONTEXT[member], true);
  }

  /** Everything that a PV vCPU's context says of registers. */
  values(): Map<RegisterName, bigint> {
    const values = new Map<RegisterName, bigint>([...PLACES.keys()].map((name) => [name, this.get(name)]));
    const { cr0, cr3, cr4, efer } = this.paging();
    values.set("cr0", cr0);
    values.set("cr2", this.#control(2));
    values.set("cr3", cr3);
    values.set("cr4", cr4);
    values.set("efer", efer);
    values.set("fs_base", this.#view.getBigUint64(CONTEXT.fs_base, true));
    values.set("gs_base", this.#view.getBigUint64(this.#gsBase, true));
    values.set("gdtr_limit", this.word("gdt_ents") === 0n ? 0n : this.word("gdt_ents") * 8n - 1n);
    values.set("ldtr_base", this.word("ldt_base"));
    values.set("ldtr_limit", this.word("ldt_ents") === 0n ? 0n : this.word("ldt_ents") * 8n - 1n);
    values.set("cs_attributes", CODE_32_SELECTORS.includes(this.get("cs")) ? CODE_32 : CODE_64);
    for (const name of ["ss", "ds", "es", "fs", "gs"] as const) values.set(`${name}_attributes`, DATA);
    for (const name of ["cs", "ss", "ds", "es", "fs", "gs"] as const) {
      values.set(`${name}_limit`, 0xffff_ffffn);
    }
    return values;
  }

  /** CR3, as the context has it: a name for the page tables. */
  get tables(): bigint {
    return this.#control(3);
  }

  /** The registers that a page walk needs. */
  paging(): { readonly cr0: bigint; readonly cr3: bigint; readonly cr4: bigint; readonly efer: bigint } {
    return {
      cr0: this.#control(0) | CR0_PE_PG,
      cr3: this.#control(3),
      cr4: this.#control(4) | CR4_PAE,
      efer: EFER,
    };
  }

  #control(n: number): bigint {
    return this.#view.getBigUint64(CONTEXT.ctrlreg + 8 * n, true);
  }

  get #gsBase(): number {
    return this.inKernel ? CONTEXT.gs_base_kernel : CONTEXT.gs_base_user;
  }
}
