/** The guest's driver for tests: programs of port accesses as real drivers make them. */
import assert from "node:assert/strict";
import type { BlockBacking, BlockFault, BlockFaultKind } from "../../vm/block.ts";
import { MockGuest } from "../mock_guest.ts";
import { PciHost } from "../pci/pci_host.ts";
import * as a from "./ata.ts";
import { ideController, type IdeControllerOptions } from "./ide_controller.ts";

/** Where the bus master registers are when `configured`. */
export const BUS_MASTER = 0xc000;

/** Contents of new stores, by sectors: making them anew for each would be most of a test's time. */
const CONTENTS = new Map<number, Uint8Array>();

/** Bytes that differ from sector to sector. */
function contents(sectors: number): Uint8Array {
  let bytes = CONTENTS.get(sectors);
  if (bytes === undefined) {
    bytes = new Uint8Array(sectors * 512);
    for (let i = 0; i < bytes.length; i++) bytes[i] = (i >> 9) + (i & 1 ? i : 0);
    CONTENTS.set(sectors, bytes);
  }
  return bytes.slice();
}

/** A store in memory that fails where it is told to. */
export class TestStore implements BlockBacking {
  readonly name = "test";
  readonly bytes: Uint8Array;
  readonly readOnly: boolean;
  /** Sectors that fail, and how. */
  readonly bad = new Map<number, BlockFaultKind>();
  flushes = 0;

  constructor(sectors: number, readOnly = false) {
    this.bytes = contents(sectors);
    this.readOnly = readOnly;
  }

  get size(): number {
    return this.bytes.length;
  }

  read(at: number, into: Uint8Array): BlockFault | undefined {
    const fault = this.#fault(at, into.length);
    if (fault === undefined) into.set(this.bytes.subarray(at, at + into.length));
    return fault;
  }

  write(at: number, bytes: Uint8Array): BlockFault | undefined {
    if (this.readOnly) return { kind: "read-only", message: "read-only", remedy: "" };
    const fault = this.#fault(at, bytes.length);
    if (fault === undefined) this.bytes.set(bytes, at);
    return fault;
  }

  flush(): BlockFault | undefined {
    this.flushes++;
    return this.#fault(-512, 512);
  }

  /** A part of the contents, by sectors. */
  sectors(from: number, count: number): Uint8Array {
    return this.bytes.slice(from * 512, (from + count) * 512);
  }

  #fault(at: number, length: number): BlockFault | undefined {
    assert.ok(length > 0 && at % 512 === 0 && length % 512 === 0, "whole sectors");
    assert.ok(at >= -512 && at + length <= this.bytes.length, "inside the store");
    for (const [sector, kind] of this.bad) {
      if (sector >= at / 512 && sector < (at + length) / 512) {
        return { kind, message: `sector ${sector} is ${kind}`, remedy: "none" };
      }
    }
    return undefined;
  }
}

/** A machine with a controller, and a driver for one of its channels. */
export class MockDriver {
  readonly guest: MockGuest;
  readonly ide: ReturnType<typeof ideController>;
  readonly faults: string[] = [];
  readonly #base: number;
  readonly #engine: number;

  constructor(options: IdeControllerOptions, channel: 0 | 1 = 0, memory = 0x40000) {
    this.guest = new MockGuest([], memory);
    const host = this.guest.add(new PciHost());
    this.ide = ideController({
      configured: true,
      onFault: (fault, drive) => this.faults.push(`${drive.title}: ${fault.message}`),
      ...options,
    });
    host.plug({ slot: 1, function: 1 }, this.ide);
    this.guest.add(this.ide);
    this.#base = channel === 0 ? 0x1f0 : 0x170;
    this.#engine = BUS_MASTER + 8 * channel;
  }

