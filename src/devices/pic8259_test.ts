import assert from "node:assert/strict";
import { anySequence, refusesForeign } from "./device_contract.ts";
import { MockGuest, MockLine } from "./mock_guest.ts";
import { Pic8259 } from "./pic8259.ts";

function pair(icw4 = 0x01) {
  const cpu = new MockLine();
  const taken: number[] = [];
  const pic = new Pic8259({ cpu, onAcknowledge: (irq) => taken.push(irq) });
  const guest = new MockGuest([pic]);
  const initialise = (command: number, base: number, third: number) => {
    guest.out(command, 0x11);
    guest.out(command + 1, base);
    guest.out(command + 1, third);
    guest.out(command + 1, icw4);
  };
  initialise(0x20, 0x08, 0x04);
  initialise(0xa0, 0x70, 0x02);
  const pulse = (irq: number) => {
    pic.line(irq).raise();
    pic.line(irq).lower();
  };
  return { pic, guest, cpu, taken, pulse };
}

Deno.test("pic: an edge requests, INTA gives the vector and puts it in service, EOI ends it", () => {
  const { pic, guest, cpu, taken } = pair();
  assert.equal(cpu.level, false);
  pic.line(0).raise();
  assert.equal(cpu.level, true);
  assert.equal(guest.in(0x20), 0x01); // IRR
  assert.equal(pic.acknowledge(), 0x08);
  assert.equal(cpu.level, false);
  guest.out(0x20, 0x0b);
  assert.equal(guest.in(0x20), 0x01); // ISR
  guest.out(0x20, 0x20);
  assert.equal(guest.in(0x20), 0x00);
  assert.equal(cpu.level, false); // the level alone is no new edge
  pic.line(0).lower();
  pic.line(0).raise();
  assert.equal(pic.acknowledge(), 0x08);
  assert.deepEqual(taken, [0, 0]);
});

Deno.test("pic: the second chip goes through input 2 and needs both EOIs", () => {
  const { pic, guest, cpu, pulse, taken } = pair();
  pulse(12);
  assert.equal(cpu.level, true);
  assert.equal(pic.acknowledge(), 0x74);
  pulse(14);
  assert.equal(cpu.level, false);
  guest.out(0xa0, 0x20);
  assert.equal(cpu.level, false); // input 2 is in service in the first
  guest.out(0x20, 0x20);
  assert.equal(pic.acknowledge(), 0x76);
  assert.deepEqual(taken, [12, 14]);
  pic.line(2).raise(); // belongs to the cascade
  guest.out(0xa0, 0x20);
  guest.out(0x20, 0x20);
  assert.equal(cpu.level, false);
});

Deno.test("pic: lower priorities wait, higher ones come in between, masks hold back", () => {
  const { pic, guest, pulse } = pair();
  pulse(4);
  pulse(7);
  assert.equal(pic.acknowledge(), 0x0c);
  assert.equal(pic.requesting, false);
  pulse(1);
  assert.equal(pic.acknowledge(), 0x09);
  guest.out(0x20, 0x20);
  assert.equal(pic.requesting, false);
  guest.out(0x20, 0x20);
  assert.equal(pic.requesting, true);
  guest.out(0x21, 0x80);
  assert.equal(guest.in(0x21), 0x80);
  assert.equal(pic.requesting, false);
  guest.out(0x21, 0);
  assert.equal(pic.acknowledge(), 0x0f);
});

Deno.test("pic: a level-triggered input asks until it goes low; ELCR keeps the fixed ones edge-triggered", () => {
  const { pic, guest } = pair();
  guest.out(0x4d0, 0xff);
  guest.out(0x4d1, 0xff);
  assert.equal(guest.in(0x4d0), 0xf8);
  assert.equal(guest.in(0x4d1), 0xde);
  pic.line(5).raise();
  assert.equal(pic.acknowledge(), 0x0d);
  guest.out(0x20, 0x65); // specific EOI
  assert.equal(pic.requesting, true);
  pic.line(5).lower();
  assert.equal(pic.requesting, false);
});

Deno.test("pic: a request that is gone gives the spurious vector and nothing in service", () => {
  const { pic, guest } = pair();
  assert.equal(pic.acknowledge(), 0x0f);
  guest.out(0x20, 0x0b);
  assert.equal(guest.in(0x20), 0);
});

Deno.test("pic: automatic EOI, rotation and set priority", () => {
  const { pic, guest, pulse } = pair(0x03);
  guest.out(0x20, 0x80); // rotate in automatic EOI mode
  pulse(3);
  pulse(4);
  assert.equal(pic.acknowledge(), 0x0b);
  pulse(3); // now the lowest
  assert.equal(pic.acknowledge(), 0x0c);
  assert.equal(pic.acknowledge(), 0x0b);
  const plain = pair();
  plain.guest.out(0x20, 0xc0 | 4); // 4 is lowest, 5 highest
  plain.pulse(0);
  plain.pulse(5);
  assert.equal(plain.pic.acknowledge(), 0x0d);
  plain.guest.out(0x20, 0xa0); // rotate on non-specific EOI: 5 is lowest
  plain.pulse(6);
  assert.equal(plain.pic.acknowledge(), 0x0e);
});

Deno.test("pic: special mask mode lets lower priorities through a masked one in service", () => {
  const { pic, guest, pulse } = pair();
  pulse(1);
  pic.acknowledge();
  pulse(6);
  assert.equal(pic.requesting, false);
  guest.out(0x21, 0x02);
  assert.equal(pic.requesting, false);
  guest.out(0x20, 0x68);
  assert.equal(pic.acknowledge(), 0x0e);
  guest.out(0x20, 0x48);
});

Deno.test("pic: special fully nested mode lets the second chip interrupt itself", () => {
  const { pic, pulse } = pair(0x11);
  pulse(14);
  assert.equal(pic.acknowledge(), 0x76);
  pulse(8);
  assert.equal(pic.acknowledge(), 0x70);
});

Deno.test("pic: poll takes a request without the CPU", () => {
  const { pic, guest, pulse } = pair();
  guest.out(0x20, 0x0c);
  assert.equal(guest.in(0x20), 0);
  pulse(5);
  guest.out(0x20, 0x0c);
  assert.equal(guest.in(0x20), 0x85);
  assert.equal(pic.requesting, false);
});

Deno.test("pic: initialisation forgets requests, masks and what is in service", () => {
  const { pic, guest, pulse } = pair();
  guest.out(0x21, 0x55);
  pulse(1);
  pulse(3);
  pic.acknowledge();
  guest.out(0x20, 0x13); // single, with ICW4: no ICW3
  guest.out(0x21, 0x27);
  guest.out(0x21, 0x01);
  assert.equal(guest.in(0x21), 0);
  assert.equal(pic.requesting, false);
  pulse(0);
  assert.equal(pic.acknowledge(), 0x20); // the low bits of ICW2 are the input's
});

Deno.test("pic: any sequence, saved states", () => {
  anySequence(() => {
    const { pic, guest } = pair();
    for (const irq of [0, 3, 9, 14]) pic.line(irq).raise();
    return { guest, device: pic };
  }, {
    seed: 8259,
    runs: 300,
    holds: ({ device }) => {
      const pic = device as Pic8259;
      if (pic.requesting) pic.acknowledge();
      const { ISR1, IRR1, INTR } = pic.inspect();
      assert.ok(ISR1 <= 0xff && IRR1 <= 0xff && INTR <= 1);
    },
  });
  refusesForeign(pair().pic);
});
