/** A CD-ROM or floppy drive whose medium is changed while the guest runs, as a person would do it. */
import type { BlockBacking } from "../vm/block.ts";
import { StateError } from "../vm/errors.ts";
import type { DriveSource } from "./boot.ts";
import type { Drive, DriveChanges, DriveName } from "./drives.ts";

/** A medium, and what is to be closed when it is no longer used. */
export interface OpenMedium {
  readonly medium: BlockBacking;
  readonly store?: Disposable;
  readonly changes?: DriveChanges;
}

/** Opens what lies in the drive. @throws {InputError} If it can't be opened. */
export type OpenMediumOf = (source: DriveSource) => OpenMedium;

/** The device that the guest sees. */
export interface MediumSlot {
  /** Changes what lies in it; false if the guest holds that, and it is not forced. */
  insert(medium: BlockBacking | undefined, force: boolean): boolean;
}

/** A drive of a machine that people can reach. */
export class RemovableDrive implements Drive, Disposable {
  /** What goes into it. */
  readonly kind: "cdrom" | "floppy";
  /** Where it is. */
  readonly name: DriveName;
  readonly #open: OpenMediumOf;
  #inside: OpenMedium | undefined;
  #slot: MediumSlot | undefined;

  /** @param source What lies in it at first. @throws {InputError} If that can't be opened. */
  constructor(
    kind: "cdrom" | "floppy",
    name: DriveName,
    source: DriveSource | "empty",
    open: OpenMediumOf,
  ) {
    this.kind = kind;
    this.name = name;
    this.#open = open;
    if (source !== "empty") this.#inside = open(source);
  }

  /** What lies in it now. */
  get medium(): BlockBacking | undefined {
    return this.#inside?.medium;
  }

  /** What the guest wrote to what lies in it, when that is kept beside the disk. */
  get changes(): DriveChanges | undefined {
    return this.#inside?.changes;
  }

  /** The device that the guest sees. */
  connect(slot: MediumSlot): void {
    this.#slot = slot;
  }

  insert(source: DriveSource, options: { readonly force?: boolean } = {}): void {
    this.#change(this.#open(source), options.force ?? false);
  }

  eject(options: { readonly force?: boolean } = {}): void {
    this.#change(undefined, options.force ?? false);
  }

  /** Closes what lies in it. */
  [Symbol.dispose](): void {
    this.#inside?.store?.[Symbol.dispose]();
    this.#inside = undefined;
  }

  #change(to: OpenMedium | undefined, force: boolean): void {
    if (this.#slot?.insert(to?.medium, force) === false) {
      to?.store?.[Symbol.dispose]();
      throw new StateError(
        `the guest holds what lies in ${this.name}, and was asked to let go of it`,
        "locked",
        {
          remedy: "let it run and try again; force takes it from the guest",
        },
      );
    }
    this[Symbol.dispose]();
    this.#inside = to;
  }
}
