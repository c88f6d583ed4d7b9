import { InputError, StateError } from "../errors.ts";
import {
  CONTROL,
  DEBUG,
  GENERAL,
  REGISTER_GROUPS,
  REGISTER_NAMES,
  registerBits,
  type RegisterName,
  type Registers,
  type RegisterValues,
  SEGMENTS,
} from "../registers.ts";
import { MSR } from "./msr.ts";
import { CS, DS, ES, FLAG, FS, GS, LDTR, SS, type State, TR } from "./state.ts";
import { getVector, setVector } from "./xsave.ts";

/** One register's way in and out of the state. */
interface Access {
  get(state: State): bigint;
  set(state: State, value: bigint): void;
}

/** General registers in the order of their encoding; names are in the order of `GENERAL`. */
const ENCODED = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"];
const SEGMENT_INDEX = { cs: CS, ds: DS, es: ES, fs: FS, gs: GS, ss: SS, tr: TR, ldtr: LDTR } as const;

const ACCESS = new Map<RegisterName, Access>();

for (const name of GENERAL) {
  if (name === "rip" || name === "rflags") continue;
  const index = ENCODED.includes(name) ? ENCODED.indexOf(name) : Number(name.slice(1));
  ACCESS.set(name, { get: (s) => s.regs[index], set: (s, v) => void (s.regs[index] = v) });
}
ACCESS.set("rip", {
  get: (s) => s.rip,
  set: (s, v) => {
    s.rip = v;
    // Somebody sends the vCPU elsewhere: it neither sleeps nor stays down.
    s.halted = s.dead = false;
  },
});
ACCESS.set("rflags", {
  get: (s) => BigInt(s.flags >>> 0),
  set: (s, v) => void (s.flags = Number(v & 0xffffffffn) | FLAG.FIXED),
});
for (const name of SEGMENTS) {
  const index = SEGMENT_INDEX[name];
  ACCESS.set(name, {
    get: (s) => BigInt(s.seg[index].selector),
    set: (s, v) => void (s.seg[index].selector = Number(v)),
  });
  ACCESS.set(`${name}_base`, { get: (s) => s.seg[index].base, set: (s, v) => void (s.seg[index].base = v) });
  ACCESS.set(`${name}_limit`, {
    get: (s) => BigInt(s.seg[index].limit),
    set: (s, v) => void (s.seg[index].limit = Number(v)),
  });
  ACCESS.set(`${name}_attributes`, {
    get: (s) => BigInt(s.seg[index].attributes),
    set: (s, v) => void (s.seg[index].attributes = Number(v)),
  });
}
for (const name of ["cr0", "cr2", "cr3", "cr4", "cr8", "efer", "xcr0", "dr6", "dr7"] as const) {
  ACCESS.set(name, { get: (s) => s[name], set: (s, v) => void (s[name] = v) });
}
ACCESS.set("apic_base", {
  get: (s) => s.msrs.get(MSR.APIC_BASE) ?? 0n,
  set: (s, v) => void s.msrs.set(MSR.APIC_BASE, v),
});
for (const table of ["gdtr", "idtr"] as const) {
  ACCESS.set(`${table}_base`, { get: (s) => s[table].base, set: (s, v) => void (s[table].base = v) });
  ACCESS.set(`${table}_limit`, {
    get: (s) => BigInt(s[table].limit),
    set: (s, v) => void (s[table].limit = Number(v)),
  });
}
for (const name of ["dr0", "dr1", "dr2", "dr3"] as const) {
  const index = Number(name[2]);
  ACCESS.set(name, { get: (s) => s.dr[index], set: (s, v) => void (s.dr[index] = v) });
}
for (const name of [...REGISTER_GROUPS.fpu, ...REGISTER_GROUPS.vector]) {
  ACCESS.set(name, {
    get: (s) => getVector(s.xsave, name),
    set: (s, v) => setVector(s.xsave, name, v),
  });
}

/** Names whose values a snapshot takes at once, and those that it promises only until the guest goes on. */
const EAGER: readonly RegisterName[] = [...REGISTER_GROUPS.general, ...REGISTER_GROUPS.segment, ...CONTROL];
const LAZY_GROUPS: readonly (readonly RegisterName[])[] = [
  DEBUG,
  REGISTER_GROUPS.fpu,
  REGISTER_GROUPS.vector,
];
const READ_EAGER = EAGER.map((name) => [name, ACCESS.get(name)!] as const);

/**
 * Registers of one moment: those taken at once are plain properties, the others are worked out by the prototype, since
 * a client that steps has one of these made for each step.
 */
class Snapshot {
  [name: string]: bigint;
  #lazy: Map<RegisterName, bigint> | undefined;
  readonly #state: State;
  readonly #current: () => boolean;

  constructor(state: State, current: () => boolean) {
    this.#state = state;
    this.#current = current;
    for (const [name, access] of READ_EAGER) this[name] = access.get(state);
  }

  /** One of a group that is taken as a whole when the first of it is read. */
  #read(name: RegisterName, group: readonly RegisterName[]): bigint {
    const known = this.#lazy?.get(name);
    if (known !== undefined) return known;
    if (!this.#current()) {
      throw new StateError(`${name} was not read before the guest went on`, "stale", {
        remedy: "call registers() again, or read the register before the guest goes on",
      });
    }
    const values = this.#lazy ??= new Map();
    for (const other of group) values.set(other, ACCESS.get(other)!.get(this.#state));
    return values.get(name)!;
  }

  static {
    for (const group of LAZY_GROUPS) {
      for (const name of group) {
        Object.defineProperty(Snapshot.prototype, name, {
          get(this: Snapshot): bigint {
            return this.#read(name, group);
          },
          enumerable: true,
        });
      }
    }
  }
}

/**
 * The state's registers as they are now.
 *
 * @param current Whether the guest still stands where it stood; asked when a lazy group is first read.
 */
export function snapshot(state: State, current: () => boolean): Registers {
  return new Snapshot(state, current) as unknown as Registers;
}

/**
 * Sets the registers given, all or none.
 *
 * @throws {RangeError} If a value does not fit its register.
 * @throws {InputError} If there is no such register.
 */
export function setRegisters(state: State, values: RegisterValues): void {
  const entries = Object.entries(values) as [RegisterName, bigint | undefined][];
  for (const [name, value] of entries) {
    if (value === undefined) continue;
    if (!ACCESS.has(name)) {
      throw new InputError(`There is no register ${name}`, {
        remedy: `choose one of ${REGISTER_NAMES.slice(0, 18).join(", ")}, ...`,
      });
    }
    const bits = registerBits(name);
    if (typeof value !== "bigint" || BigInt.asUintN(bits, value) !== value) {
      throw new RangeError(`${name} takes an unsigned bigint of ${bits} bits; got ${value}`);
    }
  }
  for (const [name, value] of entries) if (value !== undefined) ACCESS.get(name)!.set(state, value);
  state.update();
}
