/** The GDB server as a client sees it that says what it likes: sharing, leaving, refusing, bounds. */
import assert from "node:assert/strict";
import "../src/host/preload.ts";
import { elf, flat, type GdbServer, gpa, type GuestMachine, gva, open } from "../mod.ts";
import { framePacket } from "../src/abi/rsp.ts";
import { serveGdb } from "../src/gdb/server.ts";
import { heed } from "../src/vm/promise.ts";
import { GdbClient, monitor } from "./gdb_client.ts";

/** In real mode at 0x1000: inc ax; jmp 0x1000. */
const LOOP = Uint8Array.of(0x40, 0xeb, 0xfd);

interface Served {
  readonly vm: GuestMachine;
  readonly server: GdbServer;
  readonly told: string[];
}

/** The guest of the test that runs, for its monitor. */
let machine: GuestMachine | undefined;

async function served(
  body: (parts: Served) => Promise<void>,
  code = LOOP,
  run?: (line: string) => Promise<string>,
): Promise<void> {
  await using vm = await open({ backend: "fake", boot: flat(code, { at: 0x1000 }) });
  const told: string[] = [];
  await using server = await vm.gdbServer({ tell: (text) => told.push(text), ...(run && { monitor: run }) });
  machine = vm;
  await body({ vm, server, told });
}

