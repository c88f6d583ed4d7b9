/**
 * The 8259 pair as SeaBIOS leaves it to the kernel that it boots (src/hw/pic.c and those who enable interrupts): the
 * first chip, the second.
 */
export const PIC_LEFT_BY_BIOS = {
  /** Masked but for the timer, keyboard, cascade and floppy; clock, mouse, FPU and the first IDE channel. */
  masks: [0xb8, 0x8e],
  /** Level-triggered: interrupts 10 and 11, which PCI's pins lead to. */
  level: [0x00, 0x0c],
} as const;
