/** The common configuration structure of virtio over PCI (virtio 1.2, 4.1.4.3). */
import { numberOf, putNumber } from "../byte_device.ts";
import { bits, list, record, type Shape } from "../state.ts";
import type { QueueArea } from "./queue_setup.ts";
import type { VirtioDevice } from "./virtio_device.ts";

/** What a vector reads as while none is mapped (4.1.5.1.2). */
export const NO_VECTOR = 0xffff;
/** Bytes of it. */
export const COMMON_BYTES = 0x3c;

/** The selectors and vectors, as saved. */
export interface CommonState {
  deviceFeatureSelect: number;
  driverFeatureSelect: number;
  queueSelect: number;
  configVector: number;
  queueVectors: number[];
}

/** A register: written in its own width alone, as 4.1.3.1 has it. */
interface Register {
  readonly bytes: 1 | 2 | 4;
  read(common: CommonConfig): number;
  write?(common: CommonConfig, value: number): void;
}

/** What the driver negotiates by, and which MSI-X vector each queue has. */
export class CommonConfig implements CommonState {
  deviceFeatureSelect = 0;
  driverFeatureSelect = 0;
  queueSelect = 0;
  configVector: number = NO_VECTOR;
  readonly queueVectors: number[];
  readonly virtio: VirtioDevice;
  /** Vectors that can be mapped. */
  readonly vectors: number;
  /** The driver wrote 0 to the status. */
  readonly onReset: () => void;

  constructor(virtio: VirtioDevice, vectors: number, onReset: () => void) {
    this.virtio = virtio;
    this.vectors = vectors;
    this.onReset = onReset;
    this.queueVectors = virtio.setups.map(() => NO_VECTOR);
  }

  /**
   * A register, or its low bytes: iPXE of 2019 reads 16 bits of device_feature, and would find no VERSION_1. Any other
   * access gives zeros.
   */
  read(offset: number, data: Uint8Array): void {
    const register = REGISTERS.get(offset);
    putNumber(data, register !== undefined && data.length <= register.bytes ? register.read(this) : 0);
  }

  /** Any access but a register's own is ignored. */
  write(offset: number, data: Uint8Array): void {
    const register = REGISTERS.get(offset);
    if (register?.bytes === data.length) register.write?.(this, numberOf(data));
  }

  /** A vector that exists, or none. */
  mapped(vector: number): number {
    return vector < this.vectors ? vector : NO_VECTOR;
  }

  /** As after power-on; no vectors are mapped (4.1.5.1.2.1). */
  reset(): void {
    this.deviceFeatureSelect = this.driverFeatureSelect = this.queueSelect = 0;
    this.configVector = NO_VECTOR;
    this.queueVectors.fill(NO_VECTOR);
  }

  /** Selectors and vectors. */
  save(): CommonState {
    const { deviceFeatureSelect, driverFeatureSelect, queueSelect, configVector, queueVectors } = this;
    return {
      deviceFeatureSelect,
      driverFeatureSelect,
      queueSelect,
      configVector,
      queueVectors: [...queueVectors],
    };
  }

  /** What `restore` takes. */
  get field(): (value: unknown, path: string) => CommonState {
    const count = this.queueVectors.length;
    const shape: Shape<CommonState> = {
      deviceFeatureSelect: bits(32),
      driverFeatureSelect: bits(32),
      queueSelect: bits(16),
      configVector: bits(16),
      queueVectors: list(bits(16), count, count),
    };
    return record(shape);
  }

  /** Takes a checked record. */
  restore({ queueVectors, ...selectors }: CommonState): void {
    Object.assign(this, selectors);
    queueVectors.forEach((vector, i) => this.queueVectors[i] = vector);
  }
}

const selected = ({ virtio, queueSelect }: CommonConfig) => virtio.setups[queueSelect];

/** One half of a queue's address: 64-bit fields are accessed by halves (4.1.3.1). */
function half(area: QueueArea, high: boolean): Register {
  return {
    bytes: 4,
    read: (common) => selected(common)?.half(area, high) ?? 0,
    write: (common, value) => selected(common)?.setHalf(area, high, value),
  };
}

const REGISTERS: ReadonlyMap<number, Register> = new Map<number, Register>([
  [0x00, { // device_feature_select
    bytes: 4,
    read: (common) => common.deviceFeatureSelect,
    write: (common, value) => common.deviceFeatureSelect = value,
  }],
  // device_feature
  [0x04, { bytes: 4, read: ({ virtio, deviceFeatureSelect }) => virtio.offer(deviceFeatureSelect) }],
  [0x08, { // driver_feature_select
    bytes: 4,
    read: (common) => common.driverFeatureSelect,
    write: (common, value) => common.driverFeatureSelect = value,
  }],
  [0x0c, { // driver_feature
    bytes: 4,
    read: ({ virtio, driverFeatureSelect: half }) =>
      half > 1 ? 0 : Number(virtio.accepted >> BigInt(32 * half) & 0xffff_ffffn),
    write: ({ virtio, driverFeatureSelect }, value) => virtio.accept(driverFeatureSelect, value),
  }],
  [0x10, { // config_msix_vector
    bytes: 2,
    read: (common) => common.configVector,
    write: (common, value) => common.configVector = common.mapped(value),
  }],
  [0x12, { bytes: 2, read: ({ virtio }) => virtio.setups.length }], // num_queues
  [0x14, { // device_status
    bytes: 1,
    read: ({ virtio }) => virtio.status,
    write: ({ virtio, onReset }, value) => value === 0 ? onReset() : virtio.setStatus(value),
  }],
  [0x15, { bytes: 1, read: ({ virtio }) => virtio.generation & 0xff }], // config_generation
  [0x16, { // queue_select
    bytes: 2,
    read: (common) => common.queueSelect,
    write: (common, value) => common.queueSelect = value,
  }],
  [0x18, { // queue_size: 0 is a queue that is not there
    bytes: 2,
    read: (common) => selected(common)?.place.size ?? 0,
    write: (common, value) => selected(common)?.setSize(value),
  }],
  [0x1a, { // queue_msix_vector
    bytes: 2,
    read: ({ queueVectors, queueSelect }) => queueVectors[queueSelect] ?? NO_VECTOR,
    write: (common, value) => {
      if (selected(common) !== undefined) common.queueVectors[common.queueSelect] = common.mapped(value);
    },
  }],
  [0x1c, { // queue_enable: the driver must not write 0 (4.1.4.3.2), and a queue goes with a reset alone
    bytes: 2,
    read: (common) => Number(selected(common)?.ready ?? false),
    write: ({ virtio, queueSelect }, value) => value === 1 && virtio.enableQueue(queueSelect, true),
  }],
  // queue_notify_off: each queue has a place of its own
  [0x1e, { bytes: 2, read: (common) => selected(common) === undefined ? 0 : common.queueSelect }],
  [0x20, half("desc", false)],
  [0x24, half("desc", true)],
  [0x28, half("driver", false)],
  [0x2c, half("driver", true)],
  [0x30, half("device", false)],
  [0x34, half("device", true)],
]);
