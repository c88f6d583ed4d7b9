import assert from "node:assert/strict";
import { anySequence, refusesForeign } from "./device_contract.ts";
import { A20Gate } from "./a20_gate.ts";
import { I8042 } from "./i8042.ts";
import { MockGuest } from "./mock_guest.ts";

function controller(options: { timed?: boolean; configured?: boolean } = {}) {
  const events: string[] = [];
  const guest = new MockGuest();
  const device = guest.add(
    new I8042({
      time: options.timed ? guest.clock : undefined,
      configured: options.configured,
      onReset: () => events.push("reset"),
      a20: new A20Gate((open) => events.push(`a20 ${open}`)),
    }),
  );
  const command = (value: number, ...parameters: number[]) => {
    guest.out(0x64, value);
    for (const p of parameters) guest.out(0x60, p);
  };
  const drain = (most = 5000) => {
    const bytes: number[] = [];
    while (guest.in(0x64) & 1 && bytes.length < most) bytes.push(guest.in(0x60));
    return bytes;
  };
  const keyboard = (...values: number[]) =>
    values.flatMap((v) => {
      guest.out(0x60, v);
      return drain();
    });
  const mouse = (...values: number[]) =>
    values.flatMap((v) => {
      command(0xd4, v);
      return drain();
    });
  return {
    guest,
    device,
    events,
    command,
    drain,
    keyboard,
    mouse,
    irq1: guest.line(1),
    irq12: guest.line(12),
  };
}

Deno.test("i8042: self-test, port tests, mode and status", () => {
  const { guest, command, drain } = controller();
  assert.equal(guest.in(0x64), 0x10);
  command(0xaa);
  assert.equal(guest.in(0x64), 0x1d);
  assert.deepEqual(drain(), [0x55]);
  for (const [test, answer] of [[0xab, 0], [0xa9, 0], [0xa4, 0xf1], [0xc0, 0x80]]) {
    command(test);
    assert.deepEqual(drain(), [answer]);
  }
  command(0x60, 0x47);
  assert.equal(guest.in(0x64) & 0x08, 0); // the last write was data
  command(0x20);
  assert.deepEqual(drain(), [0x47]);
  command(0xad);
  command(0xa7);
  command(0x20);
  assert.deepEqual(drain(), [0x77]);
  command(0x65, 0x5a);
  command(0x25);
  assert.deepEqual(drain(), [0x5a]);
});

Deno.test("i8042: what SeaBIOS and Linux do to find keyboard and mouse", () => {
  const { command, drain, keyboard, mouse, irq1 } = controller();
  command(0x60, 0x30);
  command(0xaa);
  assert.deepEqual(drain(), [0x55]);
  command(0x60, 0x20);
  assert.deepEqual(keyboard(0xff), [0xfa, 0xaa]);
  assert.deepEqual(keyboard(0xf5), [0xfa]);
  assert.deepEqual(keyboard(0xf0, 0x02), [0xfa, 0xfa]);
  assert.deepEqual(keyboard(0xf2), [0xfa, 0xab, 0x83]);
  assert.equal(irq1.edges, 0);
  command(0x60, 0x61);
  assert.deepEqual(keyboard(0xf2), [0xfa, 0xab, 0x41]); // translated, as every 8042 does
  assert.deepEqual(keyboard(0xf4), [0xfa]);
  assert.ok(irq1.edges >= 4);
  command(0xa8);
  assert.deepEqual(mouse(0xff), [0xfa, 0xaa, 0x00]);
  assert.deepEqual(mouse(0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf2), [
    0xfa,
    0xfa,
    0xfa,
    0xfa,
    0xfa,
    0xfa,
    0xfa,
    3,
  ]);
  assert.deepEqual(mouse(0xf3, 200, 0xf3, 200, 0xf3, 80, 0xf2).slice(-2), [0xfa, 4]);
  assert.deepEqual(mouse(0xe8, 3, 0xe9), [0xfa, 0xfa, 0xfa, 0x00, 3, 80]);
  command(0xd3, 0x5a); // loop-back test of the aux side
  assert.deepEqual(drain(), [0x5a]);
});

Deno.test("i8042: keys come as set 2, translated to set 1 when asked, with an edge for each byte", () => {
  const { device, command, drain, irq1 } = controller();
  command(0x60, 0x01);
  assert.equal(device.keyboard.key("a", true), true);
  device.keyboard.key("a", false);
  device.keyboard.press("up");
  assert.deepEqual(drain(), [0x1c, 0xf0, 0x1c, 0xe0, 0x75, 0xe0, 0xf0, 0x75]);
  const edges = irq1.edges;
  assert.equal(edges, 8);
  command(0x60, 0x41);
  device.keyboard.press("ctrl-alt-del");
  assert.deepEqual(drain(), [0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d]);
  device.keyboard.press("print_screen");
  device.keyboard.press("pause");
  assert.deepEqual(
    drain(),
    [0xe0, 0x2a, 0xe0, 0x37, 0xe0, 0xb7, 0xe0, 0xaa, 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5],
  );
  assert.equal(irq1.level, false);
});

