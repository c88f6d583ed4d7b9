import assert from "node:assert/strict";
import fc from "fast-check";
import { anySequence, refusesForeign, runs } from "./device_contract.ts";
import { MockGuest } from "./mock_guest.ts";
import { Uart16550 } from "./uart16550.ts";

const BASE = 0x3f8;
const [DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR] = [0, 1, 2, 3, 4, 5, 6, 7].map((o) => BASE + o);
const FCR = IIR;
const ascii = (text: string) => new TextEncoder().encode(text);

function com1(options: { timed?: boolean; gated?: boolean } = {}) {
  const sent: number[] = [];
  const guest = new MockGuest();
  const uart = guest.add(
    new Uart16550({
      name: "uart0",
      base: BASE,
      irq: 4,
      sink: (bytes) => sent.push(...bytes),
      time: options.timed ? guest.clock : undefined,
      gated: options.gated,
    }),
  );
  return { guest, uart, sent, line: guest.line(4) };
}

/** What a polling driver does. */
function readAll(guest: MockGuest, most = 100_000): string {
  let text = "";
  for (let i = 0; i < most && guest.in(LSR) & 1; i++) text += String.fromCharCode(guest.in(DATA));
  return text;
}

Deno.test("uart16550: bytes written to THR reach the sink and the transmitter is empty again", () => {
  const { guest, sent } = com1();
  for (const byte of ascii("hi")) {
    assert.equal(guest.in(LSR), 0x60);
    guest.out(DATA, byte);
  }
  assert.deepEqual(sent, [...ascii("hi")]);
});

Deno.test("uart16550: DLAB switches to the divisor, and back", () => {
  const { guest, uart } = com1();
  guest.out(LCR, 0x83);
  guest.out(DATA, 1);
  guest.out(IER, 2);
  assert.equal(guest.in(DATA), 1);
  assert.equal(guest.in(IER), 2);
  guest.out(LCR, 0x03);
  assert.equal(guest.in(IER), 0);
  assert.equal(guest.in(LCR), 0x03);
  assert.equal(uart.inspect().divisor, 0x201);
  guest.out(SCR, 0x5a);
  assert.equal(guest.in(SCR), 0x5a);
});

Deno.test("uart16550: a Linux-like probe finds a 16550A with a working loopback", () => {
  const { guest } = com1();
  guest.out(IER, 0xff);
  assert.equal(guest.in(IER), 0x0f);
  guest.out(IER, 0);
  guest.out(MCR, 0x1a); // loop, OUT2, RTS
  assert.equal(guest.in(MSR) & 0xf0, 0x90); // DCD and CTS
  guest.out(MCR, 0);
  guest.out(FCR, 1);
  assert.equal(guest.in(IIR) >> 6, 3);
  // No 16750 (64-byte FIFO bit), no 16650 (EFR behind LCR = 0xbf reads as IIR).
  guest.out(LCR, 0x80);
  guest.out(FCR, 0x21);
  assert.equal(guest.in(IIR), 0xc1);
  guest.out(LCR, 0xbf);
  assert.notEqual(guest.in(IIR), 0);
  guest.out(LCR, 0);
  guest.out(FCR, 0);
  assert.equal(guest.in(IIR), 0x01);
});

Deno.test("uart16550: the transmitter interrupt comes when enabled, goes with IIR, comes again with THR", () => {
  const { guest, line } = com1();
  guest.out(MCR, 0x08);
  guest.out(IER, 0x02);
  assert.equal(line.level, true);
  assert.equal(guest.in(IIR), 0x02);
  assert.equal(line.level, false);
  assert.equal(guest.in(IIR), 0x01);
  // The probe for UARTs that do not assert it again: disable and enable must give a new one.
  guest.out(IER, 0);
  guest.out(IER, 0x02);
  assert.equal(guest.in(IIR), 0x02);
  const edges = line.edges;
  guest.out(DATA, 0x41);
  guest.out(DATA, 0x42);
  assert.equal(line.edges, edges + 2);
  // Writing IER with the bit set already does not repeat it.
  guest.in(IIR);
  guest.out(IER, 0x02);
  assert.equal(guest.in(IIR), 0x01);
});

Deno.test("uart16550: OUT2 gates the interrupt, and loopback takes OUT2 away", () => {
  const { guest, line, uart } = com1();
  guest.out(IER, 0x01);
  uart.receive(ascii("x"));
  assert.equal(line.level, false);
  assert.equal(guest.in(IIR), 0x04);
  guest.out(MCR, 0x08);
  assert.equal(line.level, true);
  guest.out(MCR, 0x18);
  assert.equal(line.level, false);
  const open = com1({ gated: false });
  open.guest.out(IER, 0x01);
  open.uart.receive(ascii("x"));
  assert.equal(open.line.level, true);
});

