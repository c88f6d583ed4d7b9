/** An IDE controller with its drives, from what a user calls them. */
import type { BlockBacking } from "../../vm/block.ts";
import { AtaDisk } from "./ata_disk.ts";
import { CdRom } from "./cd_rom.ts";
import type { IdeDrive } from "./drive.ts";
import { Piix3Ide, type Piix3IdeOptions } from "./piix3_ide.ts";

/** A drive: a disk over a store of sectors, or a CD-ROM drive with or without a medium in it. */
export type IdeDriveSpec =
  & (
    | { readonly disk: BlockBacking }
    | { readonly cdrom: BlockBacking | "empty" }
  )
  & {
    /** At most 20 characters. Default: one that tells the drives of a machine apart. */
    readonly serial?: string;
    /** At most 40 characters. */
    readonly model?: string;
  };

/** The drives of a channel. */
export interface IdeChannelSpec {
  /** Device 0. */
  readonly master?: IdeDriveSpec;
  /** Device 1. */
  readonly slave?: IdeDriveSpec;
}

/** What a controller is made of. */
export interface IdeControllerOptions extends Omit<Piix3IdeOptions, "primary" | "secondary"> {
  /** Ports 0x1f0 and 0x3f6, interrupt 14. */
  readonly primary?: IdeChannelSpec;
  /** Ports 0x170 and 0x376, interrupt 15. */
  readonly secondary?: IdeChannelSpec;
}

const FIRMWARE = "1.0";

/**
 * Makes the controller; it belongs into PCI slot 1, function 1: `chipset.host.plug({ slot: 1, function: 1 }, ide)`,
 * and is a device of the machine as well. The stores stay the caller's to close.
 *
 * @throws {InputError} If a disk has not one sector.
 */
export function ideController(options: IdeControllerOptions = {}): Piix3Ide {
  const { primary, secondary, ...rest } = options;
  return new Piix3Ide({
    ...rest,
    primary: [makeDrive(primary?.master, 1), makeDrive(primary?.slave, 2)],
    secondary: [makeDrive(secondary?.master, 3), makeDrive(secondary?.slave, 4)],
  });
}

function makeDrive(spec: IdeDriveSpec | undefined, number: number): IdeDrive | undefined {
  if (spec === undefined) return undefined;
  const identity = (model: string) => ({
    serial: spec.serial ?? `HV${String(number).padStart(5, "0")}`,
    firmware: FIRMWARE,
    model: spec.model ?? model,
  });
  if ("disk" in spec) return new AtaDisk(spec.disk, identity("HVSH HARDDISK"));
  return new CdRom(spec.cdrom === "empty" ? undefined : spec.cdrom, identity("HVSH DVD-ROM"));
}
