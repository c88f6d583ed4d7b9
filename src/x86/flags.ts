/** Registers made of bits, by name. The bits themselves stand in flag_tables.ts. */
import { InputError } from "../vm/errors.ts";
import { FLAG_TABLES, type FlagRow, type FlagTable } from "./flag_tables.ts";

export { FLAG_TABLES, type FlagRow, type FlagTable } from "./flag_tables.ts";

/** The table that tells the bits of a register (`cs_attributes` and its kin share one), if there is one. */
export function flagTableOf(register: string): FlagTable | undefined {
  if (register.endsWith("_attributes")) return "attributes";
  if (register === "eflags" || register === "flags") return "rflags";
  return Object.hasOwn(FLAG_TABLES, register) ? register as FlagTable : undefined;
}

/**
 * Names what is set in `value`: "IF" for a bit, "IOPL=3" for a field that is not 0, a word where the field's
 * values have names, "bit22" for a bit without one. Bits that are always 1 are not named.
 */
export function decodeFlags(table: FlagTable, value: bigint): string[] {
  const { rows, fixed } = FLAG_TABLES[table];
  const names: string[] = [];
  let rest = value & ~fixed;
  for (const row of rows) {
    const field = value & row.mask;
    rest &= ~row.mask;
    if (isBit(row.mask)) {
      if (field !== 0n) names.push(row.name);
      continue;
    }
    if (row.address) {
      if (field !== 0n) names.push(`${row.name}=0x${field.toString(16)}`);
      continue;
    }
    const number = field >> shiftOf(row.mask);
    const word = row.values?.[Number(number)];
    if (word !== undefined) names.push(word);
    else if (number !== 0n) names.push(`${row.name}=${number}`);
  }
  for (let bit = 0n; rest !== 0n; bit++, rest >>= 1n) if (rest & 1n) names.push(`bit${bit}`);
  return names;
}

/**
 * The value in which what `names` says is set, and else only the bits that are always 1: the inverse of
 * `decodeFlags`. Case does not matter; a field is "NAME=number" (decimal or 0x) or the word of its value.
 *
 * @throws {InputError} If a name is not one of the table's, or a number does not fit its field.
 */
export function encodeFlags(table: FlagTable, names: readonly string[]): bigint {
  const { rows, fixed } = FLAG_TABLES[table];
  let value = fixed;
  for (const name of names) value |= encodeOne(table, rows, name.trim());
  return value;
}

function encodeOne(table: FlagTable, rows: readonly FlagRow[], name: string): bigint {
  const wanted = name.toLowerCase();
  const [key, text] = wanted.split("=", 2);
  const bit = /^bit(\d{1,2})$/.exec(wanted);
  if (bit && Number(bit[1]) < 64) return 1n << BigInt(bit[1]);
  for (const row of rows) {
    const shift = shiftOf(row.mask);
    const word = row.values?.findIndex((v) => v?.toLowerCase() === wanted) ?? -1;
    if (word >= 0) return BigInt(word) << shift;
    if (row.name.toLowerCase() !== key) continue;
    if (text === undefined && isBit(row.mask)) return row.mask;
    if (text !== undefined && /^(0x[0-9a-f]{1,16}|\d{1,20})$/.test(text)) {
      const field = row.address ? BigInt(text) : BigInt(text) << shift;
      if ((field & ~row.mask) === 0n) return field;
    }
    throw new InputError(`"${name}" does not say a value of ${row.name} in ${table}`, {
      remedy: isBit(row.mask)
        ? `write ${row.name} alone`
        : `write ${row.name}=number, at most ${row.mask >> shift}`,
    });
  }
  const known = rows.flatMap((r) => r.values?.filter((v) => v !== undefined) ?? [r.name]);
  throw new InputError(`${table} has no flag "${name}"`, { remedy: `its names are ${known.join(", ")}` });
}

/** What a flag means, for help and hovering: the row of `name` in `table`. */
export function flagRow(table: FlagTable, name: string): FlagRow | undefined {
  const wanted = name.split("=", 1)[0].toLowerCase();
  return FLAG_TABLES[table].rows.find((r) => r.name.toLowerCase() === wanted);
}

function isBit(mask: bigint): boolean {
  return (mask & mask - 1n) === 0n;
}

function shiftOf(mask: bigint): bigint {
  let shift = 0n;
  while ((mask >> shift & 1n) === 0n) shift++;
  return shift;
}
