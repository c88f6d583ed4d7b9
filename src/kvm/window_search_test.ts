import assert from "node:assert/strict";
import { kvm_irqchip, kvm_pic_state } from "./abi.ts";
import { picAsks } from "./pic_request.ts";
import { WindowSearch } from "./window_search.ts";

/** Does the steps of a search, all in vain but one. */
function look(search: WindowSearch, takesAt?: number): number {
  search.begin();
  let steps = 0;
  while (search.left > 0) search.stepped(++steps === takesAt);
  return steps;
}

Deno.test("a search for an interrupt window ends where there is one, and the next slice is short", () => {
  const search = new WindowSearch();
  assert.equal(search.due(), true);
  assert.equal(look(search, 7), 7);
  assert.equal(search.soon, true);
  assert.equal(search.due(), true);
  assert.equal(search.soon, false);
});

Deno.test("searches in vain are ever more seldom, and not for ever", () => {
  const search = new WindowSearch();
  const rests: number[] = [];
  for (let i = 0; i < 8; i++) {
    assert.equal(look(search), WindowSearch.STEPS);
    let rest = 0;
    while (!search.due()) rest++;
    rests.push(rest);
  }
  assert.deepEqual(rests, [1, 3, 7, 8, 8, 8, 8, 8]);
  look(search, 1);
  assert.equal(search.due(), true);
});

Deno.test("an 8259 pair asks for what is not masked and more urgent than what is in service", () => {
  const pic = (state: { irr?: number; imr?: number; isr?: number; priority_add?: number }) => {
    const chip = kvm_irqchip.encode({ chip_id: 0 });
    const view = new DataView(chip.buffer, kvm_irqchip.offsets.chip);
    kvm_pic_state.write(view, { ...kvm_pic_state.read(view), ...state });
    return chip;
  };
  const idle = pic({});
  assert.equal(picAsks(idle, idle), false);
  assert.equal(picAsks(pic({ irr: 0x40 }), idle), true);
  assert.equal(picAsks(pic({ irr: 0x40, imr: 0x40 }), idle), false);
  assert.equal(picAsks(pic({ irr: 0x40, isr: 0x01 }), idle), false);
  assert.equal(picAsks(pic({ irr: 0x01, isr: 0x40 }), idle), true);
  assert.equal(picAsks(pic({ irr: 0x40, isr: 0x01, priority_add: 4 }), idle), true);
  assert.equal(picAsks(idle, pic({ irr: 0x10 })), true);
  assert.equal(picAsks(pic({ imr: 0x04 }), pic({ irr: 0x10 })), false);
  assert.equal(picAsks(pic({ irr: 0x04 }), idle), false);
});
