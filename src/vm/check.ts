/** What callers without a type checker get wrong, said in one sentence with a remedy. */
import { InputError } from "./errors.ts";

const LIMIT = 1n << 64n;

/**
 * The plain number of an address that a caller gave.
 *
 * @throws {InputError} If it is no `bigint`, or does not fit 64 unsigned bits.
 */
export function checkAddress(address: bigint): bigint {
  const given: unknown = address;
  // Addresses that know their space are boxed.
  const value = typeof given === "object" && given !== null ? given.valueOf() : given;
  if (typeof value !== "bigint") {
    throw new InputError(
      `an address is a bigint, not ${typeof given === "number" ? `the number ${given}` : typeof given}`,
      {
        remedy: "write it with an n at the end (0x7c00n), or gva(0x7c00) and gpa(0x7c00)",
      },
    );
  }
  if (value < 0n || value >= LIMIT) {
    throw new InputError(
      `an address has 64 bits: ${value < 0n ? value : `0x${value.toString(16)}`} does not fit`,
      {
        remedy: "give one from 0 to 2^64 - 1",
      },
    );
  }
  return value;
}

/**
 * Sees to it that an option is one of the values it can have, or left out.
 *
 * @throws {InputError} If it is another.
 */
export function checkChoice(option: string, value: unknown, choices: readonly string[]): void {
  if (value === undefined || choices.some((choice) => choice === value)) return;
  throw new InputError(`${option} is one of ${choices.join(", ")}, not ${show(value)}`, {
    remedy: "or leave it out",
  });
}

/**
 * Sees to it that there are no options but those known: a misspelt one would be taken in silence.
 *
 * @param what Whose options they are: "breakpoints.add()".
 * @throws {InputError} If there is another, or `options` is no object.
 */
export function checkOptions(what: string, options: object, known: readonly string[]): void {
  if (typeof options !== "object" || options === null) {
    throw new InputError(`${what} takes an object with options, not ${show(options)}`, {
      remedy: `it has ${known.join(", ")}`,
    });
  }
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) {
      throw new InputError(`${what} has no option "${name}"`, { remedy: `it has ${known.join(", ")}` });
    }
  }
}

function show(value: unknown): string {
  return typeof value === "string" ? `"${value}"` : String(value);
}
