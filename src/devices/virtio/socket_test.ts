import assert from "node:assert/strict";
import type { SocketBacking, SocketStream } from "../../vm/socket.ts";
import { carry } from "../device_contract.ts";
import { MockGuest } from "../mock_guest.ts";
import { MockDriver } from "./mock_driver.ts";
import { VirtioSocket } from "./socket.ts";
import {
  HEADER_BYTES,
  OP,
  readHeader,
  SHUTDOWN,
  type SocketHeader,
  STREAM,
  writeHeader,
} from "./socket_packet.ts";
import { FEATURE } from "./spec.ts";
import { VirtioMmio } from "./virtio_mmio.ts";

const AT = 0xd000_0000n;
const KINDS = [["split", FEATURE.EVENT_IDX], ["packed", FEATURE.RING_PACKED | FEATURE.EVENT_IDX]] as const;
const GUEST_PORT = 1234;
const HOST_PORT = 80;

/** A stream whose other side is a test. */
class Stream implements SocketStream {
  sent: number[] = [];
  coming: Uint8Array[] = [];
  /** Bytes that it takes before it is full. */
  takes = Infinity;
  unsent = 0;
  finished = false;
  ended = false;
  said: string[] = [];

  send(bytes: Uint8Array): void {
    this.sent.push(...bytes);
    this.unsent += bytes.length;
    this.flush();
  }

  flush(): void {
    const done = Math.min(this.unsent, this.takes);
    this.takes -= done;
    this.unsent -= done;
  }

  receive(): Uint8Array | undefined {
    return this.coming.shift();
  }

  finish(): void {
    this.said.push("finish");
  }

  close(): void {
    this.said.push("close");
  }
}

function machine(features = 0n) {
  const guest = new MockGuest([], 0x80000);
  const streams: Stream[] = [];
  const knocks: { port: number; stream: Stream }[] = [];
  const backing: SocketBacking = {
    name: "test",
    connect(port) {
      if (port !== HOST_PORT) return undefined;
      streams.push(new Stream());
      return streams.at(-1);
    },
    accept: () => knocks.shift(),
    [Symbol.dispose]: () => {},
  };
  const device = guest.add(
    new VirtioMmio(new VirtioSocket({ backing, cid: 7 }), { place: { at: AT, irq: 5 } }),
  );
  const driver = new MockDriver(guest, { at: AT, features: features | 1n, size: 32 }).start(3);
  const send = (op: number, more: Partial<SocketHeader> = {}, data = new Uint8Array(0)) => {
    const header = {
      source: 7n,
      destination: 2n,
      sourcePort: GUEST_PORT,
      destinationPort: HOST_PORT,
      length: data.length,
      type: STREAM,
      op,
      flags: 0,
      room: 0x10000,
      forwarded: 0,
      ...more,
    };
    driver.ask(1, [writeHeader(header), ...(data.length > 0 ? [data] : [])]);
  };
  /** What came, after 2 ms for the device to look. */
  const heard = () => {
    guest.run(2_000_000n);
    return driver.taken(0).map(({ bytes, written }) => ({
      ...readHeader(bytes),
      data: bytes.subarray(HEADER_BYTES, written),
    }));
  };
  const room = (packets: number, bytes = HEADER_BYTES + 1000) => {
    for (let i = 0; i < packets; i++) driver.offer(0, [bytes]);
    driver.kick(0);
  };
  return { guest, device, driver, streams, knocks, send, heard, room };
}

/** A machine whose guest is connected to the host. */
function connected(features = 0n, more: Partial<SocketHeader> = {}) {
  const m = machine(features);
  m.room(10);
  m.send(OP.REQUEST, more);
  assert.deepEqual(m.heard().map(({ op }) => op), [OP.RESPONSE]);
  return { ...m, stream: m.streams[0] };
}

const text = (bytes: Iterable<number>) => new TextDecoder().decode(Uint8Array.from(bytes));
const bytes = (words: string) => new TextEncoder().encode(words);

