import assert from "node:assert/strict";
import { type BreakpointOptions, FaultError, gpa, gva, InputError, type Machine } from "../../mod.ts";
import {
  type Case,
  CODE,
  type Context,
  DATA,
  ended,
  group,
  hex,
  NotHere,
  orRefused,
  pointer,
  refused,
  until,
} from "./case.ts";

const at = (offset: number) => BigInt(CODE + offset);

/** inc al; nop; loop back to it, (R)CX times; cli; hlt. LOOP_BODY is the NOP. */
const LOOP = "fec0 90 e2fb fa f4";
const LOOP_BODY = gva(CODE + 2);

const KINDS = ["software", "hardware", "auto"] as const;
const HOW = { software: ["int3", "hlt", "out", "remote"], hardware: ["hardware"], auto: undefined } as const;

/** Runs `body` with a looping guest for each kind of breakpoint that is to be had. */
async function eachKind(
  c: Context,
  body: (vm: Machine, kind: (typeof KINDS)[number]) => Promise<void>,
  code = LOOP,
): Promise<void> {
  let tried = 0;
  for (const kind of KINDS) {
    // Closed before the next is opened, which can then have its domain where making one takes long.
    await using vm = await c.guest({
      code,
      registers: { rax: 0n, rcx: 3n, ...pointer(DATA, c.backend.mode) },
    });
    const probe = await orRefused(() => vm.breakpoints.add(LOOP_BODY, { kind }));
    if (probe === undefined) continue;
    await probe.remove();
    tried++;
    await body(vm, kind);
  }
  assert.ok(tried > 0, "no kind of breakpoint is to be had");
}

const low = (value: bigint) => value & 0xffn;

