/**
 * The power management function at 00:01.3: Intel 82371AB (PIIX4), with the ACPI timer and soft power-off.
 *
 * Data sheet: Intel 82371AB PCI-to-ISA/IDE Xcelerator (PIIX4), April 1997, 7.1 and 7.2; ACPI 1.0, 4.7.3.
 */
import type { RegisterBits } from "../../vm/register_bits.ts";
import { type DeviceHost, type DeviceRange, type InterruptLine, NO_LINE } from "../../vm/device.ts";
import { numberOf } from "../byte_device.ts";
import type { Cancel, Timebase } from "../device_clock.ts";
import { bits, record, restoreRecord, type Shape } from "../state.ts";
import {
  COMMAND,
  COMMAND_CONFIGURED,
  INTERRUPT_LINE,
  STATUS,
  STATUS_BACK_TO_BACK_BIT,
  STATUS_DEVSEL_MEDIUM,
} from "./config_space.ts";
import { PM_BITS } from "./pci_bits.ts";
import { type BarRange, PciFunction } from "./pci_function.ts";

const DEVICE_ACTIVATION = 0x58;
/** In byte 3 of it: SMIs by the APM control port are on. Set from the start: there is no SMM to be set up. */
const APMC_ENABLE_BIT = 0x02;
const PM_BASE = 0x40;
const PM_BASE_MASK = 0xffc0;
const PM_MISC = 0x80;
const PM_MISC_ENABLE_BIT = 0x01;
const PM_LENGTH = 64;
const SMBUS_BASE = 0x90;
/** The APM control and status ports (APMC, APMS): fixed, and where ACPI is switched on. */
const APM_PORT = 0xb2;
const APM_ACPI_ENABLE = 0xf1;
const APM_ACPI_DISABLE = 0xf0;

/** Offsets behind PM_BASE. */
const PM1_STATUS = 0x00;
const PM1_ENABLE = 0x02;
const PM1_CONTROL = 0x04;
const PM_TIMER = 0x08;

const TIMER_STATUS_BIT = 0x0001;
const POWER_BUTTON_BIT = 0x0100;
const STATUS_MASK = 0x8d31;
const ENABLE_MASK = 0x0521;
const SCI_ENABLE_BIT = 0x0001;
const SLEEP_ENABLE_BIT = 0x2000;
const SLEEP_TYPE_SHIFT = 10;
const CONTROL_MASK = 0x1c07;
/** What the tables of SeaBIOS and QEMU call S3; every other type turns the power off. */
const SUSPEND_TYPE = 1;

const TIMER_HZ = 3_579_545n;
const SECOND = 1_000_000_000n;
/** The timer has 24 bits; its status bit is set whenever the highest changes. */
const TIMER_MASK = 0xff_ffffn;
const TIMER_HALF = 1n << 23n;
const SCI_IRQ = 9;
/** `bar` of the ranges that no base address register makes. */
const PM_RANGE = -1;
const APM_RANGE = -2;

interface State {
  status: number;
  enable: number;
  control: number;
  apmControl: number;
  apmStatus: number;
}

const SHAPE: Shape<{ pm: State }> = {
  pm: record<State>({
    status: bits(16),
    enable: bits(16),
    control: bits(16),
    apmControl: bits(8),
    apmStatus: bits(8),
  }),
};

/** What the function is wired to. */
export interface Piix4PmOptions {
  /** Default "piix4-pm". */
  readonly name?: string;
  /** The timer counts with this clock. */
  readonly time: Timebase;
  /** The guest turned the power off. */
  readonly onPowerOff: () => void;
  /** The guest asked for suspend to RAM. */
  readonly onSuspend?: () => void;
  /** Whether the registers are at 0x600 from the start, as firmware leaves them, for a guest without it. */
  readonly configured?: boolean;
}