  /** The interrupt input of the channel. */
  get line() {
    return this.guest.line(this.#base === 0x1f0 ? 14 : 15);
  }

  get status(): number {
    return this.guest.in(this.#base + 7);
  }

  get alternateStatus(): number {
    return this.guest.in(this.#base + 0x206);
  }

  get error(): number {
    return this.guest.in(this.#base + 1);
  }

  /** Count, LBA low, mid, high and device, as they are. */
  get registers(): number[] {
    return [2, 3, 4, 5, 6].map((i) => this.guest.in(this.#base + i));
  }

  control(value: number): void {
    this.guest.out(this.#base + 0x206, value);
  }

  register(offset: number, value: number): void {
    this.guest.out(this.#base + offset, value);
  }

  /** A command with a 28-bit address; `device` selects and says LBA. */
  command(command: number, lba = 0, count = 0, device: number = a.DEVICE_LBA_BIT): void {
    this.register(a.DEVICE, device | lba >>> 24);
    this.register(a.SECTOR_COUNT, count & 0xff);
    this.register(a.LBA_LOW, lba & 0xff);
    this.register(a.LBA_MID, lba >> 8 & 0xff);
    this.register(a.LBA_HIGH, lba >> 16 & 0xff);
    this.register(a.STATUS_COMMAND, command);
  }

  /** A command with a 48-bit address. */
  wideCommand(command: number, lba: number, count: number, device: number = a.DEVICE_LBA_BIT): void {
    const byte = (n: number) => Math.floor(lba / 2 ** (8 * n)) & 0xff;
    this.register(a.DEVICE, device);
    for (const [offset, high, low] of [[2, count >> 8, count & 0xff], [3, byte(3), byte(0)]]) {
      this.register(offset, high);
      this.register(offset, low);
    }
    for (const [offset, high, low] of [[4, byte(4), byte(1)], [5, byte(5), byte(2)]]) {
      this.register(offset, high);
      this.register(offset, low);
    }
    this.register(a.STATUS_COMMAND, command);
  }

  /** Reads `bytes` from the data register. */
  pull(bytes: number, width: 1 | 2 | 4 = 2): Uint8Array {
    const data = new Uint8Array(bytes);
    for (let i = 0; i < bytes; i += width) {
      const value = this.guest.in(this.#base, width);
      for (let j = 0; j < width && i + j < bytes; j++) data[i + j] = value >>> (8 * j);
    }
    return data;
  }

  /** Writes `data` to the data register, 16 bits at a time. */
  push(data: Uint8Array): void {
    for (let i = 0; i < data.length; i += 2) this.guest.out(this.#base, data[i] | (data[i + 1] ?? 0) << 8, 2);
  }

  /** Writes a table of physical regions at `at`: [address, bytes] each; the last one has the end bit. */
  table(at: number, regions: readonly (readonly [number, number])[], end = true): void {
    const view = new DataView(this.guest.memory.buffer);
    regions.forEach(([address, bytes], i) => {
      view.setUint32(at + 8 * i, address, true);
      const last = end && i === regions.length - 1 ? 0x8000_0000 : 0;
      view.setUint32(at + 8 * i + 4, ((bytes & 0xffff) | last) >>> 0, true);
    });
    this.guest.out(this.#engine + 4, at, 4);
  }

  /** Clears the engine's status and starts it. */
  start(toMemory: boolean): void {
    this.guest.out(this.#engine + 2, 0x06);
    this.guest.out(this.#engine, toMemory ? 0x09 : 0x01);
  }

  /** Stops the engine; gives its status from before. */
  stop(): number {
    const status = this.guest.in(this.#engine + 2);
    this.guest.out(this.#engine, 0);
    return status;
  }

  /** Sends a packet; `limit` is the byte count for PIO, `dma` asks for DMA. */
  packet(packet: readonly number[], limit = 0xfffe, dma = false, device = 0): void {
    this.register(a.DEVICE, device);
    this.register(a.ERROR_FEATURES, dma ? 1 : 0);
    this.register(a.LBA_MID, limit & 0xff);
    this.register(a.LBA_HIGH, limit >> 8);
    this.register(a.STATUS_COMMAND, a.COMMAND.PACKET);
    assert.equal(this.registers[0], a.REASON_CD_BIT);
    assert.equal(this.alternateStatus, 0x58);
    this.push(Uint8Array.from({ length: 12 }, (_, i) => packet[i] ?? 0));
  }

  /** Takes an answer of a packet by PIO: all its parts, and the length of each. */
  answer(): { data: Uint8Array; parts: number[] } {
    const parts: number[] = [];
    const data: number[] = [];
    for (let i = 0; i < 100_000 && this.status & a.STATUS_DRQ_BIT; i++) {
      const [reason, , mid, high] = this.registers;
      assert.equal(reason, a.REASON_IO_BIT);
      const length = mid | high << 8;
      parts.push(length);
      data.push(...this.pull(length));
    }
    return { data: Uint8Array.from(data), parts };
  }
}
