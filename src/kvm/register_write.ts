import { InputError } from "../vm/errors.ts";
import {
  DEBUG,
  FPU,
  GENERAL,
  REGISTER_NAMES,
  registerBits,
  type RegisterName,
  type RegisterValues,
  SEGMENTS,
  VECTOR,
} from "../vm/registers.ts";
import { kvm_dtable, kvm_segment, kvm_sregs } from "./abi.ts";
import { segmentMember, SREGS_CONTROL } from "./registers.ts";

/** The structure or request that a register is written through. */
export type WriteGroup = "regs" | "sregs" | "debug" | "xcr0" | "xsave";

/** Registers to write, by the structure they stand in; groups without any are missing. */
export type WritePlan = ReadonlyMap<WriteGroup, readonly (readonly [RegisterName, bigint])[]>;

/** Where the registers stand that are not among the segment and control registers. */
const GROUPS = new Map<string, WriteGroup>([
  ...GENERAL.map((name): [string, WriteGroup] => [name, "regs"]),
  ...DEBUG.map((name): [string, WriteGroup] => [name, "debug"]),
  ...[...FPU, ...VECTOR].map((name): [string, WriteGroup] => [name, "xsave"]),
  ["xcr0", "xcr0"],
]);

/** The bits that access rights have (SDM vol. 3C, 25.4.1): 0..7, 12..16. */
const ATTRIBUTE_BITS = 0x1_f0ffn;

/** Where a register stands, and the bits it has: all of its width, or those of access rights. */
const TARGETS = new Map<string, { readonly group: WriteGroup; readonly bits: bigint }>(
  REGISTER_NAMES.map((name) => {
    const bits = name.endsWith("_attributes") ? ATTRIBUTE_BITS : (1n << BigInt(registerBits(name))) - 1n;
    return [name, { group: GROUPS.get(name) ?? "sregs", bits }];
  }),
);

/**
 * Checks every value and sorts the registers by the structure that has to be written.
 *
 * @throws {InputError} If there is no register of a name.
 * @throws {RangeError} If a value is no bigint or does not fit its register; nothing is written then.
 */
export function planWrite(values: RegisterValues): WritePlan {
  const plan = new Map<WriteGroup, (readonly [RegisterName, bigint])[]>();
  for (const name of Object.keys(values) as RegisterName[]) {
    const given: unknown = values[name];
    if (given === undefined) continue;
    const target = TARGETS.get(name);
    if (target === undefined) {
      throw new InputError(`There is no register ${name}.`, {
        remedy: "The names are those that registers() has.",
      });
    }
    const value = plainBigint(name, given);
    const { group, bits } = target;
    if (value < 0n || (value & ~bits) !== 0n) {
      const shown = value < 0n ? `${value}` : `0x${value.toString(16)}`;
      throw new RangeError(`${shown} does not fit ${name}, which takes 0..0x${bits.toString(16)}.`);
    }
    const list = plan.get(group);
    if (list === undefined) plan.set(group, [[name, value]]);
    else list.push([name, value]);
  }
  return plan;
}

/** `given` as a plain bigint; scripts may give a branded address. */
function plainBigint(name: string, given: unknown): bigint {
  if (typeof given === "bigint") return given;
  if (given instanceof BigInt) return given.valueOf();
  throw new RangeError(`${name} takes a bigint, such as 5n, and not the ${typeof given} ${String(given)}.`);
}

const CONTROL_NAMES: ReadonlySet<string> = new Set(SREGS_CONTROL);

/** Writes one segment or control register into a `struct kvm_sregs`. */
export function writeSregs(sregs: DataView, name: RegisterName, value: bigint): void {
  if (CONTROL_NAMES.has(name)) {
    sregs.setBigUint64(kvm_sregs.offsets[name as typeof SREGS_CONTROL[number]], value, true);
    return;
  }
  const [register, part] = name.split("_") as [string, string | undefined];
  if (register === "gdtr" || register === "idtr") {
    const at = kvm_sregs.offsets[register === "gdtr" ? "gdt" : "idt"];
    if (part === "base") sregs.setBigUint64(at + kvm_dtable.offsets.base, value, true);
    else sregs.setUint16(at + kvm_dtable.offsets.limit, Number(value), true);
    return;
  }
  const segment = SEGMENTS.find((each) => each === register);
  if (segment === undefined) {
    throw new InputError(`${name} does not stand among the segment and control registers.`);
  }
  const at = kvm_sregs.offsets[segmentMember(segment)];
  switch (part) {
    case "base":
      sregs.setBigUint64(at + kvm_segment.offsets.base, value, true);
      return;
    case "limit":
      sregs.setUint32(at + kvm_segment.offsets.limit, Number(value), true);
      return;
    case "attributes":
      writeAttributes(sregs, at, Number(value));
      return;
    default:
      sregs.setUint16(at + kvm_segment.offsets.selector, Number(value), true);
  }
}

/** Spreads access rights over the bytes that KVM has for them. */
function writeAttributes(sregs: DataView, at: number, rights: number): void {
  const set = (member: keyof typeof kvm_segment.offsets, bit: number, mask: number) =>
    sregs.setUint8(at + kvm_segment.offsets[member], (rights >> bit) & mask);
  set("type", 0, 0xf);
  set("s", 4, 1);
  set("dpl", 5, 3);
  set("present", 7, 1);
  set("avl", 12, 1);
  set("l", 13, 1);
  set("db", 14, 1);
  set("g", 15, 1);
  set("unusable", 16, 1);
}
