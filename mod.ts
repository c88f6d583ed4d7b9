/**
 * hvsh: a debugger for guests on KVM (and, in time, on every hypervisor), as a library.
 *
 * In this checkout, and in the shell, "hvsh" is the name of this file; elsewhere import it by its path.
 *
 * @example A whole session: open, break, look, change, go on.
 * ```ts
 * import { flat, gpa, gva, open } from "hvsh";
 * import assert from "node:assert/strict";
 *
 * // In real mode at 0x1000: inc ax; cmp ax, 5; jne 0x1000; cli; hlt
 * const code = Uint8Array.of(0x40, 0x83, 0xf8, 0x05, 0x75, 0xfa, 0xfa, 0xf4);
 * await using vm = await open({ backend: "fake", boot: flat(code, { at: 0x1000 }) });
 *
 * const bp = await vm.breakpoints.add(gva(0x1001n), { condition: (hit) => hit.registers.rax === 3n });
 * const stop = await vm.continue();
 * assert.equal(stop.kind, "breakpoint");
 * assert.equal(stop.registers.rax, 3n);
 * assert.equal(bp.hits, 3);
 *
 * await vm.vcpus[0].setRegisters({ rax: 5n });
 * await bp.remove();
 * assert.equal((await vm.continue()).kind, "halt");
 * assert.deepEqual([...await vm.memory.read(gpa(0x1000n), 1)], [0x40]);
 * ```
 *
 * @module
 */
import { tellRemedies } from "./src/dsl/uncaught.ts";

export * from "./src/dsl/mod.ts";

tellRemedies();
