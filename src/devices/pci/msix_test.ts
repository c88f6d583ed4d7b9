import assert from "node:assert/strict";
import { Msix, MSIX_ENABLE_BIT, MSIX_FUNCTION_MASK_BIT, msixField, msixSize } from "./msix.ts";

function machine(vectors = 3, unmasked?: (address: bigint, data: number) => boolean) {
  const sent: [bigint, number][] = [];
  const guest = { control: 0 };
  const msix = new Msix(
    vectors,
    () => guest.control,
    (address, data) => sent.push([address, data]),
    unmasked,
  );
  const store = (offset: number, ...words: number[]) =>
    words.forEach((word, i) => msix.write(offset + 4 * i, new Uint8Array(Uint32Array.of(word).buffer)));
  const load = (offset: number) => {
    const data = new Uint8Array(4);
    msix.read(offset, data);
    return new DataView(data.buffer).getUint32(0, true);
  };
  return { msix, sent, guest, store, load };
}

Deno.test("msix: a vector is sent where its entry says, once MSI-X is on and it is unmasked", () => {
  const { msix, sent, guest, store } = machine();
  msix.notify(1);
  store(16, 0xfee0_1000, 1, 0x41, 0);
  assert.deepEqual(sent, [], "what came while it was off went by the pin");
  guest.control = MSIX_ENABLE_BIT;
  msix.notify(1);
  msix.notify(3); // there is none
  msix.notify(0xffff);
  assert.deepEqual(sent, [[0x1_fee0_1000n, 0x41]]);
});

Deno.test("msix: masked by its entry or by the function, it is pending, and goes when the mask does", () => {
  const { msix, sent, guest, store, load } = machine();
  guest.control = MSIX_ENABLE_BIT;
  store(32, 0xfee0_0000, 0, 0x42, 1);
  msix.notify(2);
  msix.notify(2);
  assert.deepEqual([load(msix.pendingOffset), sent], [4, []]);
  store(msix.pendingOffset, 0xffff_ffff); // read-only
  assert.equal(load(msix.pendingOffset), 4);
  guest.control |= MSIX_FUNCTION_MASK_BIT;
  store(44, 0);
  assert.equal(sent.length, 0);
  guest.control = MSIX_ENABLE_BIT;
  msix.controlled();
  msix.controlled();
  assert.deepEqual([load(msix.pendingOffset), sent], [0, [[0xfee0_0000n, 0x42]]]);
});

Deno.test("msix: words of 4 and 8 bytes are taken, aligned; others and what is not there are zeros", () => {
  const { msix, store, load } = machine();
  const eight = new Uint8Array(8);
  msix.write(0, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
  msix.read(0, eight);
  assert.deepEqual([...eight], [1, 2, 3, 4, 5, 6, 7, 8]);
  msix.write(4, new Uint8Array(8));
  msix.write(1, new Uint8Array(4));
  msix.write(0, Uint8Array.of(9));
  assert.equal(load(0), 0x04030201);
  assert.equal(load(2), 0);
  store(48, 7); // behind the third entry
  assert.deepEqual([load(48), load(12)], [0, 1]);
});

Deno.test("msix: table and pending bits are carried; a record of other vectors is refused", () => {
  const { msix, store } = machine();
  store(0, 1, 2, 3, 0);
  const saved = JSON.parse(JSON.stringify(msix.save()));
  const other = machine().msix;
  other.restore(msixField(3)(saved, "msix"));
  assert.deepEqual(other.save(), msix.save());
  assert.throws(() => msixField(4)(saved, "msix"), { name: "InputError" });
  msix.reset();
  assert.deepEqual(msix.save().table, [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
});

Deno.test("msix: table and pending bits do not overlap, however many vectors", () => {
  for (const vectors of [1, 2, 65, 128, 129, 2048]) {
    const size = msixSize(vectors);
    assert.ok(Number.isInteger(Math.log2(size)) && 16 * vectors <= size / 2 && vectors / 8 <= size / 2);
  }
});

Deno.test("msix: a message that the hypervisor masks goes, whatever its entry's mask bit says", () => {
  const { msix, sent, guest, store } = machine(
    2,
    (address, data) => address === 0xfee3_7000n && data === 0x700,
  );
  guest.control = MSIX_ENABLE_BIT;
  store(0, 0xfee3_7000, 0, 0x700);
  store(16, 0xfee3_7000, 0, 0x31);
  msix.notify(0);
  msix.notify(1);
  assert.deepEqual(sent, [[0xfee3_7000n, 0x700]]);
  assert.deepEqual(msix.inspect(), { MSIX0: "0x700 to 0xfee37000", MSIX1: "masked, pending" });
  guest.control |= MSIX_FUNCTION_MASK_BIT;
  msix.notify(0);
  assert.equal(sent.length, 1);
});
