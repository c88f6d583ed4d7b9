import { cached, fingerprint, run } from "./cache.ts";
import { LabError } from "./errors.ts";
import type { Lab } from "./lab.ts";

/** Threads that hold patterns in their vector registers, and for how long: without eager FPU switching half a second
 * finds about forty wrong registers, or crashes. */
const THREADS = 4;
const SECONDS = 1;

/** Where the guest that competes for the processors is loaded. */
const GUEST_ADDRESS = 0x100000;

/**
 * Xen's check of itself, run before a Xen lab gives any result: `xl dmesg` must show EAGER_FPU, and a C program must
 * find every vector register intact beside a running guest. What it found is noted in the lab's record; without a C
 * compiler the lab is up but not vouched for.
 *
 * @throws {LabError} If the check fails: a result of such a lab would look like a fault of the program under test.
 */
export async function checkXen(lab: Lab, cache: string): Promise<void> {
  const probe = await vectorProbe(cache);
  if (probe === null) {
    lab.note(
      "no C compiler (cc): the vector registers can't be checked, so no result of this lab is vouched for",
      false,
    );
    return;
  }
  const image = await cached(cache, "spin", "1.elf", spinningGuest);
  // One shell for all of it: each call from outside costs a tenth of a second under TCG.
  const { code, stdout, stderr } = await lab.output(["sh", "-c", SCRIPT, "sh", probe, image], {
    timeoutMs: 180_000,
  });
  const said = stdout.trim();
  if (code !== 0) {
    const why = code === 3
      ? "xl dmesg does not show EAGER_FPU"
      : code === 1 || code > 128
      ? `vector registers of a process were wrong beside a running guest: ${
        said || `it crashed with code ${code}`
      }`
      : `its check could not be run (code ${code}): ${said} ${stderr.trim()}`;
    throw new LabError(`The Xen lab refuses to give results: ${why}.`, {
      remedy: "See docs/labs.md on spec-ctrl=eager-fpu.",
    });
  }
  lab.note(`EAGER_FPU; vector registers beside a running guest: ${said}`, true);
}

const SCRIPT = `
xl dmesg | grep -q EAGER_FPU || exit 3
printf '%s\\n' 'name="spin"' 'type="pvh"' "kernel=\\"$2\\"" memory=16 vcpus=1 >/run/lab/spin.cfg
xl create -q /run/lab/spin.cfg || exit 4
"$1" ${THREADS} ${SECONDS}
code=$?
xl destroy spin || exit 5 # a guest that crashed is gone, and was no rival
exit $code
`;

/** The C program, compiled once; null when there is no compiler. */
async function vectorProbe(cache: string): Promise<string | null> {
  const source = decodeURIComponent(new URL("guest/vectors.c", import.meta.url).pathname);
  try {
    new Deno.Command("cc", { args: ["--version"], stdout: "null", stderr: "null" }).outputSync();
  } catch {
    return null;
  }
  return await cached(cache, "vectors", fingerprint([source]), async () => {
    // cc writes its result to a file, not to standard output.
    const made = Deno.makeTempFileSync({ prefix: "hvsh-vectors-" });
    try {
      await run("cc", ["-O2", "-o", made, source, "-pthread"]);
      return Deno.readFileSync(made);
    } finally {
      Deno.removeSync(made);
    }
  });
}

/**
 * A PVH guest of three bytes of code, `1: inc %eax; jmp 1b`: an ELF32 executable with one segment and the note
 * XEN_ELFNOTE_PHYS32_ENTRY (18, xen/include/public/elfnote.h) that names its entry.
 */
export function spinningGuest(): Uint8Array {
  const HEADER = 52, PROGRAM = 32, NOTE = HEADER + 2 * PROGRAM, NOTE_SIZE = 20, CODE = NOTE + NOTE_SIZE;
  const code = [0x40, 0xeb, 0xfd];
  const size = CODE + code.length;
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  const words = (at: number, values: number[]) =>
    values.forEach((value, n) => view.setUint32(at + 4 * n, value, true));
  const halves = (at: number, values: number[]) =>
    values.forEach((value, n) => view.setUint16(at + 2 * n, value, true));
  const entry = GUEST_ADDRESS + CODE;
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]); // ELF, 32 bits, little-endian, version 1
  halves(16, [2, 3]); // executable, Intel 386
  words(20, [1, entry, HEADER]); // version, entry, program headers' offset
  halves(40, [HEADER, PROGRAM, 2]);
  // type (1 load, 4 note), offset, virtual and physical address, size in file and in memory, flags (r-x), alignment
  words(HEADER, [1, 0, GUEST_ADDRESS, GUEST_ADDRESS, size, size, 5, 4096]);
  words(HEADER + PROGRAM, [4, NOTE, GUEST_ADDRESS + NOTE, GUEST_ADDRESS + NOTE, NOTE_SIZE, NOTE_SIZE, 4, 4]);
  words(NOTE, [4, 4, 18]); // name's size, value's size, type
  bytes.set(new TextEncoder().encode("Xen"), NOTE + 12);
  words(NOTE + 16, [entry]);
  bytes.set(code, CODE);
  return bytes;
}