/** Execute breakpoints. */
export const BREAKPOINT_CASES: readonly Case[] = group("breakpoints", {
  "stop before the instruction, each time it is reached": async (c) => {
    await eachKind(c, async (vm, kind) => {
      const bp = await vm.breakpoints.add(LOOP_BODY, { kind });
      assert.ok(HOW[kind]?.includes(bp.how as never) ?? true, `${kind} is held by ${bp.how}`);
      for (const round of [1n, 2n, 3n]) {
        const stop = await until(vm, "breakpoint");
        assert.equal(stop.breakpoint, bp);
        assert.deepEqual([stop.rip, low(stop.registers.rax)], [at(2), round], kind);
        assert.equal(bp.hits, Number(round));
      }
      const end = await ended(c, vm);
      assert.equal(low(end.registers.rax), 3n, "every instruction ran once");
    });
  },

  "don't show in memory": async (c) => {
    await eachKind(c, async (vm, kind) => {
      const bytes = hex(LOOP);
      await vm.breakpoints.add(LOOP_BODY, { kind });
      await until(vm, "breakpoint");
      assert.deepEqual(await vm.memory.read(gpa(CODE), bytes.length), bytes);
      assert.deepEqual(await vm.vcpus[0].memory.read(gva(CODE), bytes.length), bytes);
      assert.deepEqual(await vm.memory.search(bytes), [BigInt(CODE)]);
    });
  },

  "stay when the debugger writes over them, and what was written is there when they go": async (c) => {
    await eachKind(c, async (vm, kind) => {
      const bp = await vm.breakpoints.add(LOOP_BODY, { kind });
      await vm.memory.write(gpa(CODE + 1), hex("c1 f8")); // inc al becomes inc cl, NOP becomes CLC
      const stop = await until(vm, "breakpoint");
      assert.deepEqual([stop.rip, low(stop.registers.rcx)], [at(2), 4n]);
      assert.deepEqual(await vm.memory.read(gpa(CODE), 3), hex("fe c1 f8"));
      await bp.remove();
      assert.deepEqual(await vm.memory.read(gpa(CODE), 3), hex("fe c1 f8"));
      assert.equal((await vm.step()).rip, at(3));
    });
  },

  "survive the guest's own writes over them": async (c) => {
    // mov [target], al with AL = 0xF8 (CLC); nop; the target, at +3, is STC; cli; hlt
    const code = "8807 90 f9 fa f4";
    await eachKind(c, async (vm, kind) => {
      await vm.vcpus[0].setRegisters({ ...pointer(CODE + 3, c.backend.mode), rax: 0xf8n });
      const target = await vm.breakpoints.add(gva(CODE + 3), { kind });
      if (await orRefused(() => vm.breakpoints.add(LOOP_BODY, { kind })) === undefined) return;
      assert.equal((await until(vm, "breakpoint")).rip, at(2));
      assert.equal(await vm.memory.readUint(at(3), 1), 0xf8n, `${kind}: what the guest wrote is read`);
      assert.equal((await until(vm, "breakpoint")).breakpoint, target);
      await vm.step();
      assert.equal((await vm.vcpus[0].registers()).rflags & 1n, 0n, "what the guest wrote is run");
      await target.remove();
      assert.equal(await vm.memory.readUint(at(3), 1), 0xf8n);
    }, code);
  },

  "with once go after the first stop": async (c) => {
    await eachKind(c, async (vm, kind) => {
      await vm.breakpoints.add(LOOP_BODY, { kind, once: true });
      const { registers } = await until(vm, "breakpoint");
      assert.deepEqual([...vm.breakpoints], []);
      assert.equal(typeof registers.xcr0, "bigint", "what a stop tells of is not lost with its breakpoint");
      await ended(c, vm);
    });
  },

  "with ignore pass over the first hits": async (c) => {
    await eachKind(c, async (vm, kind) => {
      const bp = await vm.breakpoints.add(LOOP_BODY, { kind, ignore: 2 });
      assert.equal(low((await until(vm, "breakpoint")).registers.rax), 3n);
      assert.equal(bp.hits, 3);
      assert.equal(bp.ignore, 0);
    });
  },

  "with cr3 stop in that address space alone": async (c) => {
    await eachKind(c, async (vm, kind) => {
      const { cr3 } = await vm.vcpus[0].registers();
      await vm.breakpoints.add(LOOP_BODY, { kind, cr3: cr3 ^ 0x7000n });
      const own = await vm.breakpoints.add(LOOP_BODY, { kind, cr3 });
      assert.equal((await until(vm, "breakpoint")).breakpoint, own);
      await own.remove();
      await ended(c, vm);
    });
  },

  "can be at guest-physical addresses": async (c) => {
    const vm = await c.guest({ code: LOOP, registers: { rax: 0n, rcx: 2n } });
    const bp = await orRefused(() => vm.breakpoints.add(gpa(CODE + 2)));
    if (bp === undefined) throw new NotHere("no breakpoints at guest-physical addresses");
    assert.equal(bp.space, "gpa");
    const stop = await until(vm, "breakpoint");
    assert.equal(stop.rip, at(2));
  },

  "with a condition stop when it is true; it sees registers and memory": async (c) => {
    await eachKind(c, async (vm, kind) => {
      const seen: bigint[] = [];
      const bp = await vm.breakpoints.add(LOOP_BODY, {
        kind,
        condition: (hit) => {
          seen.push(low(hit.registers.rax));
          assert.deepEqual(
            [...hit.read(gva(CODE), 3)],
            [0xfe, 0xc0, 0x90],
            "breakpoints don't show here either",
          );
          assert.equal(hit.readUint(gpa(CODE), 2), 0xc0fen);
          assert.equal(hit.vcpu.index, 0);
          return hit.hits === 2;
        },
      });
      const stop = await until(vm, "breakpoint");
      assert.equal(low(stop.registers.rax), 2n);
      assert.deepEqual([seen, bp.hits, bp.matches], [[1n, 2n], 2, 1]);
      await ended(c, vm);
      assert.deepEqual([bp.hits, bp.matches], [3, 1]);
    });
  },

  "with a condition that gives a Promise wait for it": async (c) => {
    await eachKind(c, async (vm, kind) => {
      const condition: BreakpointOptions["condition"] = async (hit) => {
        const rax = low(hit.registers.rax);
        await new Promise((resolve) => setTimeout(resolve, 1));
        return rax === 2n;
      };
      await vm.breakpoints.add(LOOP_BODY, { kind, condition });
      assert.equal(low((await until(vm, "breakpoint")).registers.rax), 2n);
      await ended(c, vm);
    });
  },

  "with a condition that throws stop with a fault, and the guest lives on": async (c) => {
    await eachKind(c, async (vm, kind) => {
      const problem = new Error("from the condition");
      const bp = await vm.breakpoints.add(LOOP_BODY, {
        kind,
        condition: () => {
          throw problem;
        },
      });
      const stop = await until(vm, "fault");
      assert.match(stop.reason, /from the condition/);
      assert.equal(stop.rip, at(2));
      bp.condition = undefined;
      await bp.remove();
      assert.equal(low((await ended(c, vm)).registers.rax), 3n);
    });
  },

  "may stand on neighbouring instructions": async (c) => {
    await eachKind(c, async (vm, kind) => {
      for (const offset of [0, 1, 2]) {
        const bp = await orRefused(() => vm.breakpoints.add(gva(CODE + 4 + offset), { kind }));
        if (bp === undefined) return assert.notEqual(offset, 0);
      }
      for (const offset of [0, 1, 2]) assert.equal((await until(vm, "breakpoint")).rip, at(4 + offset));
      await vm.breakpoints.clear();
      assert.deepEqual(await vm.memory.read(gpa(CODE + 4), 3), hex("f8 f9 f8"));
      await ended(c, vm);
    }, "fec0 90 90 f8 f9 f8 fa f4");
  },

  "on a jump to itself stop once for each continue": async (c) => {
    await eachKind(c, async (vm, kind) => {
      const bp = await vm.breakpoints.add(LOOP_BODY, { kind });
      for (let i = 1; i <= 5; i++) {
        assert.equal((await until(vm, "breakpoint")).rip, at(2));
        assert.equal(bp.hits, i);
      }
    }, "fec0 ebfe");
  },

  "that are removed or switched off don't stop": async (c) => {
    await eachKind(c, async (vm, kind) => {
      const bp = await vm.breakpoints.add(LOOP_BODY, { kind });
      await until(vm, "breakpoint");
      await bp.enable(false);
      assert.equal(bp.enabled, false);
      await bp.enable(true);
      assert.equal(low((await until(vm, "breakpoint")).registers.rax), 2n);
      await bp.remove();
      await bp.remove();
      assert.deepEqual([...vm.breakpoints], []);
      if (vm.memory.view) assert.deepEqual([...vm.memory.view(gpa(CODE), 3)], [0xfe, 0xc0, 0x90]);
      await ended(c, vm);
    });
  },

  "at one address are independent of each other": async (c) => {
    await eachKind(c, async (vm, kind) => {
      const first = await vm.breakpoints.add(LOOP_BODY, { kind });
      const second = await vm.breakpoints.add(LOOP_BODY, { kind });
      assert.notEqual(first.id, second.id);
      await until(vm, "breakpoint");
      await first.remove();
      assert.equal((await until(vm, "breakpoint")).breakpoint, second);
      await second.remove();
      await ended(c, vm);
    });
  },

  "have a number, are listed, and go with their scope": async (c) => {
    const vm = await c.guest({ code: LOOP, registers: { rcx: 2n } });
    {
      await using bp = await vm.breakpoints.add(LOOP_BODY);
      assert.equal(vm.breakpoints.get(bp.id), bp);
      assert.deepEqual([...vm.breakpoints], [bp]);
    }
    assert.deepEqual([...vm.breakpoints], []);
    assert.equal(vm.breakpoints.get(1), undefined);
    await ended(c, vm);
  },

  "are found when the vCPU is sent to them, before anything runs": async (c) => {
    await eachKind(c, async (vm, kind) => {
      await vm.breakpoints.add(gva(CODE), { kind });
      const stop = await until(vm, "breakpoint");
      assert.deepEqual([stop.rip, low(stop.registers.rax)], [at(0), 0n]);
      await ended(c, vm);
    }, "fec0 90 fa f4");
  },

  "leave the guest's own INT3 to the guest": {
    modes: ["real"],
    async run(c) {
      await eachKind(c, async (vm, kind) => {
        await vm.memory.writeUint(gpa(4 * 3), 4, 0x2000n);
        await vm.memory.write(gpa(0x2000), hex("fec4 cf")); // inc ah; iret
        await vm.vcpus[0].setRegisters({ rsp: 0x3000n });
        await vm.breakpoints.add(LOOP_BODY, { kind });
        assert.equal((await until(vm, "breakpoint")).registers.rax, 0n);
        const stop = await ended(c, vm);
        assert.equal(stop.registers.rax, 0x200n, "the handler ran for each INT3, once");
        await vm.vcpus[0].setRegisters({ rip: at(4) });
        assert.equal((await vm.step()).rip, 0x2000n, "a step goes into it");
      }, "90 90 90 cc cc fa f4");
    },
  },

  "of the hardware kind are four at most": async (c) => {
    const vm = await c.guest({ code: "90 90 90 90 90 90 fa f4" });
    const first = await orRefused(() => vm.breakpoints.add(gva(CODE), { kind: "hardware" }));
    if (first === undefined) throw new NotHere("no breakpoints by debug register");
    for (const offset of [1, 2, 3]) await vm.breakpoints.add(gva(CODE + offset), { kind: "hardware" });
    const fifth = await orRefused(() => vm.breakpoints.add(gva(CODE + 4), { kind: "hardware" }));
    assert.equal(fifth, undefined);
    for (const offset of [0, 1, 2, 3]) assert.equal((await until(vm, "breakpoint")).rip, at(offset));
  },

  "on a page that is not mapped are refused, unless a debug register holds them": {
    modes: ["long"],
    async run(c) {
      const vm = await c.guest({ code: LOOP, mode: "long" });
      await refused(FaultError, async () => {
        // Without any way to patch this is an UnsupportedError, which counts as refused too.
        if (await orRefused(() => vm.breakpoints.add(LOOP_BODY, { kind: "software" })) === undefined) {
          throw new FaultError("no software breakpoints", { address: 0n, space: "gva" }, {
            remedy: "use hardware",
          });
        }
        await vm.breakpoints.add(gva(1n << 40n), { kind: "software" });
      });
    },
  },

  "that make no sense are refused": async (c) => {
    const vm = await c.guest({ code: LOOP });
    await refused(InputError, () => vm.breakpoints.add(gva(DATA), { access: "write", size: 3 as 2 }));
    await refused(InputError, () => vm.breakpoints.add(LOOP_BODY, { ignore: -1 }));
    await refused(InputError, () => vm.breakpoints.add(LOOP_BODY, { vcpu: 4 }));
    assert.deepEqual([...vm.breakpoints], []);
  },

  "let a guest run at its own pace: nothing but them stops it": async (c) => {
    await eachKind(c, async (vm, kind) => {
      await vm.vcpus[0].setRegisters({ rcx: 100n });
      const bp = await vm.breakpoints.add(LOOP_BODY, { kind, condition: () => false });
      await ended(c, vm);
      assert.equal(bp.hits, 100);
    });
  },
});
