/** What JSON has no word for: bigints as "0x..." strings, bytes as arrays of numbers, maps as objects. For a replacer. */
export function jsonMember(value: unknown): unknown {
  if (typeof value === "bigint") {
    return `${value < 0n ? "-" : ""}0x${(value < 0n ? -value : value).toString(16)}`;
  }
  if (value instanceof BigInt) return `0x${value.toString(16)}`;
  if (value instanceof Uint8Array) return [...value];
  if (value instanceof Map) return Object.fromEntries(value);
  return value;
}
