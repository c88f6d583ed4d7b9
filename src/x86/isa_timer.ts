/** The 8254's interrupt: its ISA number, and the I/O APIC's input that a PC has it at (MultiProcessor Specification 1.4, figure 3-2). */
export const ISA_TIMER = { irq: 0, input: 2 } as const;