Deno.test("uart16550: without FIFOs a pasted line comes byte by byte, an edge each", () => {
  const { guest, uart, line } = com1();
  guest.out(MCR, 0x0b);
  guest.out(IER, 0x01);
  const text = "a whole pasted line, longer than any FIFO\r";
  assert.equal(uart.receive(ascii(text)), text.length);
  let got = "";
  for (let edge = 1; got.length < text.length; edge++) {
    assert.equal(line.level, true);
    assert.equal(line.edges, edge);
    assert.equal(guest.in(IIR), 0x04);
    got += String.fromCharCode(guest.in(DATA)); // one byte an interrupt
  }
  assert.equal(got, text);
  assert.equal(line.level, false);
  assert.equal(guest.in(DATA), 0x0d); // stays in RBR
  guest.out(FCR, 1);
  assert.equal(guest.in(DATA), 0);
});

for (const [code, level] of [[0, 1], [1, 4], [2, 8], [3, 14]] as const) {
  Deno.test(`uart16550: FIFO trigger level ${level}`, () => {
    const { guest, uart } = com1({ timed: true });
    guest.out(FCR, 0x07 | code << 6);
    guest.out(IER, 0x01);
    uart.receive(new Uint8Array(40).map((_, i) => i + 1));
    assert.equal(guest.in(IIR), 0xc4);
    assert.equal(guest.in(DATA), 1);
    // Below the level now, or (level 1) the next burst is there.
    assert.equal(guest.in(IIR), level === 1 ? 0xc4 : 0xc1);
    assert.equal(readAll(guest).length, 39);
    assert.equal(guest.in(IIR), 0xc1);
  });
}

Deno.test("uart16550: the character timeout comes four characters after the last read", () => {
  const { guest, uart, line } = com1({ timed: true });
  guest.out(MCR, 0x08);
  guest.out(LCR, 0x80);
  guest.out(DATA, 1);
  guest.out(IER, 0);
  guest.out(LCR, 0x03); // 115200 8N1: a character takes 86.8 us
  guest.out(FCR, 0xc7);
  guest.out(IER, 0x01);
  uart.receive(ascii("abc"));
  assert.equal(guest.in(IIR), 0xcc);
  assert.equal(guest.in(DATA), 0x61);
  assert.equal(guest.in(IIR), 0xc1);
  assert.equal(line.level, false);
  guest.run(300_000);
  assert.equal(guest.in(DATA), 0x62); // starts the time again
  guest.run(340_000);
  assert.equal(guest.in(IIR), 0xc1);
  guest.run(10_000);
  assert.equal(guest.in(IIR), 0xcc);
  assert.equal(line.edges, 2);
  assert.equal(guest.in(DATA), 0x63);
  guest.run(1_000_000);
  assert.equal(guest.in(IIR), 0xc1);
  assert.equal(guest.clock.next, undefined);
});

Deno.test("uart16550: without a clock a driver that reads one byte an interrupt still sees an edge each", () => {
  const { guest, uart, line } = com1();
  guest.out(MCR, 0x08);
  guest.out(FCR, 0xc7);
  guest.out(IER, 0x01);
  uart.receive(ascii("abc"));
  for (let edge = 1; edge <= 3; edge++) {
    assert.equal(line.edges, edge);
    guest.in(DATA);
  }
  assert.equal(line.level, false);
});

Deno.test("uart16550: loopback sends to the receiver, not to the sink, and keeps the host waiting", () => {
  const { guest, uart, sent } = com1();
  guest.out(MCR, 0x10);
  uart.receive(ascii("late"));
  assert.equal(guest.in(LSR), 0x60);
  guest.out(DATA, 0xae);
  assert.equal(guest.in(LSR), 0x61);
  assert.equal(guest.in(DATA), 0xae);
  assert.deepEqual(sent, []);
  guest.out(MCR, 0);
  assert.equal(readAll(guest), "late");
});

Deno.test("uart16550: overrun keeps the FIFO but replaces RBR, and reading LSR clears it", () => {
  const { guest } = com1();
  guest.out(MCR, 0x10);
  guest.out(IER, 0x04);
  guest.out(DATA, 1);
  guest.out(DATA, 2);
  assert.equal(guest.in(IIR), 0x06);
  assert.equal(guest.in(LSR), 0x63);
  assert.equal(guest.in(LSR), 0x61);
  assert.equal(guest.in(IIR), 0x01);
  assert.equal(guest.in(DATA), 2);
  guest.out(FCR, 1);
  for (let i = 0; i < 17; i++) guest.out(DATA, i);
  assert.equal(guest.in(LSR) & 0x02, 0x02);
  assert.deepEqual([...readAll(guest)].map((c) => c.charCodeAt(0)), [...Array(16).keys()]);
});

Deno.test("uart16550: a break is a zero with BI, shown when it is next, and counted as a FIFO error before", () => {
  const { guest, uart } = com1();
  guest.out(FCR, 0x41); // FIFO, trigger 4
  guest.out(IER, 0x04);
  uart.receive(ascii("a"));
  uart.receive(ascii("b"));
  uart.receiveBreak();
  uart.receive(ascii("c"));
  assert.equal(guest.in(DATA), 0x61);
  // "b", the break and "c" came as the next burst.
  assert.equal(guest.in(LSR), 0xe1);
  assert.equal(guest.in(DATA), 0x62);
  assert.equal(guest.in(IIR), 0xc6);
  assert.equal(guest.in(LSR), 0xf1);
  assert.equal(guest.in(LSR), 0x61);
  assert.equal(guest.in(DATA), 0);
  assert.equal(guest.in(DATA), 0x63);
});