Deno.test("i8042: set 1 from the keyboard itself, and no set 4", () => {
  const { device, keyboard, drain } = controller();
  assert.deepEqual(keyboard(0xf0, 0x01), [0xfa, 0xfa]);
  assert.deepEqual(keyboard(0xf0, 0x00), [0xfa, 0xfa, 0x01]);
  device.keyboard.press("f1");
  assert.deepEqual(drain(), [0x3b, 0xbb]);
  assert.deepEqual(keyboard(0xf0, 0x04), [0xfa, 0xfe]);
  assert.deepEqual(keyboard(0xee), [0xee]);
  assert.deepEqual(keyboard(0xfe), [0xee]);
  assert.deepEqual(keyboard(0x55), [0xfe]);
});

Deno.test("i8042: set 3: a byte a key, and keys that send no breaks", () => {
  const { device, keyboard, command, drain } = controller();
  assert.deepEqual(keyboard(0xf0, 0x03, 0xf0, 0x00), [0xfa, 0xfa, 0xfa, 0xfa, 0x03]);
  const pressed = (keys: string) => {
    assert.equal(device.keyboard.press(keys), true);
    return drain();
  };
  assert.deepEqual(pressed("esc"), [0x08, 0xf0, 0x08]);
  assert.deepEqual(pressed("ctrl_r-delete"), [0x58, 0x64, 0xf0, 0x64, 0xf0, 0x58]);
  assert.deepEqual(pressed("pause"), [0x62, 0xf0, 0x62]);
  assert.deepEqual(keyboard(0xf9), [0xfa]);
  assert.deepEqual(pressed("a"), [0x1c]);
  // Two keys get their breaks back; the third byte is a command.
  assert.deepEqual(keyboard(0xfc, 0x1c, 0x08, 0xee), [0xfa, 0xfa, 0xfa, 0xee]);
  assert.deepEqual([pressed("a"), pressed("esc"), pressed("b")], [
    [0x1c, 0xf0, 0x1c],
    [0x08, 0xf0, 0x08],
    [0x32],
  ]);
  const restored = controller();
  restored.device.restore(device.save());
  restored.device.keyboard.press("b");
  assert.deepEqual(restored.drain(), [0x32]);
  assert.deepEqual(keyboard(0xf8), [0xfa]);
  assert.deepEqual(pressed("b"), [0x32, 0xf0, 0x32]);
  command(0x60, 0x41); // translated, as the controller does to whatever comes
  assert.deepEqual(pressed("a"), [0x1e, 0x9e]);
  keyboard(0xf6); // defaults: set 2
  assert.deepEqual(pressed("esc"), [0x01, 0x81]);
});

Deno.test("i8042: lights, and parameters that are none", () => {
  const { device, keyboard } = controller();
  const seen: number[] = [];
  device.keyboard.onLeds = (leds) => seen.push(leds);
  assert.deepEqual(keyboard(0xed, 0x07), [0xfa, 0xfa]);
  assert.deepEqual(seen, [7]);
  assert.equal(device.inspect().leds, 7);
  assert.deepEqual(keyboard(0xed, 0xf5), [0xfa, 0xfa]); // a command instead: scanning off
  assert.equal(device.keyboard.scanning, false);
  assert.equal(device.keyboard.press("a"), false);
});

Deno.test("i8042: typing says how much was taken, and nothing is lost when the guest reads slowly", () => {
  const { device, drain, command } = controller();
  command(0x60, 0x41);
  assert.equal(device.keyboard.type("aB"), 2);
  assert.deepEqual(drain(), [0x1e, 0x9e, 0x2a, 0x30, 0xb0, 0xaa]);
  assert.throws(() => device.keyboard.type("ok\u00e9"), { name: "InputError" });
  assert.deepEqual(drain(), []);
  const text = "x".repeat(1000);
  const taken = device.keyboard.type(text);
  assert.ok(taken > 300 && taken < 1000);
  assert.equal(drain().length, 2 * taken);
  assert.equal(device.keyboard.type("y"), 1);
  assert.throws(() => device.keyboard.press("ctrl-altgr"), { name: "InputError" });
});

Deno.test("i8042: a second read gives the same scan code until the wire has brought the next", () => {
  const { guest, device, irq1 } = controller({ timed: true });
  guest.out(0x64, 0x60);
  guest.out(0x60, 0x41);
  device.keyboard.press("a");
  assert.equal(guest.in(0x60), 0x1e);
  assert.equal(guest.in(0x60), 0x1e); // the handler that was chained to
  assert.equal(guest.in(0x64) & 1, 0);
  assert.equal(irq1.level, false);
  guest.run(1_000_000);
  assert.equal(irq1.level, true);
  assert.equal(irq1.edges, 2);
  assert.equal(guest.in(0x60), 0x9e);
  guest.run(10_000_000);
  assert.equal(guest.in(0x64) & 1, 0);
  assert.equal(guest.clock.next, undefined);
});

