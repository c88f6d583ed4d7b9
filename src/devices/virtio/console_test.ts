import assert from "node:assert/strict";
import type { ConsoleEnd, ConsoleInput } from "../../vm/console.ts";
import { MockGuest } from "../mock_guest.ts";
import { carry } from "../device_contract.ts";
import { VirtioConsole, type VirtioConsoleOptions } from "./console.ts";
import { MockDriver } from "./mock_driver.ts";
import { FEATURE } from "./spec.ts";
import { VirtioMmio } from "./virtio_mmio.ts";

const AT = 0xd000_0000n;
const KINDS = [["split", 0n], ["packed", FEATURE.RING_PACKED]] as const;

/** The host's side of a port. */
class End implements ConsoleEnd {
  text = "";
  bytes = 0;
  inputs: ConsoleInput[] = [];

  print(bytes: Uint8Array): void {
    this.bytes += bytes.length;
    if (this.bytes < 1000) this.text += new TextDecoder().decode(bytes);
  }

  connect(input: ConsoleInput): Disposable {
    this.inputs.push(input);
    return { [Symbol.dispose]: () => void this.inputs.splice(this.inputs.indexOf(input), 1) };
  }

  type(text: string): number {
    const input = this.inputs.at(-1);
    assert.ok(input, "nothing reads what is typed");
    return input(new TextEncoder().encode(text));
  }
}

function machine(options: VirtioConsoleOptions, features = 0n) {
  const guest = new MockGuest([], 0x80000);
  const console = new VirtioConsole(options);
  const device = guest.add(new VirtioMmio(console, { place: { at: AT, irq: 5 } }));
  const driver = new MockDriver(guest, { at: AT, features: features | 7n });
  return { guest, console, device, driver };
}

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

function control(id: number, event: number, value: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setUint32(0, id, true);
  view.setUint16(4, event, true);
  view.setUint16(6, value, true);
  return new Uint8Array(view.buffer);
}

/** What came on the control queue, as id, event, value and the rest. */
function told(driver: MockDriver): (number | string)[][] {
  return driver.taken(2).map(({ bytes, written }) => {
    const view = new DataView(bytes.buffer);
    const rest = bytes.subarray(8, written);
    return [view.getUint32(0, true), view.getUint16(4, true), view.getUint16(6, true), text(rest)];
  });
}

