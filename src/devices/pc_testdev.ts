/**
 * QEMU's `pc-testdev`, which kvm-unit-tests drive: ports and memory that give back what was written, and a port for
 * each interrupt line.
 *
 * There is no specification but QEMU's hw/misc/pc-testdev.c and the tests. Gap: the port that makes the host forget
 * where a page lies (0xe4) takes its writes and does nothing: the guest can't see that.
 */
import type { Device, DeviceHost, DeviceRange, InterruptLine } from "../vm/device.ts";
import { numberOf, putNumber } from "./byte_device.ts";
import { base64, bits, restoreRecord, saveRecord, type Shape } from "./state.ts";

/** Four bytes that give back what was written, whichever of them is accessed. */
const ECHO: DeviceRange = { start: 0xe0, length: 4 };
/** Takes the address of a page to be flushed. */
const FLUSH: DeviceRange = { start: 0xe4, length: 4 };
/** The lowest byte of ECHO. */
const ECHO_BYTE: DeviceRange = { start: 0xe8, length: 1 };
/** A byte a line: what is not zero raises it. */
const LINES: DeviceRange = { start: 0x2000, length: 24 };
/** Memory that leaves the guest at each access. */
const MEMORY_BYTES = 0x10000;

interface State {
  echo: number;
  /** A bit a line. */
  lines: number;
}

const SHAPE: Shape<State & { memory: string }> = {
  echo: bits(32),
  lines: bits(24),
  memory: base64(MEMORY_BYTES, MEMORY_BYTES),
};

/** Ports 0xe0 to 0xe8, ports 0x2000 to 0x2017, and 64 KiB at 0xff000000. */
export class PcTestdev implements Device {
  /** "pc-testdev" unless told otherwise. */
  readonly name: string;
  /** Its ports. */
  readonly ports: readonly DeviceRange[] = [ECHO, FLUSH, ECHO_BYTE, LINES];
  /** Its memory. */
  readonly mmio: DeviceRange = { start: 0xff00_0000, length: MEMORY_BYTES };
  #host: DeviceHost | undefined;
  #held: (InterruptLine | undefined)[] = [];
  #state: State = { echo: 0, lines: 0 };
  readonly #memory = new Uint8Array(MEMORY_BYTES);

  /**
   * All is zero.
   *
   * @param options `name`: default "pc-testdev".
   */
  constructor(options: { readonly name?: string } = {}) {
    this.name = options.name ?? "pc-testdev";
  }

  /** Finds the interrupt lines. */
  attach(host: DeviceHost): void {
    this.#host = host;
    this.#drive();
  }

  /** Lets go of them. */
  detach(): void {
    for (const line of this.#held) line?.lower();
    this.#held = [];
    this.#host = undefined;
  }

  /** The guest reads. */
  read(offset: number, data: Uint8Array, range: DeviceRange): void {
    if (range === this.mmio) data.set(this.#memory.subarray(offset, offset + data.length));
    else if (range === ECHO || range === ECHO_BYTE) putNumber(data, this.#state.echo);
    else if (range === LINES) putNumber(data, this.#state.lines >> offset & 1);
    else data.fill(0);
  }

  /** The guest writes. */
  write(offset: number, data: Uint8Array, range: DeviceRange): void {
    const state = this.#state;
    if (range === this.mmio) this.#memory.set(data, offset);
    else if (range === ECHO || range === ECHO_BYTE) {
      const mask = data.length >= 4 ? 0xffff_ffff : (1 << 8 * data.length) - 1;
      state.echo = ((state.echo & ~mask) | (numberOf(data) & mask)) >>> 0;
    } else if (range === LINES) {
      state.lines = numberOf(data) === 0 ? state.lines & ~(1 << offset) : state.lines | 1 << offset;
      this.#drive();
    }
  }

  /** Nothing is held, and all is zero. */
  reset(): void {
    this.#state = { echo: 0, lines: 0 };
    this.#memory.fill(0);
    this.#drive();
  }

  /** All that was written. */
  save(): unknown {
    return saveRecord("pc-testdev", 1, { ...this.#state, memory: this.#memory.toBase64() });
  }

  /**
   * Takes what `save` gave.
   *
   * @throws {InputError} If the record is of another device or version.
   */
  restore(saved: unknown): void {
    const { memory, ...state } = restoreRecord("pc-testdev", 1, SHAPE, saved);
    this.#state = state;
    this.#memory.set(Uint8Array.fromBase64(memory));
    this.#drive();
  }

  /** The number in its ports, and which lines it holds. */
  inspect(): Record<string, number> {
    return { echo: this.#state.echo, lines: this.#state.lines };
  }

  #drive(): void {
    for (let gsi = 0; gsi < LINES.length; gsi++) {
      const wanted = (this.#state.lines & 1 << gsi) !== 0;
      if (wanted === (this.#held[gsi] !== undefined)) continue;
      if (wanted) {
        this.#held[gsi] = this.#host?.line(gsi);
        this.#held[gsi]?.raise();
      } else {
        this.#held[gsi]?.lower();
        this.#held[gsi] = undefined;
      }
    }
  }
}
