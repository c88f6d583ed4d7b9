/** device_add of virtio devices by the names that QEMU has for them. */
import type { Device, GuestMachine, VirtioPlaceOptions } from "../../dsl/mod.ts";
import { InputError } from "../../dsl/nouns.ts";
import { virtioBalloon, virtioConsole, virtioDisk, virtioNet, virtioRng } from "../../dsl/virtio.ts";
import { commaList } from "../comma_list.ts";
import { cardOf } from "../network_words.ts";

type Named = VirtioPlaceOptions & { readonly name: string };

/** What its device is called, and how it is made of what follows its name. */
interface Maker {
  readonly stem: string;
  make(options: Named, words: string, number: number): Device;
}

/** A device that nothing more can be said of. */
const plain = (kind: string, stem: string, make: (options: Named) => Device): Maker => ({
  stem,
  make(options, words) {
    if (words === "") return make(options);
    throw new InputError(`virtio-${kind} takes no "${words}"`, { remedy: "leave it out" });
  },
});

/** Addresses of cards that were given none, in QEMU's order. */
const macOf = (card: number): string =>
  `52:54:00:12:34:${(0x56 + card & 0xff).toString(16).padStart(2, "0")}`;

const MAKERS: Readonly<Record<string, Maker>> = {
  blk: {
    stem: "blk",
    make(options, words) {
      const { file, mode, serial } = diskOf(words);
      return virtioDisk(file, { ...options, mode, ...(serial !== undefined && { serial }) });
    },
  },
  net: {
    stem: "net",
    make(options, words, number) {
      const { network, ...rest } = cardOf(words);
      return virtioNet(network, { ...options, mac: macOf(number), ...rest });
    },
  },
  rng: plain("rng", "rng", virtioRng),
  balloon: plain("balloon", "balloon", virtioBalloon),
  serial: plain("serial", "console", virtioConsole),
};

/**
 * The device that `virtio-blk-pci disk.img` and its like mean; undefined if `rest` is no such name. As in QEMU -pci is
 * left out on a PC, and -device is one over MMIO.
 *
 * @throws {InputError} If what follows the name makes no sense.
 */
export function virtioByName(vm: GuestMachine, rest: string): Device | undefined {
  const [, kind = "", bus, words = ""] = /^virtio-(\w+?)(-pci|-device)?(?:[\s,]+([^]*))?$/.exec(rest) ?? [];
  const maker = Object.hasOwn(MAKERS, kind) ? MAKERS[kind] : undefined;
  if (maker === undefined) return undefined;
  let number = 0;
  while (vm.devices.get(`${maker.stem}${number}`) !== undefined) number++;
  const name = `${maker.stem}${number}`;
  return maker.make({ name, transport: bus === "-device" ? "mmio" : "pci" }, words, number);
}

/** A disk's image and what was said of it. */
export interface DiskWords {
  readonly file: string;
  readonly mode: "read-write" | "read-only" | "overlay";
  readonly serial?: string;
}

/** `FILE[,snapshot=on][,readonly=on][,serial=TEXT]`; a doubled comma is a comma. @throws {InputError} */
export function diskOf(text: string): DiskWords {
  const [file, ...settings] = text === "" ? [""] : commaList(text);
  if (file === "") {
    throw new InputError("virtio-blk needs an image", { remedy: "device_add virtio-blk disk.img" });
  }
  let mode: DiskWords["mode"] = "read-write";
  let serial: string | undefined;
  for (const setting of settings) {
    const [, key, value] = /^(\w+)=([^]+)$/.exec(setting) ?? [];
    if (key === "serial") serial = value;
    else if (key === "snapshot" && /^(?:on|off)$/.test(value)) mode = value === "on" ? "overlay" : mode;
    else if (key === "readonly" && /^(?:on|off)$/.test(value)) mode = value === "on" ? "read-only" : mode;
    else {
      throw new InputError(`virtio-blk does not understand "${setting}"`, {
        remedy: "snapshot=on, readonly=on or serial=TEXT; a comma in a file's name is doubled",
      });
    }
  }
  return { file, mode, ...(serial !== undefined && { serial }) };
}