for (const [kind, ring] of KINDS) {
  Deno.test(`virtio console, ${kind}: both ways, as much as the driver has room for`, () => {
    const end = new End();
    const { driver } = machine({ ports: [{ end }] }, ring);
    driver.start(2);
    driver.ask(1, [bytes("hello "), bytes("world")]);
    assert.equal(end.text, "hello world");
    assert.equal(end.type("nobody has a buffer"), 0);
    driver.offer(0, [4]);
    driver.offer(0, [4]);
    driver.kick(0);
    assert.deepEqual(driver.taken(0), []);
    assert.equal(end.type("0123456789"), 8);
    assert.deepEqual(driver.taken(0).map((a) => text(a.bytes)), ["0123", "4567"]);
    driver.set(0x070, 0);
    assert.equal(end.inputs.length, 0, "the driver is gone, and its input with it");
  });

  Deno.test(`virtio console, ${kind}: ports are added, named and opened as the driver asks`, () => {
    const [first, second] = [new End(), new End()];
    const { driver, console, device } = machine({
      ports: [{ end: first }, { name: "org.hvsh.log", end: second }],
    }, ring);
    driver.start(6);
    for (let i = 0; i < 4; i++) driver.offer(2, [64]);
    driver.kick(2);
    driver.ask(3, [control(0, 0, 1)]);
    assert.deepEqual(told(driver), [[0, 1, 1, ""], [1, 1, 1, ""]]);
    driver.ask(3, [control(1, 3, 1)]);
    assert.deepEqual(told(driver), [[1, 7, 1, "org.hvsh.log"], [1, 6, 1, ""]]);
    // Port 0 is a console; its messages wait for buffers.
    driver.ask(3, [control(0, 3, 1)]);
    assert.deepEqual(told(driver), []);
    carry(device, device);
    for (let i = 0; i < 4; i++) driver.offer(2, [64]);
    driver.kick(2);
    assert.deepEqual(told(driver), [[0, 4, 1, ""], [0, 6, 1, ""], [0, 5, 0, "P\0\x19\0"]]);
    console.resize(120, 43);
    assert.deepEqual(told(driver), [[0, 5, 0, "x\0+\0"]]);
    assert.equal(second.inputs.length, 0);
    driver.ask(3, [control(1, 6, 1)]);
    driver.offer(4, [16]);
    driver.kick(4);
    assert.equal(second.type("typed"), 5);
    assert.equal(driver.taken(4)[0].written, 5);
    driver.ask(5, [bytes("logged")]);
    assert.deepEqual([first.text, second.text, console.inspect().open], ["", "logged", "org.hvsh.log"]);
    driver.ask(3, [control(1, 6, 0)]);
    assert.equal(second.inputs.length, 0);
  });

  Deno.test(`virtio console, ${kind}: 100 MB of output pass through, and none is kept`, () => {
    const end = new End();
    const { driver } = machine({ ports: [{ end }] }, ring);
    driver.start(2);
    const write = new Uint8Array(1 << 16).fill(0x78);
    const before = Deno.memoryUsage();
    let most = 0;
    for (let i = 0; i < 1600; i++) {
      driver.ask(1, [write]);
      most = Math.max(most, Deno.memoryUsage().rss);
    }
    assert.equal(end.bytes, 1600 << 16);
    assert.ok(most - before.rss < 80 << 20, `${(most - before.rss) >> 20} MiB more`);
  });
}

Deno.test("virtio console: rows before columns, for Linux before 6.17", () => {
  const { driver, console } = machine({ ports: [{}, {}], rowsFirst: true });
  driver.start(6);
  for (let i = 0; i < 4; i++) driver.offer(2, [64]);
  driver.ask(3, [control(0, 3, 1)]);
  told(driver);
  console.resize(0x101, 2);
  assert.deepEqual(told(driver), [[0, 5, 0, "\x02\0\x01\x01"]]);
});

Deno.test("virtio console: a new size is a change of configuration; an emergency write needs no driver", () => {
  const end = new End();
  const { driver, console, guest } = machine({ ports: [{ end }], size: { columns: 100, rows: 30 } });
  driver.set(0x108, 0x41);
  assert.equal(end.text, "A");
  driver.start(2);
  const generation = driver.get(0x0fc);
  assert.equal(guest.load(AT + 0x100n, 4), 30 << 16 | 100);
  console.resize(80, 25);
  assert.equal(guest.load(AT + 0x100n, 4), 25 << 16 | 80);
  assert.deepEqual([driver.get(0x060), driver.get(0x0fc)], [2, generation + 1]);
  assert.throws(() => console.resize(0, 25), /0 columns/);
  assert.throws(() => console.resize(80, 65536), { name: "InputError" });
});

Deno.test("virtio console: what makes no sense is refused, or ends in NEEDS_RESET", () => {
  assert.throws(() => new VirtioConsole({ ports: [] }), /1 to 31 ports/);
  assert.throws(() => new VirtioConsole({ ports: [{ name: "" }] }), /0 bytes/);
  assert.throws(() => new VirtioConsole({ ports: [{ name: "x".repeat(101) }] }), /101 bytes/);
  const end = new End();
  const { driver, device } = machine({ ports: [{ end }, {}] });
  driver.start(6);
  for (const odd of [new Uint8Array(7), control(99, 3, 1), control(0, 77, 1), control(0, 0, 2)]) {
    driver.ask(3, [odd]);
  }
  assert.equal(device.virtio.fault, undefined);
  driver.ask(3, [control(0, 6, 1)]);
  driver.offer(0, [bytes("to be read")]);
  assert.equal(end.type("x"), 0);
  assert.match(device.virtio.fault ?? "", /has no room/);
});