Deno.test("i8042: a switched-off keyboard keeps its keys; talking to it switches it on", () => {
  const { device, command, drain, keyboard, mouse } = controller();
  command(0xad);
  device.keyboard.key("a", true);
  assert.deepEqual(drain(), []);
  command(0xae);
  assert.deepEqual(drain(), [0x1c]);
  command(0xad);
  assert.deepEqual(keyboard(0xee), [0xee]);
  command(0xa7);
  assert.deepEqual(mouse(0xf2), [0xfa, 0]);
  command(0x20);
  assert.deepEqual(drain(), [0x03]);
});

Deno.test("i8042: mouse packets carry movement, wheel and buttons, split when they do not fit", () => {
  const { guest, device, command, drain, mouse, irq12 } = controller();
  command(0x60, 0x03);
  device.mouse.move(5, 5);
  assert.deepEqual(drain(), []); // not reporting
  mouse(0xf4);
  device.mouse.move(10, -3);
  assert.equal(guest.in(0x64) & 0x21, 0x21);
  assert.ok(irq12.level);
  device.mouse.setButtons(0b101);
  device.mouse.move(300, 300); // added up while the first waits
  assert.deepEqual(drain(), [0x28, 10, 0xfd, 0x0d, 255, 255, 0x0d, 45, 45]);
  mouse(0xf3, 200, 0xf3, 100, 0xf3, 80);
  device.mouse.move(0, 0, -1);
  assert.deepEqual(drain(), [0x0d, 0, 0, 0xff]);
  mouse(0xf0); // remote: only when asked
  device.mouse.move(1, 2);
  assert.deepEqual(mouse(0xeb), [0xfa, 0x0d, 1, 2, 0]);
  mouse(0xee);
  assert.deepEqual(mouse(0x42, 0xf4), [0x42, 0xf4]);
  assert.deepEqual(mouse(0xec), [0xfa]);
});

Deno.test("i8042: reset line and A20", () => {
  const { events, command, drain } = controller();
  command(0xd0);
  assert.deepEqual(drain(), [0xcf]);
  command(0xd1, 0xcd);
  command(0xdf);
  command(0xdd);
  command(0xd1, 0xcf);
  assert.deepEqual(events, ["a20 false", "a20 true", "a20 false", "a20 true"]);
  command(0xfe);
  command(0xff); // pulses nothing
  command(0xd1, 0xce);
  assert.deepEqual(events.slice(4), ["reset", "reset"]);
});

Deno.test("i8042: as a BIOS leaves it", () => {
  const { device, drain, irq1 } = controller({ configured: true });
  device.keyboard.press("a");
  assert.equal(irq1.level, true);
  assert.deepEqual(drain(), [0x1e, 0x9e]);
});

Deno.test("i8042: any sequence, saved states", () => {
  for (const timed of [true, false]) {
    anySequence(() => {
      const { guest, device } = controller({ timed });
      device.keyboard.type("Hello");
      device.mouse.write(0xf4);
      device.mouse.move(1000, -1000, 20);
      return { guest, device };
    }, { seed: 8042, runs: 300 });
  }
  const { device } = controller();
  device.keyboard.type("queued");
  refusesForeign(device);
});

Deno.test("i8042: a held key repeats after the delay, at the rate that command 0xf3 sets, until it is let go", () => {
  const { guest, device, keyboard, drain } = controller({ timed: true });
  const during = (ms: number) => {
    const bytes: number[] = [];
    for (let i = 0; i < ms; i++) {
      guest.run(1_000_000);
      bytes.push(...drain());
    }
    return bytes;
  };
  const makes = (count: number, code: number) => new Array<number>(count).fill(code);
  assert.equal(device.keyboard.hold("shift-a"), true);
  assert.deepEqual(during(490), [0x12, 0x1c], "500 ms at first");
  assert.deepEqual(during(1000), makes(11, 0x1c), "10.9 a second");
  device.keyboard.key("b", true);
  assert.deepEqual(during(600), [0x32, ...makes(2, 0x32)], "the last one that was pressed");
  device.keyboard.key("a", false);
  assert.equal(during(500).filter((code) => code === 0x32).length, 5, "another one is let go");
  device.keyboard.key("b", false);
  assert.deepEqual(during(1000), [0xf0, 0x32]);
  keyboard(0xf3, 0x00);
  device.keyboard.key("left", true);
  assert.equal(during(1250).filter((code) => code === 0xe0).length, 31, "250 ms, then 30 a second");
  device.keyboard.press("left");
  device.keyboard.key("pause", true);
  during(2);
  guest.run(3_000_000_000n);
  assert.ok(drain().length < 12, "a guest that reads nothing finds one repeat");
  keyboard(0xf5);
  assert.deepEqual(during(1000), [], "scanning is off");
});

Deno.test("i8042: repeating ends with a reset, a restored state and when the controller is unplugged", () => {
  const { guest, device } = controller({ timed: true });
  const saved = device.save();
  for (const end of [() => device.reset(), () => device.restore(saved), () => device.detach()]) {
    device.keyboard.hold("x");
    guest.run(600_000_000n);
    assert.notEqual(guest.clock.next, undefined, "the next repeat is due");
    end();
    guest.run(5_000_000n);
    assert.equal(guest.clock.next, undefined);
  }
});
