import { InputError } from "../vm/errors.ts";
import { REGISTER_NAMES, registerBits, type RegisterName, type RegisterValues } from "../vm/registers.ts";

const NAMES: ReadonlySet<string> = new Set(REGISTER_NAMES);
/** The bits that access rights have (SDM vol. 3C, 25.4.1): 0..7, 12..16. */
const ATTRIBUTE_BITS = 0x1_f0ffn;

/**
 * Checks names and values before the first one is written.
 *
 * @throws {InputError} If there is no register of a name.
 * @throws {RangeError} If a value is no bigint or does not fit its register.
 */
export function checkedValues(values: RegisterValues): [RegisterName, bigint][] {
  const list: [RegisterName, bigint][] = [];
  for (const [name, given] of Object.entries(values) as [RegisterName, unknown][]) {
    if (given === undefined) continue;
    if (!NAMES.has(name)) {
      throw new InputError(`There is no register ${name}.`, {
        remedy: "The names are those that registers() has.",
      });
    }
    const value = given instanceof BigInt ? given.valueOf() : given;
    if (typeof value !== "bigint") {
      throw new RangeError(
        `${name} takes a bigint, such as 5n, and not the ${typeof given} ${String(given)}.`,
      );
    }
    const limit = name.endsWith("_attributes") ? ATTRIBUTE_BITS : (1n << BigInt(registerBits(name))) - 1n;
    if (value < 0n || value > limit || (name.endsWith("_attributes") && (value & ~ATTRIBUTE_BITS) !== 0n)) {
      const shown = value < 0n ? `${value}` : `0x${value.toString(16)}`;
      throw new RangeError(`${shown} does not fit ${name}, which takes 0..0x${limit.toString(16)}.`);
    }
    list.push([name, value]);
  }
  return list;
}