/** 8086:7113. */
export class Piix4Pm extends PciFunction {
  /** Names of the bits of its registers. */
  override readonly bits: Readonly<Record<string, RegisterBits>> = PM_BITS;
  /** The system control interrupt. */
  readonly interrupts: readonly number[] = [SCI_IRQ];
  readonly #options: Piix4PmOptions;
  #line: InterruptLine = NO_LINE;
  #raised = false;
  #state: State = powerOn();
  /** Changes of the timer's highest bit that have been noticed. */
  #halves = 0n;
  #cancel: Cancel | undefined;

  /** @param options What it is made of. */
  constructor(options: Piix4PmOptions) {
    super(options.name ?? "piix4-pm", {
      vendor: 0x8086,
      device: 0x7113,
      revision: 0x03,
      classCode: 0x06_80_00,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
      pin: 1,
    });
    this.#options = options;
    this.#halves = this.#ticks() / TIMER_HALF;
    const { config } = this;
    config.initial(STATUS, STATUS_DEVSEL_MEDIUM | STATUS_BACK_TO_BACK_BIT, 2);
    if (options.configured) {
      config.initial(COMMAND, COMMAND_CONFIGURED, 2);
      config.initial(INTERRUPT_LINE, SCI_IRQ, 1);
    }
    config.initial(PM_BASE, options.configured ? 0x601 : 0x001, 4);
    config.allow(PM_BASE, PM_BASE_MASK, 2);
    config.initial(PM_MISC, options.configured ? PM_MISC_ENABLE_BIT : 0, 1);
    config.allow(PM_MISC, PM_MISC_ENABLE_BIT, 1);
    config.initial(DEVICE_ACTIVATION + 3, APMC_ENABLE_BIT, 1);
    config.initial(SMBUS_BASE, 0x001, 4);
    config.allow(SMBUS_BASE, 0xfff0, 2);
    config.allow(0xd2, 0x0f, 1); // SMBus host configuration
    this.remap();
  }

