/** Which inputs of the interrupt controllers in the kernel an interrupt goes to (KVM api.rst, KVM_SET_GSI_ROUTING). */
import { ISA_TIMER } from "../x86/isa_timer.ts";
import { FLAG, kvm_irq_routing, kvm_irq_routing_entry, kvm_irq_routing_irqchip } from "./abi.ts";

/** Inputs of the 8259 pair, of one 8259, and of the I/O APIC. */
const PIC_INPUTS = 16;
const CHIP_INPUTS = 8;
const IO_APIC_INPUTS = 24;

/**
 * A `struct kvm_irq_routing` that wires a PC: each interrupt to the input of its number, but the timer to the I/O
 * APIC's input 2, as boards have it (MultiProcessor Specification 1.4, figure 3-2) and KVM by itself has not.
 */
export function pcRouting(): Uint8Array<ArrayBuffer> {
  const routes: { gsi: number; irqchip: number; pin: number }[] = [];
  for (let irq = 0; irq < PIC_INPUTS; irq++) {
    const irqchip = irq < CHIP_INPUTS ? FLAG.IRQCHIP_PIC_MASTER : FLAG.IRQCHIP_PIC_SLAVE;
    routes.push({ gsi: irq, irqchip, pin: irq % CHIP_INPUTS });
  }
  for (let input = 0; input < IO_APIC_INPUTS; input++) {
    if (input === ISA_TIMER.input) {
      routes.push({ gsi: ISA_TIMER.irq, irqchip: FLAG.IRQCHIP_IOAPIC, pin: input });
    } else if (input !== ISA_TIMER.irq) routes.push({ gsi: input, irqchip: FLAG.IRQCHIP_IOAPIC, pin: input });
  }
  const bytes = new Uint8Array(kvm_irq_routing.size + routes.length * kvm_irq_routing_entry.size);
  const view = new DataView(bytes.buffer);
  kvm_irq_routing.write(view, { nr: routes.length });
  for (const [i, { gsi, irqchip, pin }] of routes.entries()) {
    const at = kvm_irq_routing.size + i * kvm_irq_routing_entry.size;
    const entry = new DataView(bytes.buffer, at, kvm_irq_routing_entry.size);
    kvm_irq_routing_entry.write(entry, { gsi, type: FLAG.IRQ_ROUTING_IRQCHIP });
    kvm_irq_routing_irqchip.write(new DataView(bytes.buffer, at + kvm_irq_routing_entry.offsets.u), {
      irqchip,
      pin,
    });
  }
  return bytes;
}
