/** The flash chip below a firmware image. */
import { Flash } from "../devices/flash.ts";
import type { Rom } from "../vm/backend.ts";
import type { BlockFault } from "../vm/block.ts";
import { InputError } from "../vm/errors.ts";
import type { BootImage } from "../x86/boot/image.ts";
import type { DriveSource, FirmwareBoot } from "./boot.ts";
import { openMedium, type OpenStore } from "./drives.ts";

/** A chip that has no machine yet. */
export interface OpenFlash {
  /** What the hypervisor has to know of it. */
  readonly memory: Rom;
  /** What is to be said about its file. */
  readonly notes: readonly string[];
  /** Makes the device; `onFault` is told when its file fails. */
  device(onFault: (fault: BlockFault) => void): Flash;
  /** Closes the file. */
  [Symbol.dispose](): void;
}

/**
 * Opens `variables`, right below the firmware in `image`.
 *
 * @throws {InputError} If it can't be opened, or is no flash chip's.
 */
export function openFlash(
  variables: DriveSource,
  boot: FirmwareBoot,
  image: BootImage,
  openStore: OpenStore,
): OpenFlash {
  const firmware = image.roms?.find(({ name }) => name === "firmware");
  if (firmware === undefined) {
    throw new InputError("variables are kept beside a firmware image", { remedy: "boot by firmware()" });
  }
  using cleanup = new DisposableStack();
  const { medium: store, store: owned, notes } = openMedium(variables, "flash", boot, openStore);
  if (owned !== undefined) cleanup.use(owned);
  const at = firmware.at - BigInt(store.size);
  // The device says what is wrong with a size.
  const device = (onFault: (fault: BlockFault) => void) => new Flash({ at, store, onFault });
  device(() => {});
  const closing = cleanup.move();
  return {
    memory: { name: "flash", at, bytes: new Uint8Array(store.size), lent: true },
    notes,
    device,
    [Symbol.dispose]: () => closing[Symbol.dispose](),
  };
}
