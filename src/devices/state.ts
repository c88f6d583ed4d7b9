/**
 * Saved device states: plain records of numbers, booleans, strings and arrays, so that they survive JSON as
 * well as structured cloning. A device describes its record field by field; what does not fit is refused, so
 * that a damaged or foreign record can't bring a device into a state its registers could never reach.
 */
import { InputError } from "../vm/errors.ts";

/** Checks one field of a record and gives a copy of it. */
export type Field<T> = (value: unknown, path: string) => T;

/** A field for every member of a state. */
export type Shape<T> = { readonly [K in keyof T]: Field<T[K]> };

function refuse(path: string, expected: string): never {
  throw new InputError(`The saved state is not usable: ${path} is not ${expected}`, {
    remedy: "restore a record that save() of the same device gave",
  });
}

/** An integer from `least` to `most`, both included. */
export function integer(least: number, most: number): Field<number> {
  return (value, path) =>
    typeof value === "number" && Number.isSafeInteger(value) && value >= least && value <= most
      ? value
      : refuse(path, `an integer from ${least} to ${most}`);
}

/** An unsigned integer of `width` bits, at most 53. */
export function bits(width: number): Field<number> {
  return integer(0, 2 ** width - 1);
}

/** A boolean. */
export const flag: Field<boolean> = (value, path) =>
  typeof value === "boolean" ? value : refuse(path, "a boolean");

/** A string. */
export const text: Field<string> = (value, path) =>
  typeof value === "string" ? value : refuse(path, "a string");

/** Bytes as base64: at most `most` of them, at least `least`. */
export function base64(most: number, least = 0): Field<string> {
  return (value, path) => {
    try {
      if (typeof value === "string") {
        const { length } = Uint8Array.fromBase64(value);
        if (length >= least && length <= most) return value;
      }
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
    return refuse(path, `base64 of ${least === most ? least : `${least} to ${most}`} bytes`);
  };
}

/** One of the given strings. */
export function oneOf<T extends string>(...choices: readonly T[]): Field<T> {
  return (value, path) => choices.find((c) => c === value) ?? refuse(path, `one of ${choices.join(", ")}`);
}

/** An array of at least `least` and at most `most` elements. */
export function list<T>(element: Field<T>, least: number, most: number): Field<T[]> {
  return (value, path) => {
    if (!Array.isArray(value) || value.length < least || value.length > most) {
      refuse(path, `an array of ${least === most ? least : `${least} to ${most}`} elements`);
    }
    return (value as readonly unknown[]).map((v, i) => element(v, `${path}[${i}]`));
  };
}

/** A record with exactly the members of `shape`; others are ignored. */
export function record<T extends object>(shape: Shape<T>): Field<T> {
  return (value, path) => {
    if (typeof value !== "object" || value === null) refuse(path, "a record");
    const given = value as Readonly<Record<string, unknown>>;
    const taken: Record<string, unknown> = {};
    for (const name of Object.keys(shape)) {
      taken[name] = shape[name as keyof T](given[name], `${path}.${name}`);
    }
    return taken as T;
  };
}

/** What `save` of a device gives: its kind, a version, and the state. */
export type Saved<T> = T & { readonly device: string; readonly version: number };

/** A copy of `state` that says whose it is. */
export function saveRecord<T extends object>(device: string, version: number, state: T): Saved<T> {
  return { device, version, ...structuredClone(state) };
}

/** What makes a state of version N + 1 of one of version N, by N. */
export type Upgrades = Readonly<Record<number, (old: Readonly<Record<string, unknown>>) => object>>;

/**
 * The state in a saved record, checked and copied.
 *
 * @param upgrades How records of earlier releases become one of this: a device that changes its record raises its
 * version and adds to them.
 * @throws {InputError} If the record is of another kind or version, or a field is not what `shape` says.
 */
export function restoreRecord<T extends object>(
  device: string,
  version: number,
  shape: Shape<T>,
  saved: unknown,
  upgrades: Upgrades = {},
): T {
  const given = saved as Readonly<Record<string, unknown>> | null | undefined;
  if (typeof given !== "object" || given === null || given.device !== device) {
    throw new InputError(`This is not a saved state of a ${device}`, {
      remedy: `restore a record that save() of a ${device} gave`,
    });
  }
  const { version: from } = given;
  let state = given;
  for (let n = typeof from === "number" ? from : version; n < version && upgrades[n]; n++) {
    state = { ...upgrades[n](state), device, version: n + 1 };
  }
  if (state.version !== version) {
    throw new InputError(
      `The saved ${device} state has version ${String(given.version)}; this release takes ${version}`,
      { remedy: "restore it with the release that saved it" },
    );
  }
  return record(shape)(state, device);
}
