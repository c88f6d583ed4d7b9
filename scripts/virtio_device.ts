/**
 * A virtio device of one's own: it gives every request back in capitals. Queues, features and both ring formats are done
 * for it. The guest is a driver of one request (fixtures/virtio_request.s).
 *
 *     deno run -A scripts/virtio_device.ts
 */
import { type Chain, flat, gpa, open, virtio, type VirtioType } from "../mod.ts";

class Upper implements VirtioType {
  readonly name = "upper";
  /** A number that virtio 1.2, 5 has given to nobody. */
  readonly id = 42;
  /** One queue, of at most 16 descriptors. */
  readonly queues = [16];
  #requests = 0;

  request(chain: Chain): void {
    const text = new TextDecoder().decode(chain.readAll(4096));
    chain.write(0, new TextEncoder().encode(text.toUpperCase()));
    this.#requests++;
  }

  /** What `device upper` and `virtio` show. */
  inspect(): Record<string, number> {
    return { requests: this.#requests };
  }
}

const upper = virtio(new Upper(), { place: { at: 0xd000_0000n, irq: 10 } });
const driver = await Deno.readFile(new URL("../fixtures/virtio_request.bin", import.meta.url));
await using vm = await open({
  boot: flat(driver, { mode: "protected", at: 0x1_0000 }),
  devices: [upper],
});
const sent = new TextEncoder().encode("hello, virtio\n");
await vm.memory.write(gpa(0x2_3000n), sent);
await vm.memory.writeUint(gpa(0x1_0004n), 4, BigInt(sent.length));
const stop = await vm.continue({ timeoutMs: 5_000 });
if (stop.kind !== "exit") throw new Error(`expected the guest to exit, got ${stop.kind}`);
console.log(`the guest sent ${sent.length} bytes and got ${stop.code >> 1} back: ${vm.console.text.trim()}`);
