import assert from "node:assert/strict";
import { anySequence, carry, refusesForeign } from "./device_contract.ts";
import { MockGuest } from "./mock_guest.ts";
import { ParallelPort } from "./parallel_port.ts";

function port(full = Infinity) {
  const printed: number[] = [];
  let closed = 0;
  const device = new ParallelPort({
    printer: {
      print: (byte) => printed.length < full ? void printed.push(byte) : "full",
      close: () => void closed++,
    },
  });
  const guest = new MockGuest([device]);
  const strobe = (byte: number, control = 0x0c) => {
    guest.out(0x378, byte);
    guest.out(0x37a, control | 1);
    guest.out(0x37a, control);
  };
  return { guest, device, printed, strobe, closed: () => closed };
}

Deno.test("parallel port: a strobe prints, and the printer is busy until it has said ACK", () => {
  const { guest, printed, strobe } = port();
  assert.deepEqual([0x378, 0x379, 0x37a].map((at) => guest.in(at)), [0xff, 0xd8, 0xcc]);
  strobe(0x41);
  assert.deepEqual(printed, [0x41]);
  assert.deepEqual([guest.in(0x379), guest.in(0x379), guest.in(0x379)], [0x58, 0x18, 0xd8]);
  guest.out(0x37a, 0x0d);
  guest.out(0x37a, 0x0d);
  assert.deepEqual(printed, [0x41, 0x41], "the edge counts");
  guest.out(0x37a, 0x05);
  guest.out(0x37a, 0x0c);
  strobe(0x42, 0x04);
  assert.deepEqual(printed, [0x41, 0x41], "a printer that is not selected prints nothing");
  guest.out(0x378, 0xaa);
  assert.equal(guest.in(0x378), 0xaa);
  guest.out(0x37a, 0x2c);
  assert.equal(guest.in(0x378), 0xff);
  guest.out(0x379, 0);
  guest.out(0x37a, 0x08);
  assert.equal(guest.in(0x379), 0xd8, "INIT makes it ready");
});

Deno.test("parallel port: its interrupt, enabled, comes with the strobe's end and goes with the status", () => {
  const { guest, strobe, device, closed } = port();
  strobe(1);
  assert.equal(guest.line(7).level, false);
  strobe(2, 0x1c);
  assert.equal(guest.line(7).level, true);
  guest.in(0x379);
  assert.equal(guest.line(7).level, false);
  strobe(3, 0x1c);
  device.detach();
  assert.deepEqual([guest.line(7).level, closed()], [false, 1]);
});

Deno.test("parallel port: state is carried, foreign ones are refused, and any sequence leaves it whole", () => {
  const { device, strobe } = port();
  strobe(9, 0x1c);
  carry(device, port().device);
  refusesForeign(device);
  anySequence(() => port(100), { seed: 0x378, runs: 50 });
});

Deno.test("parallel port: a printer that fails is told of once, and may come back", () => {
  const notices: string[] = [];
  let full = true;
  const device = new ParallelPort({ printer: { print: () => full ? "no paper" : undefined } });
  const guest = new MockGuest();
  const host = Object.assign(guest, { notice: (text: string) => notices.push(text) });
  host.add(device);
  for (let i = 0; i < 6; i++) {
    if (i === 3) full = false;
    guest.out(0x37a, 0x0d);
    guest.out(0x37a, 0x0c);
  }
  assert.deepEqual(notices, ["lpt1 prints no more: no paper"]);
  assert.equal(device.inspect().printed, 3);
});
