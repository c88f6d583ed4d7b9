/** set: registers, memory, MSRs, variables and settings. */
import type { RegisterName, Registers } from "../../dsl/mod.ts";
import { InputError, registerBits } from "../../dsl/nouns.ts";
import { cpuMode, type SegmentName, SEGMENTS } from "../../dsl/modes.ts";
import type { Answer, Invocation } from "../command.ts";
import { type Node, parseAssignment, type RegisterPart, type Value, withPart } from "../expression.ts";
import { hex } from "../render/text.ts";
import type { Session } from "../session.ts";
import { changeSetting } from "./settings.ts";
import { stateOf } from "./state.ts";
import { littleEndian, vcpuOf, writePlace } from "./selected.ts";
import { evaluate, placeOf } from "./values.ts";

/** `set TARGET = EXPRESSION`, `set var TARGET = EXPRESSION`, `set NAME VALUE`. */
export async function set(session: Session, { rest }: Invocation): Promise<Answer> {
  const text = rest.replace(/^var(iable)?\s+/, "");
  if (text === "") {
    throw new InputError("set needs to know what", {
      remedy: "set $rax = 1, set {u32}0x1000 = 5, set NAME VALUE",
    });
  }
  // An assignment has an "=" that is not part of ==, <=, >=, !=.
  if (!/(^|[^=<>!])=(?!=)/.test(text) && !/^[$*{(]/.test(text)) return changeSetting(session, text);
  const { target, value } = parseAssignment(text);
  if (target === undefined) throw new InputError("An = is missing", { remedy: "set TARGET = EXPRESSION" });
  const given = await evaluate(session, value);
  await assign(session, target, given);
  return { text: "", data: { value: given.value } };
}

/**
 * Writes a value where `target` says.
 *
 * @throws {InputError} If it does not fit there, or the target can't be set.
 */
export async function assign(session: Session, target: Node, value: Value): Promise<void> {
  switch (target.kind) {
    case "register":
      return await assignRegister(session, target.part, value);
    case "variable":
      return assignVariable(session, target.name, value.value);
    case "name":
    case "read": {
      const place = await evaluateTarget(session, target);
      const bits = place.type.bytes * 8;
      checkFits(value.value, bits, `${bits}-bit memory`);
      return await writePlace(
        session,
        { space: place.space, at: place.address },
        littleEndian(value.value, place.type.bytes),
      );
    }
    case "call":
      if (target.name === "msr") {
        const { value: index } = await evaluate(session, target.operand);
        checkFits(value.value, 64, "An MSR");
        return await vcpuOf(session).writeMsr(Number(index), BigInt.asUintN(64, value.value));
      }
      throw new InputError("An address can't be set", {
        remedy: "to write memory: set {u32}phys(ADDRESS) = VALUE",
      });
    default:
      throw new InputError("Only a register, memory, an MSR or a variable can be set");
  }
}

async function evaluateTarget(session: Session, target: Node) {
  const { place } = await evaluate(session, target);
  if (place?.kind === "memory") return place;
  throw new InputError("That is not a place in memory");
}

function assignVariable(session: Session, name: string, value: bigint): void {
  if (!/^[A-Za-z_]\w*$/.test(name) || name === "cpl") {
    throw new InputError(`$${name} can't be set`, {
      remedy: "a variable's name begins with a letter: set $mine = 1",
    });
  }
  stateOf(session).variables.set(name, value);
}

async function assignRegister(session: Session, part: RegisterPart, given: Value): Promise<void> {
  if (session.frame > 0 && (part.register === "rip" || part.register === "rsp" || part.register === "rbp")) {
    throw new InputError(`${part.register} of an outer frame can't be set`, {
      remedy: "frame 0 selects the innermost",
    });
  }
  const vcpu = vcpuOf(session);
  const registers = await vcpu.registers();
  const bits = Math.min(part.bits, registerBits(part.register));
  let { value } = given;
  // RIP counts from CS: a linear address (a symbol, f000:fff0) is made an offset.
  if (
    part.register === "rip" && part.bits === 64 && given.pointer && given.segment === undefined &&
    given.space !== "gpa"
  ) {
    value = ripFor(given, registers);
  }
  checkFits(
    value,
    bits,
    `$${part.register}${part.bits < registerBits(part.register) ? ` (its ${bits} bits)` : ""}`,
  );
  const whole = withPart(registers[part.register], part, BigInt.asUintN(bits, value));
  const changed: { [name in RegisterName]?: bigint } = { [part.register]: whole };
  const mode = cpuMode(registers);
  if (
    (SEGMENTS as readonly string[]).includes(part.register) && (mode === "real" || mode === "virtual-8086")
  ) {
    // In these modes a selector is its base, as when the guest loads it.
    changed[`${part.register as SegmentName}_base`] = whole * 16n;
  }
  await vcpu.setRegisters(changed);
}

/**
 * The RIP that makes the code at a value run: its offset in CS.
 *
 * @throws {InputError} If CS does not reach there in real mode.
 */
export function ripFor(value: Value, registers: Registers): bigint {
  const { at, space } = placeOf(value, registers);
  if (value.segment === "cs") return BigInt.asUintN(64, value.value);
  if (space === "gpa") throw new InputError("RIP is a linear address's offset, not a physical address");
  const mode = cpuMode(registers);
  if (mode === "long") return at;
  const offset = BigInt.asUintN(32, at - registers.cs_base);
  if ((mode === "real" || mode === "virtual-8086") && offset > 0xffffn) {
    throw new InputError(`${hex(at)} is out of reach of CS, whose base is ${hex(registers.cs_base)}`, {
      remedy: "set $cs first; in real mode that sets its base too",
    });
  }
  return offset;
}

function checkFits(value: bigint, bits: number, what: string): void {
  const limit = 1n << BigInt(bits);
  if (value < limit && value >= -(limit >> 1n)) return;
  const shown = value < 0n ? value.toString() : hex(value);
  throw new InputError(`${shown} does not fit ${what}: the most is ${hex(limit - 1n)}`);
}
