import { kvm_irqchip, kvm_pic_state } from "./abi.ts";

/** The master's input that the slave's output is on. */
const CASCADE = 2;

const at = (name: "irr" | "imr" | "isr" | "priority_add") =>
  kvm_irqchip.offsets.chip + kvm_pic_state.offsets[name];
const IRR = at("irr");
const IMR = at("imr");
const ISR = at("isr");
const LOWEST = at("priority_add");

/** How urgent the most urgent of `inputs` is, 0 the most; 8 for none. Priorities begin at `first`. */
function urgency(inputs: number, first: number): number {
  for (let i = 0; i < 8; i++) if (inputs & 1 << ((first + i) & 7)) return i;
  return 8;
}

/** Whether an 8259 asks: an input that is not masked is more urgent than what is in service. */
function asks(chip: Uint8Array, requests = chip[IRR]): boolean {
  return urgency(requests & ~chip[IMR], chip[LOWEST]) < urgency(chip[ISR], chip[LOWEST]);
}

/**
 * Whether KVM's 8259 pair has an interrupt for the first vCPU (Intel 8259A, "Fully Nested Mode").
 *
 * @param master `struct kvm_irqchip` of the master, as KVM_GET_IRQCHIP fills it.
 * @param slave That of the slave.
 */
export function picAsks(master: Uint8Array, slave: Uint8Array): boolean {
  return asks(master, master[IRR] & ~(1 << CASCADE) | (asks(slave) ? 1 << CASCADE : 0));
}