for (const [kind, ring] of KINDS) {
  Deno.test(`virtio socket, ${kind}: the guest connects, and bytes go both ways`, () => {
    const { send, heard, stream, driver } = connected(ring);
    assert.deepEqual([driver.get(0x100), driver.get(0x104)], [7, 0]);
    send(OP.RW, {}, bytes("hello host"));
    assert.equal(text(stream.sent), "hello host");
    stream.coming.push(bytes("hello guest"), bytes(" and more"));
    const [first, second] = heard();
    assert.deepEqual(
      [first.op, first.source, first.destination, first.sourcePort, first.destinationPort, first.forwarded],
      [OP.RW, 2n, 7n, HOST_PORT, GUEST_PORT, 10],
    );
    assert.equal(text([...first.data, ...second.data]), "hello guest and more");
  });
}

Deno.test("virtio socket: somebody outside connects to the guest", () => {
  const { knocks, heard, room, send } = machine();
  const stream = new Stream();
  knocks.push({ port: 22, stream });
  room(4);
  const [asked] = heard();
  assert.deepEqual([asked.op, asked.destinationPort, asked.source], [OP.REQUEST, 22, 2n]);
  const ports = { sourcePort: 22, destinationPort: asked.sourcePort };
  stream.coming.push(bytes("first"));
  assert.deepEqual(heard(), [], "nothing before the guest has agreed");
  send(OP.RESPONSE, ports);
  assert.deepEqual(heard().map(({ op, data }) => [op, text(data)]), [[OP.RW, "first"]]);
  send(OP.RW, ports, bytes("answer"));
  assert.equal(text(stream.sent), "answer");
});

Deno.test("virtio socket: nobody there, no connection, another type: a reset", () => {
  const { send, heard, room, streams } = machine();
  room(8);
  send(OP.REQUEST, { destinationPort: 81 });
  send(OP.RW, {}, bytes("x"));
  send(OP.RST); // of nobody: no answer
  send(OP.REQUEST, { type: 2 });
  assert.deepEqual(heard().map(({ op, sourcePort }) => [op, sourcePort]), [[OP.RST, 81], [OP.RST, 80], [
    OP.RST,
    80,
  ]]);
  send(OP.REQUEST, { source: 8n });
  send(OP.REQUEST, { destination: 1n });
  assert.deepEqual([heard().length, streams.length], [0, 0]);
});

Deno.test("virtio socket: the guest gets no more than it has room for", () => {
  const { stream, heard, send } = connected(0n, { room: 8 });
  stream.coming.push(bytes("0123456789"));
  assert.deepEqual(heard().map(({ data }) => text(data)), ["01234567"]);
  assert.deepEqual(heard(), []);
  send(OP.CREDIT_UPDATE, { room: 8, forwarded: 5 });
  assert.deepEqual(heard().map(({ data }) => text(data)), ["89"]);
});

Deno.test("virtio socket: small buffers take a part each, and one without room for data none", () => {
  const { streams, heard, send, room } = machine();
  room(1, HEADER_BYTES);
  send(OP.REQUEST);
  heard();
  streams[0].coming.push(bytes("abcdefg"));
  room(1, HEADER_BYTES);
  assert.deepEqual(heard(), []);
  send(OP.CREDIT_REQUEST);
  assert.deepEqual(heard().map(({ op }) => op), [OP.CREDIT_UPDATE]);
  room(3, HEADER_BYTES + 3);
  assert.deepEqual(heard().map(({ data }) => text(data)), ["abc", "def", "g"]);
});

