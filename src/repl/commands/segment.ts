import type { Registers, Vcpu } from "../../dsl/mod.ts";
import { gva, InputError } from "../../dsl/nouns.ts";
import { cpuMode } from "../../dsl/modes.ts";

/** The TI bit of a selector: the LDT instead of the GDT (SDM vol. 3A, 3.4.2). */
const TI_BIT = 4;

/**
 * The base a selector stands for: times 16 in real and virtual-8086 mode, else from its descriptor.
 *
 * @throws {InputError} If the selector is null, beyond its table, or not of a segment.
 * @throws {FaultError} If the table is not mapped.
 */
export async function segmentBase(vcpu: Vcpu, registers: Registers, selector: number): Promise<bigint> {
  const mode = cpuMode(registers);
  if (mode === "real" || mode === "virtual-8086") return BigInt(selector) * 16n;
  const name = `selector 0x${selector.toString(16)}`;
  if ((selector & ~3) === 0) throw new InputError(`${name} is null: it names no segment`);
  const local = (selector & TI_BIT) !== 0;
  const table = local ? registers.ldtr_base : registers.gdtr_base;
  const limit = local ? registers.ldtr_limit : registers.gdtr_limit;
  const at = BigInt(selector & ~7);
  if (at + 7n > limit) {
    throw new InputError(
      `${name} lies beyond the limit of the ${local ? "LDT" : "GDT"}, 0x${limit.toString(16)}`,
      {
        remedy: `${local ? "ldt" : "gdt"} lists what there is`,
      },
    );
  }
  const bytes = new Uint8Array(16);
  bytes.set(await vcpu.memory.read(gva(table + at), 8));
  const { decodeDescriptor } = await import("../../dsl/x86.ts");
  const descriptor = decodeDescriptor(bytes, 0, false);
  if (descriptor.kind === "code" || descriptor.kind === "data") {
    return mode === "long" ? 0n : descriptor.base;
  }
  throw new InputError(`${name} is not of a code or data segment but: ${descriptor.type}`);
}
