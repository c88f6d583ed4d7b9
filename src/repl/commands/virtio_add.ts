/** device_add of virtio devices by the names that QEMU has for them. */
import {
  type Device,
  type GuestMachine,
  InputError,
  virtioBalloon,
  virtioConsole,
  virtioDisk,
  virtioNet,
  type VirtioPlaceOptions,
  virtioRng,
} from "../../dsl/mod.ts";

type Named = VirtioPlaceOptions & { readonly name: string };

/** What follows the name, if anything may; what its device is called; how it is made. */
interface Maker {
  readonly argument?: "needed" | "open";
  readonly stem: string;
  make(options: Named, argument: string): Device;
}

const MAKERS: Readonly<Record<string, Maker>> = {
  blk: { argument: "needed", stem: "blk", make: (options, image) => virtioDisk(image, options) },
  net: {
    argument: "open",
    stem: "net",
    make: (options, open) => virtioNet({ restricted: open !== "open" }, options),
  },
  rng: { stem: "rng", make: (options) => virtioRng(options) },
  balloon: { stem: "balloon", make: (options) => virtioBalloon(options) },
  serial: { stem: "console", make: (options) => virtioConsole(options) },
};

/**
 * The device that `virtio-blk-pci disk.img` and its like mean; undefined if `rest` is no such name. As in QEMU -pci is
 * left out on a PC, and -device is one over MMIO.
 *
 * @throws {InputError} If what follows the name makes no sense.
 */
export function virtioByName(vm: GuestMachine, rest: string): Device | undefined {
  const [, kind = "", bus, argument = ""] = /^virtio-(\w+?)(-pci|-device)?(?:\s+(.*))?$/.exec(rest) ?? [];
  const maker = Object.hasOwn(MAKERS, kind) ? MAKERS[kind] : undefined;
  if (maker === undefined) return undefined;
  if (maker.argument === "needed" && argument === "") {
    throw new InputError(`virtio-${kind} needs an image`, { remedy: `device_add virtio-${kind} disk.img` });
  }
  if (maker.argument !== "needed" && argument !== "" && argument !== maker.argument) {
    throw new InputError(`virtio-${kind} takes no "${argument}"`, {
      remedy: maker.argument === "open" ? "open, for the host's network, or nothing" : "leave it out",
    });
  }
  let number = 0;
  while (vm.devices.get(`${maker.stem}${number}`) !== undefined) number++;
  const name = `${maker.stem}${number}`;
  return maker.make({ name, transport: bus === "-device" ? "mmio" : "pci" }, argument);
}
