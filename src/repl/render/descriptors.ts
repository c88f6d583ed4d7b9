import { decodeFlags } from "../../dsl/modes.ts";
import type { Descriptor } from "../../dsl/x86.ts";
import type { Style } from "../style.ts";
import { bare, hex, table } from "./text.ts";

/** A descriptor and where it stands. */
export interface DescriptorLine {
  /** Selector or vector. */
  readonly index: number;
  readonly descriptor: Descriptor;
  /** Who uses it: "cs", "ss", "#PF". */
  readonly note?: string;
}

/** Lines of a GDT, LDT or IDT; empty entries are counted, not shown. */
export function renderDescriptors(
  lines: readonly DescriptorLine[],
  options: {
    readonly style: Style;
    readonly width: number;
    readonly digits: number;
    readonly symbol?: (address: bigint) => string | undefined;
  },
): string {
  const { style } = options;
  const shown = lines.filter((l) => l.descriptor.kind !== "null");
  const rows = shown.map(({ index, descriptor, note }) => [
    style.address(hex(index, options.digits)),
    describe(descriptor, options.symbol),
    attributes(descriptor),
    note === undefined ? "" : style.symbol(note),
  ]);
  if (lines.length === 0) return style.dim("no entries") + "\n";
  const empty = lines.length - shown.length;
  return table(rows, options.width) + (empty === 0 ? "" : `${style.dim(`${empty} null`)}\n`);
}

function describe(descriptor: Descriptor, symbol?: (address: bigint) => string | undefined): string {
  switch (descriptor.kind) {
    case "code":
    case "data":
    case "tss":
    case "ldt":
      return `${hex(descriptor.base, 8)} limit ${hex(descriptor.limit, 8)}`;
    case "call-gate":
    case "task-gate":
    case "interrupt-gate":
    case "trap-gate": {
      const name = symbol?.(descriptor.offset);
      const ist = descriptor.ist === 0 ? "" : ` IST ${descriptor.ist}`;
      return `${bare(descriptor.selector, 4)}:${bare(descriptor.offset, 8)}${
        name === undefined ? "" : ` <${name}>`
      }${ist}`;
    }
    case "reserved":
    case "null":
      return "-";
    default:
      return descriptor satisfies never;
  }
}

/** Segments by their flags, as segment registers show them; gates by kind and privilege. */
function attributes(descriptor: Descriptor): string {
  if (descriptor.kind === "code" || descriptor.kind === "data") {
    return decodeFlags("attributes", descriptor.attributes).join(" ");
  }
  return `${descriptor.type}, DPL ${descriptor.dpl}${descriptor.present ? "" : ", not present"}`;
}

/** A descriptor as data. */
export function descriptorData({ index, descriptor, note }: DescriptorLine): Record<string, unknown> {
  return { index, ...descriptor, ...(note === undefined ? {} : { note }) };
}
