import assert from "node:assert/strict";
import { EXIT, FLAG } from "./abi.ts";
import * as abi from "./abi.ts";
import { ExitDecoder } from "./exit.ts";
import { AT } from "./run_page.ts";
import type { Layout } from "../abi/layout.ts";

/** A shared page that a test fills as KVM would. */
function page() {
  const buffer = new ArrayBuffer(3 * 4096);
  const views = {
    bytes: new Uint8Array(buffer),
    words32: new Uint32Array(buffer),
    words64: new BigUint64Array(buffer),
  };
  const view = new DataView(buffer);
  return {
    ...views,
    decoder: new ExitDecoder(views),
    exit<W>(reason: number, layout: Layout<unknown, W>, value: W) {
      views.words32[AT.reason / 4] = reason;
      layout.write(view, value, AT.exit);
    },
  };
}

Deno.test("port exits show direction, port, size and count, and a view of the data in the page", () => {
  const p = page();
  p.exit(EXIT.IO, abi.exit_io, {
    direction: FLAG.EXIT_IO_OUT,
    size: 2,
    port: 0xfffe,
    count: 3,
    data_offset: 4096n,
  });
  p.bytes.set([1, 2, 3, 4, 5, 6], 4096);
  const out = p.decoder.decode();
  assert.ok(out.kind === "io-out");
  assert.deepEqual([out.port, out.size, out.count, [...out.data]], [0xfffe, 2, 3, [1, 2, 3, 4, 5, 6]]);
  p.exit(EXIT.IO, abi.exit_io, {
    direction: FLAG.EXIT_IO_IN,
    size: 4,
    port: 0xcfc,
    count: 1,
    data_offset: 8192n,
  });
  const read = p.decoder.decode();
  assert.ok(read.kind === "io-in");
  read.data.set([9, 8, 7, 6]);
  assert.deepEqual([...p.bytes.subarray(8192, 8196)], [9, 8, 7, 6]);
});

Deno.test("MMIO exits show address and data, whose answer lands in the page", () => {
  const p = page();
  p.exit(EXIT.MMIO, abi.exit_mmio, { phys_addr: 0xfee0_0000_1234n, len: 4, is_write: 0 });
  const read = p.decoder.decode();
  assert.ok(read.kind === "mmio-read");
  assert.equal(read.address, 0xfee0_0000_1234n);
  read.data.fill(0x5a);
  assert.deepEqual([...p.bytes.subarray(AT.exit + 8, AT.exit + 16)], [0x5a, 0x5a, 0x5a, 0x5a, 0, 0, 0, 0]);
  p.exit(EXIT.MMIO, abi.exit_mmio, { data: Uint8Array.of(1, 2), len: 2, is_write: 1 });
  const write = p.decoder.decode();
  assert.ok(write.kind === "mmio-write");
  assert.deepEqual([...write.data], [1, 2]);
  // A length that KVM never gives must not reach beyond the eight bytes.
  p.exit(EXIT.MMIO, abi.exit_mmio, { len: 400, is_write: 1 });
  const long = p.decoder.decode();
  assert.ok(long.kind === "mmio-write" && long.data.length === 8);
});

Deno.test("MSR exits show index and reason, take an answer, and can fail", () => {
  const p = page();
  p.exit(EXIT.X86_RDMSR, abi.exit_msr, { error: 1, reason: FLAG.MSR_EXIT_REASON_FILTER, index: 0xc000_0080 });
  const read = p.decoder.decode();
  assert.ok(read.kind === "msr-read");
  assert.deepEqual([read.index, read.reason, read.data.length], [0xc000_0080, "filter", 8]);
  read.data[0] = 7;
  const at = AT.exit + abi.exit_msr.offsets.data;
  assert.equal(p.bytes[at], 7);
  assert.equal(p.bytes[AT.exit], 0, "an error left from before must not stay");
  read.fail();
  assert.equal(p.bytes[AT.exit], 1);
  p.exit(EXIT.X86_WRMSR, abi.exit_msr, { reason: FLAG.MSR_EXIT_REASON_UNKNOWN, index: 1, data: 5n });
  const write = p.decoder.decode();
  assert.ok(write.kind === "msr-write" && write.reason === "unknown" && write.data[0] === 5);
  p.exit(EXIT.X86_WRMSR, abi.exit_msr, { reason: FLAG.MSR_EXIT_REASON_INVAL, index: 1, data: 5n });
  const invalid = p.decoder.decode();
  assert.ok(invalid.kind === "msr-write" && invalid.reason === "invalid");
});

