/** What an access break is on, and what was accessed, in words. */
import type { AccessBreakOptions, Stop } from "../../dsl/mod.ts";
import { DESCRIPTOR_REGISTERS, XCR0 } from "../../dsl/nouns.ts";
import { unsigned } from "../commands/selected.ts";
import { hex } from "./text.ts";

type Space = AccessBreakOptions["space"];

/** What CPUID answers with, four bytes each. */
const ANSWER = ["eax", "ebx", "ecx", "edx"];

/** Words that name one thing to break on: `cr3`, `gdtr`, `request`. */
export const ONE_OF: ReadonlyMap<string, { readonly space: Space; readonly start: bigint }> = new Map<
  string,
  { space: Space; start: bigint }
>([
  ...[0, 3, 4].map((number) => [`cr${number}`, { space: "cr", start: BigInt(number) }] as const),
  ["xcr0", { space: "cr", start: BigInt(XCR0) }],
  ...DESCRIPTOR_REGISTERS.map((name, i) => [name, { space: "descriptor", start: BigInt(i) }] as const),
  ["request", { space: "request", start: 0n }],
]);

/** `port 0x3f8`, `cr3`, `gdtr`, `cpuid 0x1`. */
export function placeWords(space: Space, address: bigint): string {
  const word = ONE_OF.entries().find(([, one]) => one.space === space && one.start === address)?.[0];
  return word ?? `${space} ${hex(address)}`;
}

/** `port 0x3f8 <- 0x41`, `cr3 <- 0x2000, was 0x1000`, `gdtr read`. */
export function accessWords({ space, address, write, data, before }: Stop & { kind: "access" }): string {
  const place = placeWords(space, address);
  if (space === "request") return place;
  if (space === "descriptor") return `${place} ${write ? "written" : "read"}`;
  if (space === "cpuid") {
    const parts = ANSWER.map((name, i) => `${name} ${hex(unsigned(data.subarray(4 * i, 4 * i + 4)), 8)}`);
    return `${place} -> ${parts.join(", ")}`;
  }
  const digits = Math.min(8, data.length) * 2;
  const was = before === undefined ? "" : `, was ${hex(unsigned(before), digits)}`;
  return `${place} ${write ? "<-" : "->"} ${hex(unsigned(data.subarray(0, 8)), digits)}${was}`;
}