/** Waits until something is so that happens by itself. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 2));
}

const rip = async (vm: GuestMachine) => (await vm.vcpus[0].registers()).rip;

Deno.test("gdb server: what it offers, and where it listens", () =>
  served(async ({ server }) => {
    assert.match(server.address, /^127\.0\.0\.1:\d+$/);
    await using client = await GdbClient.connect(server.address);
    const offered = (await client.ask("qSupported:multiprocess+"))!;
    const size = parseInt(/PacketSize=([0-9a-f]+)/.exec(offered)![1], 16);
    assert.ok(size >= 64 * 1024);
    for (
      const feature of ["QStartNoAckMode+", "multiprocess+", "vContSupported+", "ConditionalBreakpoints+"]
        .concat([
          "qXfer:features:read+",
          "qXfer:memory-map:read+",
          "qXfer:threads:read+",
          "swbreak+",
          "hwbreak+",
        ])
    ) assert.ok(offered.split(";").includes(feature), feature);
    assert.equal(client.acks, 1);
    assert.equal(await client.ask("QStartNoAckMode"), "OK");
    await client.raw("+");
    const acks = client.acks;
    assert.equal(await client.ask("vCont?"), "vCont;c;C;s;S;r");
    assert.equal(client.acks, acks);
    assert.equal(await client.ask("vMustReplyEmpty"), "");
    assert.match((await client.ask("qXfer:threads:read::0,1000"))!, /^l<\?xml[^]*<thread id="p1.1"/);
    assert.match((await client.ask("qXfer:memory-map:read::0,1000"))!, /^l<\?xml[^]*type="ram"/);
    const low = "start:0;size:100000000000000;permissions:rwx;";
    assert.equal(await client.ask("qMemoryRegionInfo:7fffffffffff"), low);
    const hole = "start:100000000000000;size:fe00000000000000;";
    assert.equal(await client.ask("qMemoryRegionInfo:8000000000000000"), hole);
    const high = "start:ff00000000000000;size:ffffffffffffff;permissions:rwx;";
    assert.equal(await client.ask("qMemoryRegionInfo:ffffffffffffffff"), high);
    assert.equal(await client.ask("qMemoryRegionInfo:10000000000000000"), "E16");
    // Documents come in parts.
    let description = "";
    for (let at = 0, more = true; more; at = description.length) {
      const part = (await client.ask(`qXfer:features:read:target.xml:${at.toString(16)},200`))!;
      more = part[0] === "m";
      description += part.slice(1);
    }
    assert.match(description, /^<\?xml[^]*i386:x86-64[^]*<\/target>\n$/);
    assert.equal(await client.ask("qXfer:features:read:other.xml:0,100"), "E00");
  }));

Deno.test("gdb server: memory, by digits and as bytes, up to the last byte there is", () =>
  served(async ({ vm, server }) => {
    await using client = await GdbClient.start(server.address);
    assert.equal(await client.ask("m1000,3"), "40ebfd");
    assert.equal(await client.ask("M2000,4:23247d2a"), "OK");
    assert.deepEqual([...await vm.memory.read(gpa(0x2000n), 4)], [0x23, 0x24, 0x7d, 0x2a]);
    assert.equal(await client.ask("x2000,4"), "b#$}*");
    assert.equal(await client.ask("X3000,2:#$"), "OK");
    assert.equal(await client.ask("m3000,2"), "2324");
    assert.equal(await client.ask("X3000,0:"), "OK");
    const { start, size } = vm.memory.regions.findLast(({ readOnly }) => !readOnly)!;
    const end = start + size;
    assert.equal(await client.ask(`m${(end - 2n).toString(16)},8`), "0000");
    assert.equal(await client.ask(`m${end.toString(16)},8`), "E0e");
    assert.equal(await client.ask("mffffffffffffffff,ffffffff"), "E0e");
    assert.equal(await client.ask(`M${end.toString(16)},1:00`), "E0e");
    assert.equal(await client.ask("M1000,2:00"), "E16");
    assert.equal(await client.ask("Mffffffffffffffff,2:0000"), "E0e");
    assert.equal((await client.ask("m0,ffffffffffff"))!.length > 65536, true);
    // lldb's way: asked for by an empty read, it wants the bytes alone.
    assert.equal(await client.ask("x0,0"), "OK");
    assert.equal(await client.ask("x1000,3"), "\x40\xeb\xfd");
    assert.equal(await client.ask("qqemu.PhyMemMode"), "0");
    assert.equal(await client.ask("Qqemu.PhyMemMode:1"), "OK");
    assert.equal(await client.ask("qqemu.PhyMemMode"), "1");
    assert.equal(await client.ask("m1000,3"), "40ebfd");
  }));

Deno.test("gdb server: registers are read and written, all and one by one", () =>
  served(async ({ vm, server }) => {
    await using client = await GdbClient.start(server.address);
    assert.equal(await client.ask("p10"), "0010000000000000");
    assert.equal(await client.ask("P0=2a00000000000000"), "OK");
    assert.equal((await vm.vcpus[0].registers()).rax, 42n);
    const all = (await client.ask("g"))!;
    assert.equal(all.slice(0, 16), "2a00000000000000");
    assert.equal(await client.ask(`G2b${all.slice(2)}`), "OK");
    assert.equal((await vm.vcpus[0].registers()).rax, 43n);
    for (const wrong of ["p999", "P0=00", "P=", "G00", "pxyz", "P0"]) {
      assert.equal(await client.ask(wrong), "E16", wrong);
    }
  }));

Deno.test("gdb server: a step and a range, and the registers in their stop replies", () =>
  served(async ({ server }) => {
    await using client = await GdbClient.start(server.address);
    assert.match((await client.ask("?"))!, /^T05thread:p1\.1;10:0010000000000000;/);
    assert.match((await client.ask("vCont;s:p1.1;c"))!, /^T05thread:p1\.1;10:0110000000000000;/);
    // The range is the jump; behind it lies the increment.
    assert.match((await client.ask("vCont;r1001,1003:p1.1"))!, /^T05thread:p1\.1;10:0010000000000000;/);
    assert.match((await client.ask("s"))!, /10:0110000000000000;/);
    assert.match((await client.ask("s1000"))!, /10:0110000000000000;/);
    assert.equal(await client.ask("Hc1"), "OK");
    assert.match((await client.ask("S05"))!, /10:0010000000000000;/);
    assert.equal(await client.ask("T2"), "E16");
    assert.equal(await client.ask("qfThreadInfo"), "mp1.1");
    assert.equal(await client.ask("qsThreadInfo"), "l");
    assert.equal(await client.ask("qAttached:1"), "1");
  }));

Deno.test("gdb server: breakpoints by software and hardware, and their conditions", () =>
  served(async ({ vm, server }) => {
    await using client = await GdbClient.start(server.address);
    for (const [type, reason] of [[0, "swbreak"], [1, "hwbreak"]] as const) {
      assert.equal(await client.ask(`Z${type},1001,1`), "OK");
      assert.equal([...vm.breakpoints].length, 1);
      assert.ok((await client.ask("vCont;c"))!.startsWith(`T05thread:p1.1;${reason}:;10:0110`));
      assert.equal(await client.ask(`z${type},1001,1`), "OK");
      assert.equal(await client.ask(`z${type},1001,1`), "OK");
      assert.equal([...vm.breakpoints].length, 0);
    }
    // rax == 0x20: reg 0, const8 0x20, equal, end; then other conditions for the same breakpoint.
    await vm.vcpus[0].setRegisters({ rax: 0n });
    assert.equal(await client.ask("Z0,1001,1;X7,26000022201327"), "OK");
    await client.ask("vCont;c");
    assert.equal((await vm.vcpus[0].registers()).rax, 0x20n);
    assert.equal(await client.ask("Z0,1001,1;X7,26000022301327X7,26000022281327"), "OK");
    await client.ask("vCont;c");
    assert.equal((await vm.vcpus[0].registers()).rax, 0x28n);
    assert.equal([...vm.breakpoints].length, 1);
    // A condition that makes no sense stops, as gdb's own do.
    assert.equal(await client.ask("Z0,1001,1;X1,ff"), "OK");
    await client.ask("vCont;c");
    assert.equal((await vm.vcpus[0].registers()).rax, 0x29n);
    for (
      const wrong of [
        "Z9,1,1",
        "Z0,1001",
        "Z0,xyz,1",
        "Z0,1001,1;X5,00",
        "Z0,1001,1;cmds:0",
        "Z2,1000,1000",
        "Z2,1000,0",
      ]
    ) {
      assert.match((await client.ask(wrong))!, /^E16$/, wrong);
    }
  }));

Deno.test("gdb server: watchpoints of any size, and what they say", () =>
  // mov [0x2003], al; mov al, [0x2003]; jmp 0x1000
  served(async ({ vm, server }) => {
    await using client = await GdbClient.start(server.address);
    assert.equal(await client.ask("Z2,2001,5"), "OK"); // pieces: 1, 2, 2
    assert.equal([...vm.breakpoints].length, 3);
    assert.match((await client.ask("vCont;c"))!, /^T05thread:p1\.1;watch:200[23];10:0310/);
    assert.equal(await client.ask("z2,2001,5"), "OK");
    assert.equal(await client.ask("Z3,2003,1"), "", "gdb makes one of accesses");
    assert.equal(await client.ask("Z4,2003,1"), "OK");
    assert.match((await client.ask("vCont;c"))!, /^T05thread:p1\.1;awatch:2003;10:0610/);
    assert.equal(await client.ask("z3,2003,1"), "OK");
    assert.equal(await client.ask("Z4,2003,1"), "OK");
    assert.match((await client.ask("vCont;c"))!, /^T05thread:p1\.1;awatch:2003;10:0310/);
    assert.equal([...vm.breakpoints].length, 1);
  }, Uint8Array.of(0xa2, 0x03, 0x20, 0xa0, 0x03, 0x20, 0xeb, 0xf8)));

Deno.test("gdb server: a Ctrl-C stops the run that was asked for before it, however many packets wait", () => {
  const released = Promise.withResolvers<string>();
  const called = Promise.withResolvers<void>();
  return served(
    async ({ server }) => {
      await using client = await GdbClient.start(server.address);
      // All of it comes while the first packet is being answered.
      await client.raw(Uint8Array.of(
        ...framePacket(new TextEncoder().encode("qRcmd,78")),
        ...framePacket(new TextEncoder().encode("vCont;c")),
        3,
        ...framePacket(new TextEncoder().encode("qC")),
      ));
      await called.promise;
      setTimeout(() => released.resolve(""));
      assert.equal(await client.reply(), "OK");
      assert.match((await client.reply())!, /^T02/);
      assert.equal(await client.reply(), "QCp1.1");
      // Those behind it run on.
      await client.send("vCont;c");
      await until(() => machine!.state === "running");
      await client.raw("\x03");
      assert.match((await client.reply())!, /^T02/);
    },
    LOOP,
    () => {
      called.resolve();
      return released.promise;
    },
  );
});

Deno.test("gdb server: Ctrl-C stops the guest, for gdb and for the script", () =>
  served(async ({ vm, server }) => {
    await using client = await GdbClient.start(server.address);
    const stops = vm.stops();
    await client.send("vCont;c");
    await until(() => vm.state === "running");
    await client.raw("\x03");
    assert.match((await client.reply())!, /^T02thread:p1\.1;/);
    assert.equal((await stops.next()).value.kind, "pause");
    assert.equal(vm.state, "paused");
    // Sent right behind the resume, in the same bytes, it is not lost.
    await client.raw("$vCont;c#a8\x03");
    assert.match((await client.reply())!, /^T02thread:p1\.1;/);
    // Sent to a guest that stands it means nothing.
    await client.raw("\x03");
    assert.equal(await client.ask("qC"), "QCp1.1");
    assert.equal(vm.state, "paused");
    await stops.return?.();
  }));

Deno.test("gdb server: what the script stops, gdb sees; what the script runs, gdb joins", () =>
  served(async ({ vm, server }) => {
    await using client = await GdbClient.start(server.address);
    await client.send("vCont;c");
    await until(() => vm.state === "running");
    await assert.rejects(vm.continue(), { name: "StateError" });
    await vm.pause();
    assert.match((await client.reply())!, /^T02/);

    const breakpoint = await vm.breakpoints.add(gva(0x1001n));
    await client.send("c");
    assert.match((await client.reply())!, /^T05thread:p1\.1;10:0110/); // not one of gdb's: no swbreak
    await breakpoint.remove();

    const running = vm.continue();
    assert.equal(await client.ask("g"), "E10"); // EBUSY
    assert.equal(await client.ask("m1000,3"), "40ebfd");
    const stops = vm.stops.bind(vm);
    let joined = false;
    vm.stops = () => {
      joined = true;
      return stops();
    };
    await client.send("vCont;c");
    await client.send("qC"); // waits for its turn
    await until(() => joined);
    await vm.pause();
    assert.equal((await running).kind, "pause");
    assert.match((await client.reply())!, /^T02/);
    assert.equal(await client.reply(), "QCp1.1");
  }));

Deno.test("gdb server: a guest that runs keeps no packet waiting", () => {
  let answered = Promise.withResolvers<void>();
  return served(
    async ({ vm, server }) => {
      const client = await Deno.connect({ port: Number(server.address.split(":")[1]) });
      const asked = () => client.write(framePacket(new TextEncoder().encode("qRcmd,00")));
      await asked();
      await answered.promise;
      const running = vm.continue();
      let [turns, late] = [0, 0];
      using _counted = heed(() => (turns++, false));
      for (let i = 0; i < 10; i++) {
        answered = Promise.withResolvers();
        // Behind an answer the server waits a moment for the next packet, and looks by itself.
        await new Promise((resolve) => setTimeout(resolve, 30));
        const before = turns;
        await asked();
        await answered.promise;
        late += turns - before;
      }
      await vm.pause();
      await running;
      client.close();
      // Deno looks at its sockets once in 61 turns of a busy event loop.
      assert.ok(late < 60, `${late} turns`);
    },
    LOOP,
    () => {
      answered.resolve();
      return Promise.resolve("");
    },
  );
});

Deno.test("gdb server: a second client is told why it can't be served; the first goes on", () =>
  served(async ({ server, told }) => {
    await using first = await GdbClient.start(server.address);
    await using second = await GdbClient.connect(server.address);
    assert.match((await second.ask("qSupported"))!, /^E\.another debugger/);
    assert.match((await second.ask("vMustReplyEmpty"))!, /^E\.another debugger/); // what gdb gives up by
    assert.equal(await second.next(), undefined);
    await using silent = await GdbClient.connect(server.address);
    assert.equal(await silent.next(), undefined); // it never said a word: hung up on
    assert.equal(await first.ask("qC"), "QCp1.1");
    assert.equal(told.filter((text) => text.includes("refused")).length, 2);
  }));

Deno.test("gdb server: a client that comes back at once, while its breakpoints are taken out, is served", () =>
  served(async ({ vm, server }) => {
    {
      await using client = await GdbClient.start(server.address);
      for (let at = 0x1800; at < 0x1800 + 200; at++) await client.ask(`Z0,${at.toString(16)},1`);
      await client.send("vCont;c");
      await until(() => vm.state === "running");
    }
    await using again = await GdbClient.connect(server.address);
    assert.match((await again.ask("qSupported"))!, /^PacketSize=/);
    assert.equal(await again.ask("qC"), "QC1");
    assert.equal([...vm.breakpoints].length, 0);
  }));

Deno.test("gdb server: a client that vanishes leaves the guest as it was, without its breakpoints", () =>
  served(async ({ vm, server, told }) => {
    const gone = () => until(() => told.some((text) => text.includes("has left")));
    {
      await using client = await GdbClient.start(server.address);
      await client.ask("Z0,1001,1");
      await client.ask("Z2,2000,4");
      await client.ask("P0=2a00000000000000");
    }
    await gone();
    assert.equal([...vm.breakpoints].length, 0);
    assert.deepEqual([...await vm.memory.read(gpa(0x1000n), 3)], [...LOOP]);
    assert.equal((await vm.vcpus[0].registers()).rax, 42n);
    assert.equal(await rip(vm), 0x1000n);

    // Gone while the guest runs: it runs on.
    told.length = 0;
    {
      await using client = await GdbClient.start(server.address);
      await client.ask("Z0,1800,1");
      await client.send("vCont;c");
      await until(() => vm.state === "running");
    }
    await gone();
    assert.equal(vm.state, "running");
    assert.equal([...vm.breakpoints].length, 0);
    assert.equal((await vm.pause()).kind, "pause");

    // Gone in the middle of a packet.
    told.length = 0;
    {
      await using client = await GdbClient.start(server.address);
      await client.raw("$M1000,3:9090");
    }
    await gone();
    assert.deepEqual([...await vm.memory.read(gpa(0x1000n), 3)], [...LOOP]);
  }));

Deno.test("gdb server: detach lets go on what ran when gdb came, and only that", () =>
  served(async ({ vm, server }) => {
    {
      await using client = await GdbClient.start(server.address);
      await client.ask("Z0,1001,1");
      assert.equal(await client.ask("D;1"), "OK");
      assert.equal(await client.next(), undefined);
    }
    assert.equal(vm.state, "paused");
    assert.equal([...vm.breakpoints].length, 0);

    const running = vm.continue();
    {
      await using client = await GdbClient.start(server.address);
      assert.equal((await running).kind, "pause"); // gdb's coming stopped it
      assert.equal(await client.ask("D"), "OK");
      assert.equal(await client.next(), undefined);
    }
    await until(() => vm.state === "running");
    await vm.pause();
  }));

Deno.test("gdb server: kill closes the guest", () =>
  served(async ({ vm, server }) => {
    await using client = await GdbClient.start(server.address);
    assert.equal(await client.ask("vKill;1"), "OK");
    assert.equal(await client.next(), undefined);
    await until(() => vm.state === "closed");
    await assert.rejects(vm.gdbServer(), { name: "StateError" });
  }));

Deno.test("gdb server: the end of a guest, in gdb's words", async () => {
  await using vm = await open({
    backend: "fake",
    boot: elf(new URL("../fixtures/elf64.bin", import.meta.url)),
  });
  await using server = await vm.gdbServer();
  await using client = await GdbClient.start(server.address);
  assert.equal(await client.ask("vCont;c"), "W6f;process:1"); // sum 55: (55 << 1) | 1
  assert.match((await client.ask("vRun;"))!, /^T05thread:p1\.1;10:0000200000000000/);
  assert.equal(await client.ask("vCont;c"), "W6f;process:1");
});

Deno.test("gdb server: monitor runs commands, long ones and failing ones", () =>
  served(
    async ({ vm, server }) => {
      await using client = await GdbClient.start(server.address);
      assert.equal(await monitor(client, "echo é"), "é\n");
      assert.equal(await monitor(client, "fail"), "it failed; try another\n");
      assert.equal((await monitor(client, "long")).length, 100_001);
      assert.equal(await monitor(client, "nothing"), "");
      // A command may let the guest run; Ctrl-C stops it.
      const done = monitor(client, "run");
      await until(() => vm.state === "running");
      await client.raw("\x03");
      assert.equal(await done, "stopped: pause\n");
    },
    LOOP,
    async (line) => {
      if (line === "fail") throw Object.assign(new Error("it failed"), { remedy: "try another" });
      if (line === "long") return "x".repeat(100_000);
      if (line === "run") return `stopped: ${(await machine!.continue()).kind}`;
      return line === "nothing" ? "" : line.replace("echo ", "");
    },
  ));

Deno.test("gdb server: without commands monitor says so", () =>
  served(async ({ server }) => {
    await using client = await GdbClient.start(server.address);
    assert.match(await monitor(client, "regs"), /no commands here/);
  }));

Deno.test("gdb server: broken packets are asked for again, or answered, and never obeyed", () =>
  served(async ({ vm, server }) => {
    await using client = await GdbClient.connect(server.address);
    await client.raw("$M1000,1:90#00");
    await client.raw("$M1000,1:9$qC#b4");
    assert.equal(await client.next(), "QC1");
    assert.deepEqual([client.naks, client.acks], [1, 1]);
    await client.raw("-");
    assert.equal(await client.next(), "QC1"); // sent again
    await client.raw(`$${"m".repeat(0x40001)}#00`);
    assert.equal(await client.next(), "E07");
    for (let i = 0; i < 20; i++) await client.raw("-");
    // It takes no answer: thrown out after some more.
    let again = 0;
    for (let packet; (packet = await client.next()) !== undefined; again++) assert.equal(packet, "E07");
    assert.ok(again <= 16);
    assert.deepEqual([...await vm.memory.read(gpa(0x1000n), 3)], [...LOOP]);
  }));

Deno.test("gdb server: a flood that waits for nothing is cut off, and the guest can be stopped", () =>
  served(async ({ vm, server, told }) => {
    await using client = await GdbClient.start(server.address);
    await client.send("vCont;c");
    await until(() => vm.state === "running");
    await client.raw("$g#67".repeat(2000)).catch(() => {});
    assert.equal(await client.next(), undefined);
    assert.ok(told.some((text) => text.includes("without waiting")));
    assert.equal(vm.state, "running");
    assert.equal((await vm.pause()).kind, "pause");
  }));

Deno.test("gdb server: what a browser was made to send is no client, whatever packets stand in it", async () => {
  const ran: string[] = [];
  const run = (line: string) => Promise.resolve(String(ran.push(line)));
  await served(
    async ({ server, told }) => {
      await using browser = await GdbClient.connect(server.address);
      const body = new TextDecoder().decode(framePacket(new TextEncoder().encode(`qRcmd,${"68".repeat(4)}`)));
      await browser.raw(`POST / HTTP/1.1\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      assert.equal(await browser.next(), undefined);
      assert.ok(told.some((text) => text.includes("does not speak gdb's protocol")));
      assert.deepEqual(ran, []);
      await using client = await GdbClient.start(server.address);
      assert.equal(await client.ask("qC"), "QCp1.1");
    },
    LOOP,
    run,
  );
});

Deno.test("gdb server: a client that hung up before it was taken in keeps out no other", async () => {
  await using vm = await open({ backend: "fake", boot: flat(LOOP, { at: 0x1000 }) });
  const told: string[] = [];
  let clients = 0;
  await using server = serveGdb(vm, { tell: (text) => told.push(text) }, () => {
    // What the host says of a socket that was reset.
    if (clients++ === 0) throw new Deno.errors.NotConnected("Transport endpoint is not connected");
    return undefined;
  });
  await using first = await GdbClient.connect(server.address);
  assert.equal(await first.next(), undefined);
  await using second = await GdbClient.connect(server.address);
  assert.equal(await second.ask("qC"), "QC1");
  assert.match(told[0], /can't be served: Transport endpoint/);
});

Deno.test("gdb server: over a Unix socket, which is removed at the end", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/gdb.sock`;
    await using vm = await open({ backend: "fake", boot: flat(LOOP, { at: 0x1000 }) });
    {
      await using server = await vm.gdbServer({ path });
      assert.equal(server.address, path);
      const client = new GdbClient(await Deno.connect({ transport: "unix", path }));
      assert.equal(await client.ask("qC"), "QC1");
      await client[Symbol.asyncDispose]();
      await assert.rejects(vm.gdbServer({ path }), { name: "InputError" });
    }
    assert.deepEqual([...Deno.readDirSync(folder)], []);
    await assert.rejects(vm.gdbServer({ path: `${folder}/none/x` }), { name: "InputError" });
    await assert.rejects(vm.gdbServer({ port: 70000 }), { name: "InputError" });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("gdb server: closing it, or the guest, hangs up on a client whose guest runs", async () => {
  await using vm = await open({ backend: "fake", boot: flat(LOOP, { at: 0x1000 }) });
  const server = await vm.gdbServer();
  {
    await using client = await GdbClient.start(server.address);
    await client.send("vCont;c");
    await until(() => vm.state === "running");
    await server.close();
    await server.close();
    assert.equal(await client.next(), undefined);
    assert.equal(vm.state, "running");
    await vm.pause();
  }
  const second = await vm.gdbServer();
  await using client = await GdbClient.start(second.address);
  await client.send("vCont;c");
  await until(() => vm.state === "running");
  await vm.close();
  // It may be told that the guest was killed, before it is hung up on.
  const told = await client.reply();
  if (told !== undefined) {
    assert.equal(told, "X09;process:1");
    assert.equal(await client.next(), undefined);
  }
});

Deno.test("gdb server: two vCPUs are two threads, each with its registers and steps", async () => {
  await using vm = await open({ backend: "fake", cpus: 2, boot: flat(LOOP, { at: 0x1000 }) });
  await using server = await vm.gdbServer();
  await using client = await GdbClient.start(server.address);
  assert.equal(await client.ask("qfThreadInfo"), "mp1.1,p1.2");
  assert.match((await client.ask("qXfer:threads:read::0,1000"))!, /p1\.2/);
  assert.equal(await client.ask("Hgp1.2"), "OK");
  await vm.vcpus[1].setRegisters({ rip: 0x1000n, cs: 0n, cs_base: 0n });
  assert.equal(await client.ask("p10"), "0010000000000000");
  assert.match((await client.ask("vCont;s:p1.2;c"))!, /^T05thread:p1\.2;10:0110/);
  assert.equal(await rip(vm), 0x1000n);
  // One of them alone runs, by steps; Ctrl-C stops it.
  await client.send("vCont;c:p1.1");
  await until(() => vm.state === "running");
  await client.raw("\x03");
  assert.match((await client.reply())!, /^T02thread:p1\.1/);
  assert.equal((await vm.vcpus[1].registers()).rip, 0x1001n);
});
