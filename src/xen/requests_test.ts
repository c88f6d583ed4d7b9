import assert from "node:assert/strict";
import { ioreq, IOREQ_DATA_IS_PTR, IOREQ_DF, IOREQ_DIR_READ, IOREQ_STATE_MASK, XEN } from "../abi/xen.ts";
import { RequestSlot } from "./requests.ts";

/** A page with one request of vCPU 1, and 64 bytes of guest memory that count up. */
function scene(fields: Parameters<typeof ioreq.encode>[0]) {
  const view = new DataView(new ArrayBuffer(4096));
  const ram = Uint8Array.from({ length: 64 }, (_, i) => i);
  const slot = new RequestSlot(view, 1, {
    read: (at, into) => into.set(ram.subarray(Number(at), Number(at) + into.length)),
    write: (at, bytes) => ram.set(bytes, Number(at)),
  });
  const bits = (fields.bits ?? 0) | XEN.STATE_IOREQ_READY;
  new Uint8Array(view.buffer).set(ioreq.encode({ count: 1, ...fields, bits }), ioreq.size);
  const state = () => view.getUint8(ioreq.size + ioreq.offsets.bits) & IOREQ_STATE_MASK;
  const answer = () => view.getBigUint64(ioreq.size + ioreq.offsets.data, true);
  return { slot, ram, state, answer };
}

const PORT = XEN.IOREQ_TYPE_PIO;
const MMIO = XEN.IOREQ_TYPE_COPY;

Deno.test("requests: an OUT is an exit, and is given back when it is answered", () => {
  const { slot, state } = scene({ type: PORT, addr: 0x3f8n, data: 0x1241n, size: 1 });
  assert.ok(slot.ready);
  const { exit, simple } = slot.take()!;
  assert.deepEqual([exit.kind, "port" in exit && exit.port, [...exit.data]], ["io-out", 0x3f8, [0x41]]);
  assert.ok(simple && !slot.ready);
  slot.post();
  assert.deepEqual([state(), slot.request], [XEN.STATE_IORESP_READY, undefined]);
});

Deno.test("requests: what an IN gives is what was filled in, or what the debugger put into RAX", () => {
  const { slot, answer } = scene({ type: PORT, addr: 0x60n, size: 2, bits: IOREQ_DIR_READ });
  const { exit } = slot.take()!;
  assert.deepEqual([...exit.data], [0xff, 0xff]);
  exit.data.set([0x34, 0x12]);
  assert.equal(slot.advance(), undefined);
  assert.deepEqual([slot.answer, slot.width, slot.request?.complete], [0x1234n, 2, true]);
  slot.setAnswer(0xdead_5678n);
  slot.post();
  assert.equal(answer(), 0x5678n);
});

Deno.test("requests: an access to PCI configuration space is the IN or OUT that it was, behind what chose the register", () => {
  const config = (addr: bigint) =>
    scene({ type: XEN.IOREQ_TYPE_PCI_CONFIG, addr, size: 2, bits: IOREQ_DIR_READ });
  const { slot, answer } = config(0x001b_0000_0006n); // bus 0, slot 3, function 3, register 6
  const { exit, simple } = slot.take()!;
  assert.ok("port" in exit && exit.kind === "io-in" && exit.before);
  assert.deepEqual([exit.port, simple, exit.before.port], [0xcfe, true, 0xcf8]);
  assert.deepEqual([...exit.before.data], [0x04, 0x1b, 0x00, 0x80]);
  exit.data.set([0x34, 0x12]);
  slot.post();
  assert.equal(answer(), 0x1234n);
  // Registers that conventional functions have not: as if the guest had not enabled the mechanism.
  const beyond = config(0x001b_0000_0106n).slot.take()!.exit;
  assert.deepEqual("before" in beyond && [...beyond.before!.data], [0x04, 0x1b, 0x00, 0x00]);
  const other = scene({ type: PORT, addr: 0xcfcn, size: 4, bits: IOREQ_DIR_READ }).slot.take()!.exit;
  assert.ok(!("before" in other));
});

Deno.test("requests: string I/O is one exit, in the order of the guest's direction flag", () => {
  const bits = IOREQ_DATA_IS_PTR | IOREQ_DF;
  const { slot } = scene({ type: PORT, addr: 1n, data: 20n, size: 2, count: 3, bits });
  const { exit, simple } = slot.take()!;
  assert.deepEqual([[...exit.data], simple], [[20, 21, 18, 19, 16, 17], false]);
  const read = scene({
    type: PORT,
    addr: 1n,
    data: 8n,
    size: 1,
    count: 2,
    bits: IOREQ_DATA_IS_PTR | IOREQ_DIR_READ,
  });
  read.slot.take()!.exit.data.set([0xa, 0xb]);
  read.slot.post();
  assert.deepEqual([...read.ram.subarray(7, 11)], [7, 0xa, 0xb, 10]);
});

Deno.test("requests: string instructions on MMIO are one exit for each element", () => {
  const { slot } = scene({
    type: MMIO,
    addr: 0xd000_0000n,
    data: 4n,
    size: 4,
    count: 2,
    bits: IOREQ_DATA_IS_PTR,
  });
  const first = slot.take()!.exit;
  assert.deepEqual([first.kind, "address" in first && first.address, first.data[0]], [
    "mmio-write",
    0xd000_0000n,
    4,
  ]);
  const second = slot.advance()!;
  assert.deepEqual(["address" in second && second.address, second.data[0]], [0xd000_0004n, 8]);
  assert.equal(slot.advance(), undefined);
  assert.equal(slot.advance(), undefined);
});

Deno.test("requests: STOS on MMIO is one exit for each element, with the same data, up or down", () => {
  for (const [bits, places] of [[0, [0n, 2n, 4n]], [IOREQ_DF, [4n, 2n, 0n]]] as const) {
    const addr = 0xd000_0000n + places[0];
    const { slot, state } = scene({ type: MMIO, addr, data: 0xb800n, size: 2, count: 3, bits });
    const seen: unknown[] = [];
    for (let exit = slot.take()?.exit; exit !== undefined; exit = slot.advance()) {
      assert.ok("address" in exit && exit.kind === "mmio-write");
      seen.push([exit.address - 0xd000_0000n, ...exit.data]);
    }
    assert.deepEqual(seen, places.map((place) => [place, 0x00, 0xb8]));
    slot.post();
    assert.equal(state(), XEN.STATE_IORESP_READY);
  }
});

Deno.test("requests: what is no access is answered at once, and no count is more than a page", () => {
  const { slot, state } = scene({ type: 8, size: 1 });
  assert.equal(slot.take(), undefined);
  assert.equal(state(), XEN.STATE_IORESP_READY);
  const much = scene({ type: PORT, size: 4, count: 0xffff_ffff, bits: IOREQ_DATA_IS_PTR });
  assert.equal(much.slot.take()!.exit.data.length, 4096);
});