  /** Whether ACPI is on, and who may wake or interrupt. */
  summary(): string {
    return (this.#state.control & SCI_ENABLE_BIT) !== 0 ? "ACPI on" : "ACPI off";
  }

  /** Finds the system control interrupt. */
  override attach(host: DeviceHost): void {
    super.attach(host);
    this.#line = host.line(SCI_IRQ);
    this.#update();
  }

  /** Lets go of it. */
  override detach(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#drive(false);
    super.detach();
  }

  /** Somebody presses the power button; says whether the guest has asked to be told. */
  pressPower(): boolean {
    this.#state.status |= POWER_BUTTON_BIT;
    this.#update();
    return (this.#state.enable & POWER_BUTTON_BIT) !== 0;
  }

  /** The guest reads. */
  read(offset: number, data: Uint8Array, range: DeviceRange): void {
    this.#notice();
    const { status, enable, control, apmControl, apmStatus } = this.#state;
    const bytes = new Uint8Array(PM_LENGTH);
    if ((range as BarRange).bar === APM_RANGE) bytes.set([apmControl, apmStatus]);
    else {
      const view = new DataView(bytes.buffer);
      view.setUint16(PM1_STATUS, status, true);
      view.setUint16(PM1_ENABLE, enable, true);
      view.setUint16(PM1_CONTROL, control, true);
      view.setUint32(PM_TIMER, Number(this.#ticks() & TIMER_MASK), true);
    }
    data.set(bytes.subarray(offset, offset + data.length));
  }

  /** The guest writes. */
  write(offset: number, data: Uint8Array, range: DeviceRange): void {
    this.#notice();
    const state = this.#state;
    if ((range as BarRange).bar === APM_RANGE) {
      if (offset === 1) state.apmStatus = data[0];
      else this.#apmControl(data[0]);
      return;
    }
    // The registers are 16 bits wide; a 32-bit access reaches two, an 8-bit one half of one.
    for (let at = offset & ~1; at < offset + data.length; at += 2) {
      const old = at === PM1_ENABLE ? state.enable : at === PM1_CONTROL ? state.control : 0;
      const word = new Uint8Array([old & 0xff, old >> 8]);
      for (let i = 0; i < 2; i++) {
        const from = at + i - offset;
        if (from >= 0 && from < data.length) word[i] = data[from];
      }
      this.#writeWord(at, numberOf(word));
    }
    this.#update();
  }

  /** Status, enables and control are cleared; the timer goes on. */
  override reset(): void {
    super.reset();
    this.#state = powerOn();
    this.#update();
  }

  /** Configuration space and registers; the timer follows the clock. */
  override save(): unknown {
    this.#notice();
    return { ...(super.save() as object), pm: { ...this.#state } };
  }

  /** @throws {InputError} If the record is of another function or version, or damaged. */
  override restore(saved: unknown): void {
    const { pm } = restoreRecord(`pci ${this.name}`, 1, SHAPE, saved);
    super.restore(saved);
    this.#state = pm;
    this.#halves = this.#ticks() / TIMER_HALF;
    this.#update();
  }

  /** The header and the registers. */
  override inspect(): Record<string, number | bigint | string> {
    const { status, enable, control } = this.#state;
    const timer = this.#ticks() & TIMER_MASK;
    return { ...super.inspect(), PM1_STS: status, PM1_EN: enable, PM1_CNT: control, PM_TMR: timer };
  }

  /** The registers' ranges that no base address register makes. */
  protected override extraRanges(): {
    readonly io: readonly BarRange[];
    readonly memory: readonly BarRange[];
  } {
    const io: BarRange[] = [{ bar: APM_RANGE, start: APM_PORT, length: 2 }];
    const start = this.config.get(PM_BASE, 2) & PM_BASE_MASK;
    if ((this.config.get(PM_MISC, 1) & PM_MISC_ENABLE_BIT) !== 0 && start !== 0) {
      io.push({ bar: PM_RANGE, start, length: PM_LENGTH });
    }
    return { io, memory: [] };
  }

  #writeWord(at: number, value: number): void {
    const state = this.#state;
    switch (at) {
      case PM1_STATUS:
        state.status &= ~(value & STATUS_MASK);
        return;
      case PM1_ENABLE:
        state.enable = value & ENABLE_MASK;
        return;
      case PM1_CONTROL:
        state.control = value & CONTROL_MASK;
        if ((value & SLEEP_ENABLE_BIT) === 0) return;
        if ((value >> SLEEP_TYPE_SHIFT & 7) !== SUSPEND_TYPE) this.#options.onPowerOff();
        else this.#options.onSuspend?.();
    }
  }

  #apmControl(value: number): void {
    const state = this.#state;
    state.apmControl = value;
    if (value === APM_ACPI_ENABLE) state.control |= SCI_ENABLE_BIT;
    if (value === APM_ACPI_DISABLE) state.control &= ~SCI_ENABLE_BIT;
    this.#update();
  }

  #ticks(): bigint {
    return this.#options.time.now() * TIMER_HZ / SECOND;
  }

  /** Sets the timer's status bit if its highest bit has changed. */
  #notice(): void {
    const halves = this.#ticks() / TIMER_HALF;
    if (halves !== this.#halves) this.#state.status |= TIMER_STATUS_BIT;
    this.#halves = halves;
  }

  #update(): void {
    const { status, enable, control } = this.#state;
    this.#drive((status & enable & ENABLE_MASK) !== 0 && (control & SCI_ENABLE_BIT) !== 0);
    this.#cancel?.();
    this.#cancel = undefined;
    if ((enable & TIMER_STATUS_BIT) === 0) return;
    const next = (this.#halves + 1n) * TIMER_HALF;
    const at = (next * SECOND + TIMER_HZ - 1n) / TIMER_HZ;
    this.#cancel = this.#options.time.schedule(at - this.#options.time.now(), () => {
      this.#cancel = undefined;
      this.#notice();
      this.#update();
    });
  }

  #drive(level: boolean): void {
    if (level === this.#raised) return;
    this.#raised = level;
    if (level) this.#line.raise();
    else this.#line.lower();
  }
}

function powerOn(): State {
  return { status: 0, enable: 0, control: 0, apmControl: 0, apmStatus: 0 };
}
