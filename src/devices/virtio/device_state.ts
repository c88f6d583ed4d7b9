/** What a saved virtio device must look like, whatever its transport. */
import { InputError } from "../../vm/errors.ts";
import { bits, type Field, list, record, type Shape } from "../state.ts";
import { PROGRESS_SHAPE, type QueueProgress } from "./queue.ts";
import { SETUP_SHAPE, type SetupState } from "./queue_setup.ts";

/** A queue's registers and how far it is. */
export interface QueueState extends SetupState {
  progress: QueueProgress;
}

/** Status, features, queues, and what the type adds. */
export interface DeviceState {
  status: number;
  /** The accepted feature bits, as a decimal number. */
  accepted: string;
  /** Why it needs a reset; empty if it does not. */
  fault: string;
  generation: number;
  queues: QueueState[];
  /** Checked by the type itself. */
  type: unknown;
}

const TEXT: Field<string> = (value, path) => {
  if (typeof value === "string" && value.length < 1000) return value;
  throw new InputError(`The saved state is not usable: ${path} is no text`, {
    remedy: "restore a record that save() of the same device gave",
  });
};

const FEATURES: Field<string> = (value, path) => {
  const text = TEXT(value, path);
  if (/^\d{1,20}$/.test(text) && BigInt(text) < 1n << 64n) return text;
  throw new InputError(`The saved state is not usable: ${path} is no number of 64 bits`, {
    remedy: "restore a record that save() of the same device gave",
  });
};

/** What `restore` takes. */
export const DEVICE_SHAPE: Shape<DeviceState> = {
  status: bits(8),
  accepted: FEATURES,
  fault: TEXT,
  generation: bits(32),
  queues: list(record<QueueState>({ ...SETUP_SHAPE, progress: record(PROGRESS_SHAPE) }), 0, 1024),
  type: (value) => value,
};
