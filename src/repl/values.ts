/** Values as the shell shows them: numbers in hexadecimal, as people in this trade read them; and as JSON. */

import { GuestMachine } from "../dsl/machine.ts";

/** Most characters of one shown value; the rest of a huge one helps nobody at a prompt. */
const TEXT_LIMIT = 64 * 1024;

/** Strings (kept as they are) and bigint literals. */
const LITERALS = /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`|(?<![\w$.])-?\d+n\b/g;

function hexLiterals(text: string): string {
  return text.replace(LITERALS, (literal) => {
    if (!literal.endsWith("n")) return literal;
    const negative = literal.startsWith("-");
    return `${negative ? "-" : ""}0x${BigInt(literal.slice(negative ? 1 : 0, -1)).toString(16)}n`;
  });
}

/** What `gpa()`, `gva()` and `segmented()` make: a boxed bigint that carries its space. */
interface BoxedAddress extends BigInt {
  readonly space?: string;
  readonly selector?: number;
  readonly offset?: bigint;
}

/**
 * A value as text for a person.
 *
 * @param colors Whether to colour it, for a terminal.
 */
export function valueText(value: unknown, colors: boolean): string {
  if (value instanceof GuestMachine) return machineText(value);
  if (typeof value === "string") return Deno.inspect(value, { colors });
  if (typeof value === "bigint") {
    return `0x${value.toString(16).replace("-", "")}`.replace(/^/, value < 0n ? "-" : "");
  }
  if (value instanceof BigInt) {
    const { space, selector, offset } = value as BoxedAddress;
    const shown = selector === undefined || offset === undefined
      ? ""
      : `  ${selector.toString(16).padStart(4, "0")}:${offset.toString(16).padStart(4, "0")}`;
    return `0x${value.toString(16)}${space === undefined ? "" : `  ${space}`}${shown}`;
  }
  if (typeof value === "number") {
    return Number.isInteger(value) && Math.abs(value) > 9
      ? `${value}  0x${Math.abs(value).toString(16)}`
      : String(value);
  }
  const text = Deno.inspect(value, {
    colors,
    depth: 3,
    iterableLimit: 64,
    strAbbreviateSize: 4096,
    compact: true,
    trailingComma: false,
  });
  return hexLiterals(text.length > TEXT_LIMIT ? `${text.slice(0, TEXT_LIMIT)}\n...` : text);
}

/** A machine's members are mostly ways to it: what it is says more. */
function machineText(vm: GuestMachine): string {
  const memory = vm.memory.regions.reduce((sum, { size, readOnly }) => readOnly ? sum : sum + size, 0n);
  const parts = [
    `${vm.state} guest on ${vm.backend}`,
    `${vm.vcpus.length} vCPU${vm.vcpus.length === 1 ? "" : "s"}`,
    `${memory >> 20n} MiB`,
    `booted as ${vm.boot?.protocol ?? "nothing"}`,
    `${[...vm.breakpoints].length} breakpoints`,
    `devices ${vm.devices.list().map(({ name }) => name).join(" ") || "none of ours"}`,
  ];
  return `GuestMachine { ${parts.join("; ")} }`;
}

/** Bounds for `plainData`, so that showing a machine does not print the world. */
const DEPTH_LIMIT = 8;
const NODE_LIMIT = 100_000;

/**
 * A value as data that JSON can hold: bigints as "0x..." strings, bytes as arrays, maps as objects; functions
 * and symbols are left out, a cycle is the string "[circular]".
 */
export function plainData(value: unknown): unknown {
  let nodes = 0;
  const above: object[] = [];
  const convert = (v: unknown): unknown => {
    if (typeof v === "bigint") return v < 0n ? `-0x${(-v).toString(16)}` : `0x${v.toString(16)}`;
    if (typeof v === "number" && !Number.isFinite(v)) return String(v);
    if (v === undefined || typeof v === "function" || typeof v === "symbol") return undefined;
    if (typeof v !== "object" || v === null) return v;
    if (v instanceof BigInt) return `0x${v.toString(16)}`;
    if (v instanceof Error) return { name: v.name, message: v.message };
    if (v instanceof Date || v instanceof RegExp || v instanceof URL) return String(v);
    if (above.includes(v)) return "[circular]";
    if (above.length >= DEPTH_LIMIT || nodes++ > NODE_LIMIT) return "[...]";
    above.push(v);
    try {
      if (Array.isArray(v) || v instanceof Set) return Array.from(v, (x) => convert(x) ?? null);
      if (ArrayBuffer.isView(v)) {
        return Array.from(new Uint8Array(v.buffer, v.byteOffset, Math.min(v.byteLength, NODE_LIMIT)));
      }
      const entries = v instanceof Map ? v.entries() : ownEntries(v);
      const plain: Record<string, unknown> = {};
      for (const [key, member] of entries) {
        const converted = convert(member);
        if (converted !== undefined) plain[String(key)] = converted;
      }
      return plain;
    } finally {
      above.pop();
    }
  };
  return convert(value) ?? null;
}

/** Own enumerable members; one whose getter throws is left out. */
function* ownEntries(value: object): Generator<[string, unknown]> {
  for (const key of Object.keys(value)) {
    let member: unknown;
    try {
      member = (value as Record<string, unknown>)[key];
    } catch {
      continue;
    }
    yield [key, member];
  }
}
