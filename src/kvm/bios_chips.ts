/** How a BIOS leaves the interrupt controllers and the timer, in the form in which KVM takes their state. */
import { kvm_irqchip, kvm_pic_state, kvm_pit_state2 } from "./abi.ts";

/** An 8259 as a BIOS leaves it: its eight vectors from `base` on, for 8086s; what is masked, and level-triggered. */
export function initialise(chip: Uint8Array<ArrayBuffer>, base: number, imr = 0, elcr = 0): void {
  const view = new DataView(chip.buffer, kvm_irqchip.offsets.chip);
  kvm_pic_state.write(view, { ...kvm_pic_state.read(view), irq_base: base, init4: 1, imr, elcr });
}

/** Channel 0 as a BIOS leaves it: mode 2, both bytes, all 65,536 ticks of 1,193,182 a second. */
export function letTick(timer: Uint8Array<ArrayBuffer>): void {
  const view = new DataView(timer.buffer);
  const state = kvm_pit_state2.read(view);
  const [first, ...others] = state.channels;
  const ticking = { ...first, count: 0x1_0000, mode: 2, rw_mode: 3, gate: 1 };
  kvm_pit_state2.write(view, { ...state, channels: [ticking, ...others] });
}
