import assert from "node:assert/strict";
import { hvm_hw_vpic } from "../abi/xen.ts";
import { DomainInterrupts } from "./interrupts.ts";

/** Xen's 8259 pair as far as edges go: a request falls with its input. */
class Pics {
  readonly records = [new Uint8Array(8), new Uint8Array(8)];
  readonly interrupts = new DomainInterrupts(
    { getRecord: (_domain, _record, instance, into) => into.set(this.records[instance]) },
    {
      setIsaLine: (_domain, line, level) => {
        this.edges.push(level);
        const pic = this.records[line >> 3];
        if (level) pic[hvm_hw_vpic.irr] |= 1 << (line & 7);
        else pic[hvm_hw_vpic.irr] &= ~(1 << (line & 7));
      },
      injectMessage: () => {},
    },
    7,
    1,
    true,
  );
  readonly edges: boolean[] = [];
}

Deno.test("interrupts: an edge is held until the guest takes it; levels, masked and taken ones fall at once", () => {
  const pics = new Pics();
  const [first, second] = pics.records;
  const line = pics.interrupts.line(9);
  line.raise();
  line.lower();
  assert.deepEqual([second[hvm_hw_vpic.irr], pics.edges], [2, [true]]);
  // The next edge is one.
  line.raise();
  assert.deepEqual(pics.edges, [true, false, true]);
  second[hvm_hw_vpic.irr] = 0;
  line.lower();
  assert.deepEqual(pics.edges, [true, false, true, false]);
  for (const register of [hvm_hw_vpic.imr, hvm_hw_vpic.elcr]) {
    first[register] = 1;
    const other = pics.interrupts.line(0);
    other.raise();
    other.lower();
    assert.equal(first[hvm_hw_vpic.irr], 0);
    first[register] = 0;
  }
});
