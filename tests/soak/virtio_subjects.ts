/** The virtio devices that hostile drivers are let loose on, and how each shows that it still works. */
import assert from "node:assert/strict";
import type { ConsoleInput } from "../../src/vm/console.ts";
import { MemoryDisk } from "../../src/backing/memory_disk.ts";
import { VirtioBalloon } from "../../src/devices/virtio/balloon.ts";
import { VirtioBlock } from "../../src/devices/virtio/block.ts";
import { VirtioConsole } from "../../src/devices/virtio/console.ts";
import { VirtioEntropy } from "../../src/devices/virtio/entropy.ts";
import type { MockDriver } from "../../src/devices/virtio/mock_driver.ts";
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
export const SUBJECTS: Readonly<Record<string, () => Subject>> = { block, entropy, console, balloon, net };

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

function net(): Subject {
  let last = 0;
  const coming: Uint8Array[] = [];
  const backing = {
    name: "wire",
    send: (frame: Uint8Array) => void (last = frame.length),
    receive: () => coming.shift(),
    [Symbol.dispose]: () => {},
  };
  const type = new VirtioNet({ backing });
  return {
    type,
    host(what) {
      if (what === 7) type.up = !type.up;
      else if (coming.length < 10) coming.push(new Uint8Array([14, 60, 1514, 9000, 65549, 0, 1][what]));
    },
    works(driver) {
      type.up = true;
      driver.ask(1, [new Uint8Array(12), new Uint8Array(77)]);
      assert.equal(last, 77);
    },
  };
}
