import assert from "node:assert/strict";
import fc from "fast-check";
import { disassembler } from "./disassembler.ts";
import { bytesBefore, type DecodeOptions } from "./disassembly.ts";

function hex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/[0-9a-f]{2}/g)!, (byte) => parseInt(byte, 16));
}

async function one(bytes: string, bitness: 16 | 32 | 64, ip = 0x1000n, options: DecodeOptions = {}) {
  return (await disassembler()).decode(hex(bytes), bitness, ip, options);
}

Deno.test("disassembly: text in every width and syntax", async () => {
  assert.equal((await one("488b05f00f0000", 64)).text, "mov rax, [rel 0x1ff7]");
  assert.equal((await one("0fb75c24f8", 32)).text, "movzx ebx, word [esp-8]");
  assert.equal((await one("b80100", 16)).text, "mov ax, 1");
  assert.equal((await one("e6f4", 32, 0n, { syntax: "att" })).text, "out %al, $0xf4");
  assert.equal((await one("f3a4", 16)).mnemonic, "movsb");
});

Deno.test("disassembly: flow and targets", async () => {
  const rows: [bytes: string, bitness: 16 | 32 | 64, flow: string, target?: bigint][] = [
    ["90", 64, "next"],
    ["e8fb000000", 64, "call", 0x1100n],
    ["ffd0", 64, "call"],
    ["ebfe", 32, "jump", 0x1000n],
    ["ffe0", 32, "jump"],
    ["75fe", 32, "conditional", 0x1000n],
    ["e2fe", 32, "conditional", 0x1000n],
    ["c3", 64, "return"],
    ["cf", 32, "return"],
    ["cd80", 32, "interrupt"],
    ["0f0b", 64, "exception"],
    ["e9fbefffff", 32, "jump", 0n],
    ["e9f6dfffff", 32, "jump", 0xfffffffbn - 0x1000n], // wraps at 4 GiB
  ];
  for (const [bytes, bitness, flow, target] of rows) {
    const instruction = await one(bytes, bitness);
    assert.equal(instruction.flow, flow, bytes);
    assert.equal(instruction.target, target, bytes);
  }
});

Deno.test("disassembly: 16-bit branches wrap within the code segment", async () => {
  const near = await one("0f85f0ff", 16, 0xf0004n);
  assert.equal(near.target, 0xffff8n);
  assert.equal(near.text, "jne 0xfff8");
  assert.equal((await one("e9fdef", 16, 0x13000n, { csBase: 0x12340n })).target, 0x12340n + 0xfcc0n);
  const far = await one("ea5be000f0", 16, 0xffff0n, { realMode: true });
  assert.deepEqual([far.far, far.target], [{ selector: 0xf000, offset: 0xe05bn }, 0xfe05bn]);
  assert.equal((await one("ea5be000f0", 16, 0xffff0n)).target, undefined);
});

Deno.test("disassembly: names of targets and of fixed addresses, but not behind FS and GS", async () => {
  const symbol = (address: bigint) => `s_${address.toString(16)}`;
  assert.equal((await one("e8fb000000", 64, 0x1000n, { symbol })).text, "call 0x1100 <s_1100>");
  assert.equal((await one("488b05f00f0000", 64, 0x1000n, { symbol })).text, "mov rax, [rel 0x1ff7] <s_1ff7>");
  assert.equal((await one("65488b042528000000", 64, 0n, { symbol })).text, "mov rax, [gs:0x28]");
  assert.equal((await one("e8fb000000", 64, 0x1000n, { symbol: () => undefined })).text, "call 0x1100");
});

Deno.test("disassembly: what is read and written", async () => {
  const add = await one("014b10", 64); // add [rbx+0x10], ecx
  assert.deepEqual([add.registersRead, add.registersWritten], [["rbx", "ecx"], []]);
  assert.deepEqual(add.memory, [{ access: "read-write", expression: "[rbx+0x10]", size: 4, segment: "ds" }]);
  assert.deepEqual(add.flagsWritten, ["CF", "PF", "AF", "ZF", "SF", "OF"]);
  const load = await one("0fb75c24f8", 32);
  assert.equal(load.memory[0].expression, "ss:[esp-0x8]");
  const scan = await one("f2ae", 32);
  assert.deepEqual([scan.rep, scan.flagsRead], ["repne", ["DF"]]);
  assert.equal((await one("f3a6", 32)).rep, "repe");
  assert.equal((await one("f390", 32)).rep, undefined); // pause
  assert.equal((await one("f4", 64)).isPrivileged, true);
});

Deno.test("disassembly: what does not decode is one bad byte; what is cut off says so", async () => {
  const bad = await one("0690", 64);
  assert.deepEqual([bad.text, bad.length, bad.valid, bad.truncated], ["(bad)", 1, false, false]);
  assert.equal((await one("06", 64)).truncated, false);
  assert.equal((await one("488b", 64)).truncated, true);
  const decoder = await disassembler();
  assert.deepEqual(decoder.list(hex("90 06 c3 48 8b"), 64, 0n, 10).map((i) => i.text), [
    "nop",
    "(bad)",
    "ret",
  ]);
  assert.throws(() => decoder.decode(new Uint8Array(), 64, 0n), RangeError);
});

Deno.test("disassembly: the instructions before an address", async () => {
  const decoder = await disassembler();
  // push rbp; mov rbp, rsp; mov rax, 0x1122334455667788; mov [rbp-8], rax; call +0; nop
  const code = hex("55 4889e5 48b88877665544332211 488945f8 e800000000 90");
  const before = decoder.before(code, 64, 0x1000n, 4);
  assert.deepEqual(before.map((i) => i.mnemonic), ["mov", "mov", "call", "nop"]);
  assert.equal(before[0].address, 0x1004n);
  const last = before[3];
  assert.equal(last.address + BigInt(last.length), 0x1000n + BigInt(code.length));
  assert.equal(decoder.before(hex("9090"), 64, 0n, 5).length, 2);
  assert.deepEqual(decoder.before(new Uint8Array(), 64, 0n, 5), []);
  assert.ok(bytesBefore(3) >= 45);
});

Deno.test("disassembly: random bytes always give a list that covers them", async () => {
  const decoder = await disassembler();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.constantFrom(16, 32, 64), (bytes, bitness) => {
      const list = decoder.list(bytes, bitness as 16 | 32 | 64, 0x7c00n, 100);
      const covered = list.reduce((sum, i) => sum + i.length, 0);
      assert.ok(covered <= bytes.length && bytes.length - covered < 15);
      for (const i of decoder.before(bytes, bitness as 16 | 32 | 64, 0x7c00n, 5)) assert.ok(i.valid);
    }),
    { seed: 9, numRuns: 200 },
  );
});
