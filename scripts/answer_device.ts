/**
 * A device in TypeScript: a port that answers with the square of what was last written to it.
 *
 *     deno run -A scripts/answer_device.ts
 */
import { type Device, flat, open } from "../mod.ts";

class Squarer implements Device {
  readonly name = "squarer";
  readonly ports = { start: 0x777, length: 1 };
  #value = 0;

  write(_offset: number, data: Uint8Array): void {
    this.#value = data[0] * data[0];
  }

  read(_offset: number, data: Uint8Array): void {
    data[0] = this.#value;
  }
}

// mov al, 7; mov dx, 0x777; out dx, al; in al, dx; out 0xf4, al
const code = Uint8Array.of(0xb0, 7, 0xba, 0x77, 0x07, 0xee, 0xec, 0xe6, 0xf4);
await using vm = await open({ boot: flat(code), devices: [new Squarer()] });
const stop = await vm.continue({ timeoutMs: 5_000 });
if (stop.kind !== "exit") throw new Error(`expected the guest to exit, got ${stop.kind}`);
// The debug-exit device makes (value << 1) | 1 of what is written to port 0xf4.
console.log(`the guest found that 7 * 7 is ${stop.code >> 1}`);
