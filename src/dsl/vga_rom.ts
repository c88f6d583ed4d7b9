/** The BIOS of the VGA, and the font in it: from SeaBIOS's package, unless another is given. */
import { InputError } from "../vm/errors.ts";
import type { BootSpec } from "./boot.ts";

const NAME = "vgabios-stdvga.bin";
const FOLDERS = ["/usr/share/seabios", "/usr/share/qemu", "/usr/share/vgabios"];
const CHARACTERS = 256;
/** Lines of a character. */
const LINES = 16;
const SIGNATURE = [0x55, 0xaa];
/** An option ROM's length is a byte, in units of 512. */
const LIMIT = 255 * 512;

/** What was found. */
export interface VgaRom {
  readonly bytes?: Uint8Array;
  /** 16 lines of each of 256 characters. */
  readonly font?: Uint8Array;
  /** What is to be said if nothing was found. */
  readonly notes: readonly string[];
}

/**
 * The BIOS for the VGA of a guest: what its boot specification names, or the one that lies beside the firmware, or the
 * one of SeaBIOS's package.
 *
 * @throws {InputError} If the one that is named can't be read or is no option ROM.
 */
export async function vgaRom(boot: BootSpec | undefined): Promise<VgaRom> {
  const named = boot?.firmware?.vgabios;
  if (named === "none") return { notes: [] };
  if (named !== undefined) {
    const bytes = named instanceof Uint8Array ? named : await read(named);
    check(bytes, named instanceof Uint8Array ? "the VGA's BIOS" : String(named));
    return found(bytes);
  }
  const beside = boot?.kind === "firmware" && boot.source.includes("/")
    ? [boot.source.slice(0, boot.source.lastIndexOf("/"))]
    : [];
  for (const folder of [...beside, ...FOLDERS]) {
    const path = `${folder}/${NAME}`;
    const size = await Deno.stat(path).then((s) => s.isFile ? s.size : 0, () => 0);
    if (size > 0 && size <= LIMIT) return found(await read(path));
  }
  const without = boot?.kind === "firmware"
    ? "firmware shows nothing on the screen"
    : "screenshots show no characters";
  return { notes: [`there is no ${NAME}, so that ${without}: apt-get install seabios`] };
}

function found(bytes: Uint8Array): VgaRom {
  const font = fontIn(bytes);
  return { bytes, ...(font && { font }), notes: [] };
}

/** The font of 8 by 16 dots in a VGA's BIOS: it begins with a blank and a smiling face. */
function fontIn(rom: Uint8Array): Uint8Array | undefined {
  const face = [0, 0, 0x7e, 0x81, 0xa5, 0x81, 0x81, 0xbd, 0x99, 0x81, 0x81, 0x7e, 0, 0, 0, 0];
  for (let at = 0; at + CHARACTERS * LINES <= rom.length; at++) {
    let same = true;
    for (let i = 0; i < LINES && same; i++) same = rom[at + i] === 0 && rom[at + LINES + i] === face[i];
    if (same) return rom.slice(at, at + CHARACTERS * LINES);
  }
  return undefined;
}

async function read(path: string | URL): Promise<Uint8Array> {
  try {
    const { size } = await Deno.stat(path);
    if (size > LIMIT) {
      throw new InputError(`${path} has ${size} bytes, and an option ROM at most ${LIMIT}`, {
        remedy: `give SeaBIOS's ${NAME}`,
      });
    }
    return await Deno.readFile(path);
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError(`${path} can't be read: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
      remedy: "check the path",
    });
  }
}

function check(bytes: Uint8Array, name: string): void {
  if (bytes.length <= LIMIT && SIGNATURE.every((byte, i) => bytes[i] === byte)) return;
  throw new InputError(
    `${name} is no option ROM: it does not begin with 55 aa, or is longer than ${LIMIT} bytes`,
    {
      remedy: `give SeaBIOS's ${NAME}`,
    },
  );
}