Deno.test("uart16550: modem inputs set deltas and an interrupt; RI only when it goes away", () => {
  const { guest, uart } = com1();
  assert.equal(guest.in(MSR), 0xb0);
  guest.out(IER, 0x08);
  uart.setModemInputs({ ri: true });
  assert.equal(guest.in(IIR), 0x01);
  uart.setModemInputs({ ri: false, cts: false });
  assert.equal(guest.in(IIR), 0x00);
  assert.equal(guest.in(MSR), 0xa5);
  assert.equal(guest.in(IIR), 0x01);
  assert.equal(guest.in(MSR), 0xa0);
});

Deno.test("uart16550: interrupts come in order of priority", () => {
  const { guest, uart } = com1();
  guest.out(MCR, 0x08);
  guest.out(IER, 0x0f);
  uart.setModemInputs({ dsr: false });
  uart.receiveBreak();
  assert.equal(guest.in(IIR), 0x06);
  guest.in(LSR);
  assert.equal(guest.in(IIR), 0x04);
  guest.in(DATA);
  assert.equal(guest.in(IIR), 0x02);
  assert.equal(guest.in(IIR), 0x00);
  guest.in(MSR);
  assert.equal(guest.in(IIR), 0x01);
});

Deno.test("uart16550: the host's queue is bounded and says what it took", () => {
  const { guest, uart } = com1();
  assert.equal(uart.receive(new Uint8Array(100_000).fill(0x2e)), 65_536);
  // One of them went on into RBR.
  assert.equal(uart.room, 1);
  assert.equal(uart.receive(ascii("xy")), 1);
  assert.equal(uart.receive(ascii("y")), 0);
  assert.equal(uart.receiveBreak(), false);
  assert.equal(readAll(guest), ".".repeat(65_536) + "x");
  assert.equal(uart.waiting, 0);
});

Deno.test("uart16550: restoring gives back what was saved, and refuses what is not its own", () => {
  const { guest, uart } = com1();
  guest.out(FCR, 0xc1);
  guest.out(MCR, 0x08);
  guest.out(IER, 0x01);
  uart.receive(ascii("0123456789abcdefghijklmnop"));
  guest.in(DATA);
  const saved = JSON.parse(JSON.stringify(uart.save()));
  const other = com1();
  other.uart.restore(saved);
  assert.deepEqual(other.uart.save(), saved);
  assert.equal(other.line.level, true);
  assert.equal(readAll(other.guest), "123456789abcdefghijklmnop");
  for (
    const bad of [null, 7, {}, { ...saved, device: "cmos" }, { ...saved, version: 2 }, { ...saved, ier: 16 }]
  ) {
    assert.throws(() => uart.restore(bad), { name: "InputError" });
  }
  assert.throws(() => uart.restore({ ...saved, received: new Array(17).fill(0) }), { name: "InputError" });
  assert.deepEqual(uart.save(), saved);
  uart.reset();
  assert.deepEqual(uart.save(), com1().uart.save());
});

Deno.test("uart16550: any sequence leaves it bounded, with the line as IIR says", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("in" as const), port: fc.integer({ min: 0, max: 7 }) }),
    fc.record({ kind: fc.constant("out" as const), port: fc.nat(7), value: fc.nat(255) }),
    fc.record({ kind: fc.constant("receive" as const), length: fc.nat(300) }),
    fc.record({ kind: fc.constant("break" as const) }),
    fc.record({ kind: fc.constant("time" as const), value: fc.nat(10_000_000) }),
    fc.record({ kind: fc.constant("save" as const) }),
    fc.record({ kind: fc.constant("reset" as const) }),
  );
  fc.assert(
    fc.property(fc.boolean(), fc.array(step, { maxLength: 80 }), (timed, steps) => {
      const { guest, uart, line } = com1({ timed });
      for (const s of steps) {
        if (s.kind === "in") guest.in(BASE + s.port);
        else if (s.kind === "out") guest.out(BASE + s.port, s.value);
        else if (s.kind === "receive") uart.receive(new Uint8Array(s.length));
        else if (s.kind === "break") uart.receiveBreak();
        else if (s.kind === "time") guest.advance(s.value);
        else if (s.kind === "save") uart.restore(uart.save());
        else uart.reset();
        const state = uart.inspect() as Record<string, number>;
        assert.ok(state.received <= (state.FCR & 1 ? 16 : 1) && uart.waiting <= 0x1_0010);
        const open = (state.MCR & 0x18) === 0x08;
        assert.equal(line.level, open && (state.IIR & 1) === 0);
      }
    }),
    { seed: 16550, numRuns: runs(500) },
  );
});

Deno.test("uart16550: any sequence on the ports, saved states", () => {
  anySequence(() => {
    const { guest, uart } = com1({ timed: true });
    uart.receive(new Uint8Array(50));
    return { guest, device: uart };
  }, { seed: 3 });
  refusesForeign(com1().uart);
});
