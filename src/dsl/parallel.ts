import { ParallelPort } from "../devices/parallel_port.ts";
import { bounded } from "./bounded.ts";
import { PrintFile } from "./print_files.ts";

/**
 * LPT1 at port 0x378, interrupt 7, with a printer that writes all it gets into `file`, emptied first: for `devices` of
 * `open()`, and `vm.devices.add()`. Lines are in the file at once, the rest when the port is unplugged or the machine
 * closed; 1 GiB at most.
 *
 * @throws {InputError} If the file can't be made.
 * @example
 * ```ts
 * import { bootSector, open, parallelPort } from "hvsh";
 * import assert from "node:assert/strict";
 *
 * const file = await Deno.makeTempFile();
 * // mov dx, 0x378; mov al, 'A'; out dx, al; inc dx; inc dx; mov al, 0x0d; out dx, al; cli; hlt
 * const code = Uint8Array.of(0xba, 0x78, 3, 0xb0, 0x41, 0xee, 0x42, 0x42, 0xb0, 0x0d, 0xee, 0xfa, 0xf4);
 * {
 *   await using vm = await open({ backend: "fake", boot: bootSector(code), devices: [parallelPort(file)] });
 *   await vm.continue({ timeoutMs: 5000 });
 * }
 * assert.equal(await Deno.readTextFile(file), "A");
 * await Deno.remove(file);
 * ```
 */
export function parallelPort(file: string): ParallelPort {
  return bounded(new ParallelPort({ printer: new PrintFile(file) }));
}
