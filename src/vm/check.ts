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

/**
 * Sees to it that a limit in time is one: `NaN` would end a wait at once.
 *
 * @param timeoutMs Milliseconds; undefined and Infinity are no limit.
 * @throws {InputError} If it is no number, or below 0.
 */
export function checkTimeout(timeoutMs: number | undefined): void {
  if (timeoutMs === undefined || (typeof timeoutMs === "number" && timeoutMs >= 0)) return;
  throw new InputError(`timeoutMs is a number of milliseconds, not ${show(timeoutMs)}`, {
    remedy: "leave it out to wait without a limit of your own",
  });
}

/**
 * Bytes that a caller gave, as a Uint8Array. What is no byte is not cut down to one in silence.
 *
 * @throws {InputError} If they are anything but a Uint8Array or an array of whole numbers from 0 to 255.
 */
export function checkBytes(bytes: Uint8Array | readonly number[]): Uint8Array {
  if (bytes instanceof Uint8Array) return bytes;
  const given: unknown = bytes;
  if (!Array.isArray(given)) {
    const what = given === null ? "null" : Object(given) === given ? given?.constructor?.name : show(given);
    throw new InputError(`bytes are a Uint8Array or an array of numbers, not ${what ?? "an object"}`, {
      remedy: 'for a text: new TextEncoder().encode("text")',
    });
  }
  const wrong = given.findIndex((byte) => !(Number.isInteger(byte) && byte >= 0 && byte <= 0xff));
  if (wrong >= 0) {
    throw new InputError(`a byte is a whole number from 0 to 255, not ${show(given[wrong])}`, {
      remedy: "numbers of more bytes are written by writeUint()",
    });
  }
  return Uint8Array.from(given as number[]);
}

/**
 * Sees to it that register values are an object that has names.
 *
 * @throws {InputError} If it is anything else.
 */
export function checkRegisterValues(values: object): void {
  if (typeof values === "object" && values !== null && !Array.isArray(values)) return;
  throw new InputError(`setRegisters() takes an object of registers, not ${show(values)}`, {
    remedy: "for example { rax: 5n, rip: 0x1000n }",
  });
}

/** A value in a message; a string is told from a number by its quotes. */
export function show(value: unknown): string {
  if (Array.isArray(value)) return "an array";
  return typeof value === "string" ? `"${value}"` : String(value);
}