Deno.test("virtio socket: a host that takes nothing holds the guest up, and one that goes on gets a reset", () => {
  const { stream, heard, send, room } = connected();
  stream.takes = 0;
  for (let i = 0; i < 4; i++) send(OP.RW, {}, new Uint8Array(64 * 1024).fill(i));
  send(OP.CREDIT_REQUEST);
  const [credit] = heard();
  assert.deepEqual([credit.op, credit.room, credit.forwarded], [OP.CREDIT_UPDATE, 256 * 1024, 0]);
  stream.takes = 200 * 1024;
  const [told] = heard();
  assert.deepEqual([told.op, told.forwarded], [OP.CREDIT_UPDATE, 200 * 1024]);
  stream.takes = 0;
  for (let i = 0; i < 3; i++) send(OP.RW, {}, new Uint8Array(64 * 1024));
  send(OP.RW, {}, new Uint8Array(64 * 1024));
  room(2);
  assert.equal(heard().at(-1)?.op, OP.RST);
  assert.deepEqual(stream.said, ["close"]);
});

Deno.test("virtio socket: the guest says it sends no more, then that it is done", () => {
  const { stream, heard, send } = connected();
  stream.takes = 2;
  send(OP.RW, {}, bytes("last"));
  send(OP.SHUTDOWN, { flags: SHUTDOWN.SEND });
  assert.deepEqual([heard(), stream.said], [[], []]);
  stream.takes = 2;
  assert.deepEqual([heard(), stream.said], [[], ["finish"]]);
  stream.coming.push(bytes("answer"));
  assert.deepEqual(heard().map(({ data }) => text(data)), ["answer"]);
  send(OP.SHUTDOWN, { flags: SHUTDOWN.RECEIVE });
  assert.deepEqual(heard().map(({ op }) => op), [OP.RST]);
  assert.deepEqual(stream.said, ["finish", "close"]);
});

Deno.test("virtio socket: the host finishes, then ends, after all it sent has gone", () => {
  const { stream, heard, send, device } = connected();
  stream.coming.push(bytes("bye"));
  stream.finished = true;
  assert.deepEqual(heard().map(({ op, flags }) => [op, flags]), [[OP.RW, 0], [OP.SHUTDOWN, SHUTDOWN.SEND]]);
  stream.ended = true;
  assert.deepEqual(heard().map(({ op, flags }) => [op, flags]), [[OP.SHUTDOWN, SHUTDOWN.BOTH]]);
  assert.equal(device.inspect().connections, 1);
  send(OP.RST);
  assert.deepEqual([device.inspect().connections, stream.said], [0, ["close"]]);
});

Deno.test("virtio socket: no more connections than 256, and a reset of the device ends them all", () => {
  const { send, device, streams, driver } = machine();
  for (let port = 0; port < 300; port++) send(OP.REQUEST, { sourcePort: port });
  assert.deepEqual([device.inspect().connections, device.inspect().refused, streams.length], [256, 44, 256]);
  driver.set(0x070, 0);
  assert.ok(streams.every(({ said }) => said.length === 1));
});

Deno.test("virtio socket: each connection has its turn", () => {
  const { send, heard, room, streams } = machine();
  for (const port of [1, 2]) send(OP.REQUEST, { sourcePort: port });
  room(2);
  heard();
  for (const stream of streams) stream.coming.push(new Uint8Array(5000));
  room(4);
  assert.deepEqual(heard().map(({ destinationPort }) => destinationPort), [1, 2, 1, 2]);
});

Deno.test("virtio socket: a state carried to another process has no connections, and the driver hears of it", () => {
  const { device, streams } = connected();
  const { device: other, driver, guest } = machine();
  driver.offer(2, [4]);
  driver.kick(2);
  assert.deepEqual(driver.taken(2), []);
  carry(device, device);
  assert.deepEqual(streams[0].said, ["close"]);
  other.restore(JSON.parse(JSON.stringify(other.save())));
  guest.run(2_000_000n);
  assert.deepEqual(driver.taken(2).map(({ bytes }) => [...bytes]), [[0, 0, 0, 0]]);
});

Deno.test("virtio socket: addresses that are none of a guest's are refused", () => {
  const backing = { name: "", connect: () => undefined, accept: () => undefined, [Symbol.dispose]: () => {} };
  for (const cid of [0, 2, 0xffff_ffff, 1.5]) {
    assert.throws(() => new VirtioSocket({ backing, cid }), /address/);
  }
});