Deno.test("debug exits show vector, address and DR6", () => {
  const p = page();
  p.exit(EXIT.DEBUG, abi.exit_debug, { arch: { exception: 3, pc: 0x1234n, dr6: 0xffff0ff1n } });
  const exit = p.decoder.decode();
  assert.ok(exit.kind === "debug");
  const { exception, pc, dr6, hits } = exit;
  assert.deepEqual({ exception, pc, dr6, hits }, { exception: 3, pc: 0x1234n, dr6: 0xffff0ff1n, hits: 1 });
});

Deno.test("an emulation failure shows its bytes only where the flags say that they are there", () => {
  const p = page();
  const failure = {
    suberror: FLAG.INTERNAL_ERROR_EMULATION,
    ndata: 3,
    flags: 1n,
    insn_size: 3,
    insn_bytes: Uint8Array.of(0x0f, 0x0b, 0xc3, 0x90),
  };
  p.exit(EXIT.INTERNAL_ERROR, abi.exit_emulation_failure, failure);
  const told = p.decoder.decode();
  assert.ok(told.kind === "internal-error");
  assert.deepEqual([told.suberror, [...told.bytes!]], [1, [0x0f, 0x0b, 0xc3]]);
  p.exit(EXIT.INTERNAL_ERROR, abi.exit_emulation_failure, { ...failure, insn_size: 200 });
  const bounded = p.decoder.decode();
  assert.ok(bounded.kind === "internal-error" && bounded.bytes!.length === 15);
  for (const silent of [{ flags: 0n }, { ndata: 0 }, { suberror: FLAG.INTERNAL_ERROR_DELIVERY_EV }]) {
    p.exit(EXIT.INTERNAL_ERROR, abi.exit_emulation_failure, { ...failure, ...silent });
    const exit = p.decoder.decode();
    assert.ok(exit.kind === "internal-error" && exit.bytes === undefined);
    assert.ok(exit.reason.length > 0);
  }
});

Deno.test("system events name what the guest asked for", () => {
  const p = page();
  const event = (type: number) => {
    p.exit(EXIT.SYSTEM_EVENT, abi.exit_system_event, { type, ndata: 1, data: [0xabn] });
    const exit = p.decoder.decode();
    assert.ok(exit.kind === "system-event");
    return [exit.event, exit.detail];
  };
  assert.deepEqual(event(1), ["poweroff", "KVM system event 1 0xab"]);
  assert.equal(event(2)[0], "reset");
  assert.equal(event(3)[0], "crash");
  assert.equal(event(77)[0], "other");
});

Deno.test("the small exits, and the remainder with its number", () => {
  const p = page();
  const kindOf = (reason: number) => {
    p.words32[AT.reason / 4] = reason;
    return p.decoder.decode();
  };
  assert.equal(kindOf(EXIT.HLT).kind, "halt");
  assert.equal(kindOf(EXIT.SHUTDOWN).kind, "shutdown");
  assert.equal(kindOf(EXIT.IRQ_WINDOW_OPEN).kind, "irq-window");
  assert.equal(kindOf(EXIT.INTR).kind, "slice");
  p.words64[AT.exit / 8] = 0x8000_0021n;
  assert.deepEqual(kindOf(EXIT.FAIL_ENTRY), { kind: "fail-entry", reason: 0x8000_0021n });
  assert.match((kindOf(EXIT.UNKNOWN) as { reason: string }).reason, /2147483681/);
  assert.deepEqual(kindOf(999), { kind: "unsupported", reason: "KVM exit reason 999" });
});
