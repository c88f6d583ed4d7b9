import { HvshError } from "../../vm/errors.ts";

/**
 * The driver broke a rule of virtio that leaves nothing to go on with: the device sets DEVICE_NEEDS_RESET (virtio
 * 1.2, 2.1.2) and does no more until it is reset. The guest chose this; it is never an error of the user's.
 */
export class DriverFault extends HvshError {
  /** "DriverFault". */
  override name = "DriverFault";
}
