/** The virtio devices that hostile drivers are let loose on, and how each shows that it still works. */
import assert from "node:assert/strict";
import type { ConsoleInput } from "../../src/vm/console.ts";
import { MemoryDisk } from "../../src/backing/memory_disk.ts";
import { VirtioBalloon } from "../../src/devices/virtio/balloon.ts";
import { VirtioBlock } from "../../src/devices/virtio/block.ts";
import { VirtioConsole } from "../../src/devices/virtio/console.ts";
import { VirtioEntropy } from "../../src/devices/virtio/entropy.ts";
import type { MockDriver } from "../../src/devices/virtio/mock_driver.ts";
import { VirtioSocket } from "../../src/devices/virtio/socket.ts";
import { HEADER_BYTES, OP, readHeader, STREAM, writeHeader } from "../../src/devices/virtio/socket_packet.ts";
import type { SocketStream } from "../../src/vm/socket.ts";
import { VirtioNet } from "../../src/devices/virtio/net.ts";
import type { VirtioType } from "../../src/devices/virtio/virtio_type.ts";

/** A device under a hostile driver. */
export interface Subject {
  readonly type: VirtioType;
  /** Something happens at the host's side: any of eight things. */
  host(what: number): void;
  /** What must always be true. */
  holds?(): void;
  /** A driver that keeps the rules gets what it asks for. */
  works(driver: MockDriver): void;
  /** Lets go of what it holds. */
  end?(): void;
}

/** Every device, made anew for each driver. */
export const SUBJECTS: Readonly<Record<string, () => Subject>> = {
  block,
  entropy,
  console,
  balloon,
  net: () => net(0),
  // Over TAP: a header comes before each frame.
  "net, unfinished frames": () => net(12),
  socket,
};

function block(): Subject {
  const disk = new MemoryDisk(new Uint8Array(64 * 512).fill(7));
  return {
    type: new VirtioBlock({ backing: disk, queues: 2 }),
    host: () => {},
    works(driver) {
      const header = new Uint8Array(16);
      const answer = driver.ask(0, [header, 512, 1]);
      assert.equal(answer[512], 0);
    },
  };
}

function entropy(): Subject {
  return {
    type: new VirtioEntropy(),
    host: () => {},
    works: (driver) => assert.equal(driver.ask(0, [32]).length, 32),
  };
}

function console(): Subject {
  const inputs: ConsoleInput[] = [];
  let printed = "";
  const end = {
    print: (bytes: Uint8Array) => void (printed = new TextDecoder().decode(bytes).slice(0, 10)),
    connect: (input: ConsoleInput) => {
      inputs.push(input);
      return { [Symbol.dispose]: () => void inputs.splice(inputs.indexOf(input), 1) };
    },
  };
  const type = new VirtioConsole({ ports: [{ end }, { name: "other", end }] });
  return {
    type,
    host(what) {
      if (what < 4) inputs[what % Math.max(1, inputs.length)]?.(new Uint8Array(30 * what));
      else type.resize(what, what + 1);
    },
    // One input for each port at most, whatever is opened how often.
    holds: () => assert.ok(inputs.length <= 2),
    works(driver) {
      driver.ask(1, [new TextEncoder().encode("still there")]);
      assert.equal(printed, "still ther");
    },
  };
}

function balloon(): Subject {
  const type = new VirtioBalloon();
  return {
    type,
    host(what) {
      if (what < 4) type.target = what << 20;
      // No driver, or one that goes: both are said.
      else {type.statistics({ timeoutMs: 1 }).catch((error: Error) =>
          assert.match(error.name, /State|Timeout/)
        );}
    },
    works(driver) {
      driver.guest.memory.fill(9, 0x3f000);
      driver.ask(0, [Uint8Array.of(0x3f, 0, 0, 0)]);
      assert.equal(driver.guest.memory[0x3f000], 0);
    },
  };
}

function net(header: number): Subject {
  let last = 0;
  const coming: Uint8Array[] = [];
  const wire = {
    send: (frame: Uint8Array) => void (last = frame.length - header),
    receive: () => coming.shift(),
  };
  const unfinished = { ...wire, accept: () => {} };
  const backing = {
    name: "wire",
    ...wire,
    ...(header > 0 && { unfinished }),
    [Symbol.dispose]: () => {},
  };
  const type = new VirtioNet({ backing });
  return {
    type,
    host(what) {
      if (what === 7) type.up = !type.up;
      else if (coming.length < 10) {
        coming.push(new Uint8Array(header + [14, 60, 1514, 9000, 65549, 0, 1][what]));
      }
    },
    works(driver) {
      type.up = true;
      driver.ask(1, [new Uint8Array(12), new Uint8Array(77)]);
      assert.equal(last, 77);
    },
  };
}

function socket(): Subject {
  const streams: { closed: boolean; coming: Uint8Array[]; ended: boolean }[] = [];
  const make = (): SocketStream => {
    const stream = {
      closed: false,
      coming: [] as Uint8Array[],
      unsent: 0,
      finished: false,
      ended: false,
      // A side that takes nothing: what the guest sends stays.
      send: (bytes: Uint8Array) => void (stream.unsent += bytes.length),
      flush: () => {},
      receive: () => stream.coming.shift(),
      finish: () => {},
      close: () => void (stream.closed = true),
    };
    streams.push(stream);
    return stream;
  };
  let knocks = 0;
  const backing = {
    name: "somewhere",
    connect: (port: number) => port < 9 ? make() : undefined,
    accept: () => knocks-- > 0 ? { port: 7, stream: make() } : undefined,
    [Symbol.dispose]: () => {},
  };
  const header = (op: number, port: number) =>
    writeHeader({
      source: 3n,
      destination: 2n,
      sourcePort: port,
      destinationPort: 1,
      length: 0,
      type: STREAM,
      op,
      flags: 0,
      room: 1000,
      forwarded: 0,
    });
  return {
    type: new VirtioSocket({ backing }),
    host(what) {
      const stream = streams[what % Math.max(1, streams.length)];
      if (what > 5) knocks = what;
      else if (stream !== undefined) {
        if (what === 5) stream.ended = true;
        else stream.coming.push(new Uint8Array(1000 * what + 1));
      }
    },
    holds: () => assert.ok(streams.filter(({ closed }) => !closed).length <= 256),
    works(driver) {
      knocks = 0;
      driver.offer(0, [HEADER_BYTES]);
      driver.ask(1, [header(OP.REQUEST, 99)]);
      const [answer] = driver.taken(0);
      assert.equal(readHeader(answer.bytes).op, OP.RESPONSE);
    },
    end: () => assert.ok(streams.every(({ closed }) => closed), "a reset ends all connections"),
  };
}
