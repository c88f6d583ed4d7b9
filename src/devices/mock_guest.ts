/** The guest's side of a bus, for tests of devices: ports, memory and interrupt inputs without a hypervisor. */
import { Bus } from "../vm/bus.ts";
import type { Device, DeviceHost, InterruptLine, LentMemory } from "../vm/device.ts";
import { FaultError, InputError } from "../vm/errors.ts";
import { numberOf, putNumber } from "./byte_device.ts";
import { DeviceClock } from "./device_clock.ts";

/** An interrupt input that notes what happens to it. */
export class MockLine implements InterruptLine {
  /** Whether it is asserted. */
  level = false;
  /** How often it went from low to high. */
  edges = 0;

  raise(): void {
    if (!this.level) this.edges++;
    this.level = true;
  }

  lower(): void {
    this.level = false;
  }
}

/** A guest whose accesses are made by hand and whose time is moved by hand. */
export class MockGuest implements DeviceHost {
  readonly memory: Uint8Array;
  readonly clock: DeviceClock;
  readonly #ports = new Bus("port");
  readonly #mmio = new Bus("mmio");
  readonly #lines = new Map<number, MockLine>();
  /** Message-signalled interrupts that were sent: address and data. */
  readonly messages: [address: number, data: number][] = [];
  readonly #loans = new Set<{ start: bigint; bytes: Uint8Array; taken: () => void; what?: "reads" }>();
  #now = 0n;
  /** Whether devices get RAM behind their addresses. */
  lends = false;

  /** @param devices What is plugged in. @param memory Bytes of RAM, from address 0. */
  constructor(devices: readonly Device[] = [], memory = 0x10000) {
    this.memory = new Uint8Array(memory);
    this.clock = new DeviceClock(() => this.#now);
    for (const device of devices) this.add(device);
  }

  add<T extends Device>(device: T): T {
    this.#ports.add(device);
    this.#mmio.add(device);
    device.attach?.(this);
    return device;
  }

  line(gsi: number): MockLine {
    const line = this.#lines.get(gsi) ?? new MockLine();
    this.#lines.set(gsi, line);
    return line;
  }

  read(at: bigint, into: Uint8Array): void {
    into.set(this.#slice(at, into.length));
  }

  write(at: bigint, bytes: Uint8Array): void {
    this.#slice(at, bytes.length).set(bytes);
  }

  window(at: bigint, length: number): Uint8Array | undefined {
    return Number(at) + length <= this.memory.length ? this.#slice(at, length) : undefined;
  }

  message(address: number, data: number): void {
    this.messages.push([address, data]);
  }

  discard(at: bigint, length: number): void {
    this.#slice(at, length).fill(0);
  }

  /** RAM full of rubbish behind `start`. */
  lend(start: bigint, length: number, taken: () => void, what?: "reads"): LentMemory | undefined {
    if (!this.lends) return undefined;
    const loan = { start, bytes: new Uint8Array(length).fill(0xe5), taken, ...(what && { what }) };
    this.#loans.add(loan);
    return { bytes: loan.bytes, end: () => void this.#loans.delete(loan) };
  }

  /** How many loans there are. */
  get loans(): number {
    return this.#loans.size;
  }

  /** Takes back what was lent. */
  reclaim(): void {
    for (const loan of this.#loans) {
      loan.taken();
      this.#loans.delete(loan);
    }
  }

  /** A device whose new ranges do not fit answers nowhere. */
  moved(device: Device): void {
    this.reclaim();
    for (const bus of [this.#ports, this.#mmio]) {
      bus.remove(device);
      try {
        bus.add(device);
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
      }
    }
  }

  /** Whether a port is decoded. */
  decodes(port: number): boolean {
    return this.#ports.find(port) !== undefined;
  }

  /** Moves time on in one step, then runs what is due. */
  advance(nanoseconds: bigint | number): void {
    this.#now += BigInt(nanoseconds);
    this.clock.poll();
  }

  /** Moves time on, stopping at every timer on the way (at most `limit` of them). */
  run(nanoseconds: bigint | number, limit = 100_000): void {
    const end = this.#now + BigInt(nanoseconds);
    for (let i = 0; i < limit; i++) {
      const next = this.clock.next;
      if (next === undefined || this.#now + next > end) break;
      this.advance(next);
    }
    this.#now = end;
    this.clock.poll();
  }

  in(port: number, size: 1 | 2 | 4 = 1): number {
    const data = new Uint8Array(size);
    this.#ports.read(port, data);
    return numberOf(data);
  }

  out(port: number, value: number, size: 1 | 2 | 4 = 1): void {
    const data = new Uint8Array(size);
    putNumber(data, value);
    this.#ports.write(port, data);
  }

  /** A read of guest-physical address space where no memory is. */
  load(at: bigint, size: 1 | 2 | 4): number {
    const lent = this.#lent(at, size);
    if (lent !== undefined) return numberOf(lent);
    const data = new Uint8Array(size);
    this.#mmio.read(at, data);
    return numberOf(data);
  }

  /** A write there. */
  store(at: bigint, value: number, size: 1 | 2 | 4): void {
    const data = new Uint8Array(size);
    putNumber(data, value);
    const lent = this.#lent(at, size, true);
    if (lent === undefined) this.#mmio.write(at, data);
    else lent.set(data);
  }

  #lent(at: bigint, size: number, writes = false): Uint8Array | undefined {
    for (const { start, bytes, what } of this.#loans) {
      if (writes && what === "reads") continue;
      const from = Number(at - start);
      if (from >= 0 && from + size <= bytes.length) return bytes.subarray(from, from + size);
    }
    return undefined;
  }

  #slice(at: bigint, length: number): Uint8Array {
    if (at < 0n || at + BigInt(length) > BigInt(this.memory.length)) {
      throw new FaultError(`No memory at 0x${at.toString(16)}`, { address: at, space: "gpa" });
    }
    return this.memory.subarray(Number(at), Number(at) + length);
  }
}
