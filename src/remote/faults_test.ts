/** A stub that lies, answers late, never, or with rubbish; a monitor that floods. */
import assert from "node:assert/strict";
import { InputError, StateError } from "../vm/errors.ts";
import { attachStub } from "./attach.ts";
import { GdbConnection } from "./connection.ts";
import { FAKE_WAITER, FakeStream, fakeStub } from "./fake_stub.ts";
import { GoneError } from "./gone.ts";
import { Links } from "./link.ts";
import { packet } from "./packets.ts";
import { QmpConnection, QmpError } from "./qmp.ts";
import { Session } from "./session.ts";
import { parseStopReply } from "./stop_reply.ts";
import { readTargetDescription } from "./target_xml.ts";

const PATIENCE_MS = 20;

function connect(stream: FakeStream): GdbConnection {
  return new GdbConnection(new Links(FAKE_WAITER), stream, PATIENCE_MS);
}

const XML = `<?xml version="1.0"?><!-- <reg name="no"/> --><target><architecture>i386:x86-64</architecture>
<feature name="core"><reg name="rax" bitsize="64"/><reg name='eflags' bitsize='32' regnum='0x10'/></feature></target>`;

Deno.test("a stub that never answers, answers twice or hangs up is given up, with the reason", () => {
  const silent = connect(fakeStub(() => undefined));
  assert.throws(() => silent.request("?"), /did not answer "\?" within/);
  assert.throws(() => silent.request("g"), GoneError, "a late answer would be taken for another's");
  const gone = fakeStub(() => undefined);
  const connection = connect(gone);
  gone.close();
  assert.throws(() => connection.request("?"), /closed the connection/);
  const flood = fakeStub(() => undefined);
  const flooded = connect(flood);
  for (let i = 0; i < 2000; i++) flood.give(packet("T05"));
  assert.throws(() => {
    for (let i = 0; i < 3000; i++) {
      flooded.next(0);
      flooded.post("g");
    }
  }, /floods/);
});

Deno.test("who attaches to what does not answer is told that another one may be attached", async () => {
  const stub = fakeStub(() => undefined);
  stub.close();
  const gdb = () => Promise.resolve(stub);
  const said = (remedy: RegExp) => (error: unknown) =>
    error instanceof GoneError && remedy.test(String(error.remedy));
  await assert.rejects(() => attachStub({ gdb }, FAKE_WAITER), said(/one debugger at a time/));
  await assert.rejects(() => attachStub({ gdb, qmp: stub }, FAKE_WAITER), said(/greets one at a time/));
});

Deno.test("broken packets are asked for again, and not for ever", () => {
  let broken = 2;
  const hurt = fakeStub(() => undefined);
  const stub = new FakeStream((text, stream) => {
    if (!/^[$+-]/.test(text)) return;
    stream.give(broken-- > 0 ? "$OK#00" : packet("OK"));
  });
  const again = connect(stub);
  assert.equal(again.request("?"), "OK");
  assert.deepEqual(stub.sent, ["$?#3f", "-", "-"]);
  again.request("?");
  assert.deepEqual(stub.sent.slice(3), ["+$?#3f"]);
  const connection = connect(hurt);
  for (let i = 0; i < 20; i++) hurt.give("$OK#00");
  assert.throws(() => connection.request("?"), /does not keep to the protocol/);
  const noise = fakeStub(() => undefined);
  const noisy = connect(noise);
  noise.give("rubbish, and no packet at all");
  assert.throws(() => noisy.request("?"), GoneError);
});

Deno.test("answers are kept in order, a window at a time", () => {
  let most = 0;
  let open = 0;
  const stream = fakeStub((payload) => {
    if (payload === "QStartNoAckMode") return "OK";
    most = Math.max(most, ++open);
    return payload.slice(1);
  });
  const connection = connect(stream);
  connection.withoutAcks();
  const asked = Array.from({ length: 100 }, (_, i) => `m${i}`);
  assert.deepEqual(connection.requests(asked), asked.map((payload) => payload.slice(1)));
  assert.ok(most > 1);
});

Deno.test("target.xml: registers with numbers, sizes and offsets; comments do not count", () => {
  const { architecture, registers } = readTargetDescription(() => XML);
  assert.equal(architecture, "i386:x86-64");
  assert.deepEqual(registers, [
    { name: "rax", number: 0, size: 8, offset: 0 },
    { name: "eflags", number: 16, size: 4, offset: 8 },
  ]);
});

Deno.test("a target.xml that lies is refused, and takes neither time nor memory", () => {
  const reg = (attributes: string) => `<target><reg ${attributes}/></target>`;
  const lies = [
    "",
    "<target>",
    "<!-- no end",
    "<target><reg",
    reg(`name="rax"`),
    reg(`name="rax" bitsize="7"`),
    reg(`name="rax" bitsize="1e9"`),
    reg(`name="rax" bitsize="-8"`),
    reg(`name="${"x".repeat(1000)}" bitsize="8"`),
    reg(`name="a" bitsize="8" regnum="99999999"`),
    `<reg name="a" bitsize="8"/><reg name="a" bitsize="8"/>`,
    `<reg name="a" bitsize="8" regnum="1"/><reg name="b" bitsize="8" regnum="1"/>`,
    Array.from({ length: 5000 }, (_, i) => `<reg name="r${i}" bitsize="8"/>`).join(""),
    `<xi:include href="../../etc/passwd"/>`,
    `<xi:include href="target.xml"/>`,
    "x".repeat((1 << 20) + 1),
  ];
  for (const lie of lies) {
    assert.throws(() => readTargetDescription(() => lie), InputError, lie.slice(0, 40));
  }
});

Deno.test("stop replies: signals, threads, watchpoints, ends; anything else is none", () => {
  assert.deepEqual(parseStopReply("T05thread:p01.01;watch:1234;"), {
    kind: "signal",
    signal: 5,
    thread: "p01.01",
    watch: { address: 0x1234n, access: "write" },
  });
  assert.equal(parseStopReply("W2f")?.kind, "ended");
  assert.deepEqual(parseStopReply("S02"), { kind: "signal", signal: 2 });
  for (const other of ["", "OK", "E01", "Tzz", "O41"]) assert.equal(parseStopReply(other), undefined);
});

/** A stub as QEMU's answers, where `lies` does not say otherwise. */
function stub(lies: Readonly<Record<string, string>> = {}): FakeStream {
  return fakeStub((payload) => {
    const lie = Object.entries(lies).find(([start]) => payload.startsWith(start));
    if (lie !== undefined) return lie[1];
    if (payload.startsWith("qSupported")) return "PacketSize=1000;qXfer:features:read+";
    if (payload.startsWith("qXfer")) return `l${XML}`;
    if (payload === "?") return "T05thread:01;";
    if (payload === "qfThreadInfo") return "m01,02";
    if (payload === "qsThreadInfo") return "l";
    if (payload === "vCont?") return "vCont;c;C;s;S";
    if (payload === "qqemu.PhyMemMode") return "0";
    if (payload === "qqemu.sstepbits") return "ENABLE=1,NOIRQ=2,NOTIMER=4";
    if (payload.startsWith("vCont;c")) return undefined;
    if (payload === "\x03") return "T02thread:01;";
    return "OK";
  });
}

Deno.test("a session knows threads and features, runs and stops", () => {
  const session = new Session(connect(stub()));
  assert.deepEqual(session.threads, ["01", "02"]);
  assert.deepEqual(session.features, { packetSize: 0x1000, vCont: true, physical: true, stepBits: 7 });
  session.resume();
  assert.equal(session.running, true);
  assert.equal(session.poll(0), undefined);
  session.halt();
  assert.equal(session.running, false);
  session.close();
  assert.throws(() => session.requireOpen(), StateError);
});

Deno.test("a stub with wrong answers at the start is refused", () => {
  const wrong: Readonly<Record<string, string>>[] = [
    { "?": "W00" },
    { "?": "OK" },
    { qfThreadInfo: "l" },
    { qfThreadInfo: "m../x" },
    { qXfer: "E00" },
    { qXfer: "m" },
    { qSupported: "" },
  ];
  for (const lies of wrong) {
    assert.throws(() => new Session(connect(stub(lies))), /makes no sense|no guest|describe/);
  }
  const endless = new Session(connect(stub({ PacketSize: "" })));
  assert.ok(endless.features.packetSize >= 64);
});

Deno.test("a guest that does not stop when asked to is gone", () => {
  const session = new Session(connect(stub({ "\x03": "O41" })), PATIENCE_MS);
  session.resume();
  assert.throws(() => session.halt(), GoneError);
});

/** A monitor that greets, and answers commands by a function. */
function monitor(answer: (command: string, id: number, stream: FakeStream) => void): FakeStream {
  const stream: FakeStream = new FakeStream((text, self) => {
    const { execute, id } = JSON.parse(text) as { execute: string; id: number };
    if (execute === "qmp_capabilities") self.give(`{"return": {}, "id": ${id}}\r\n`);
    else answer(execute, id, self);
  });
  stream.give('{"QMP": {"version": {"qemu": {"micro": 1, "minor": 2, "major": 7}}}}\r\n');
  return stream;
}

Deno.test("the monitor: answers by their id, refusals in QEMU's words, events aside", () => {
  const stream = monitor((command, id, self) => {
    self.give('{"event": "STOP", "data": {}}\n{"return": "late", "id": 0}\n');
    self.give(command === "bad" ? `{"error": {"class": "GenericError", "desc": "no"}, "id": ${id}}\n` : "");
    self.give(command === "good" ? `{"return": {"x": 1}, "id": ${id}}\n` : "");
  });
  const qmp = new QmpConnection(new Links(FAKE_WAITER), stream, PATIENCE_MS);
  assert.equal(qmp.version, "7.2.1");
  assert.deepEqual(qmp.execute("good"), { x: 1 });
  assert.throws(
    () => qmp.execute("bad"),
    (error) => error instanceof QmpError && /QEMU refuses bad: no/.test(error.message),
  );
  assert.equal(qmp.event("STOP")?.event, "STOP");
  assert.equal(qmp.event("RESET"), undefined);
  assert.throws(() => qmp.execute("never"), /did not answer never/);
});

Deno.test("a flood of events is bounded, and the newest are kept", () => {
  const stream = monitor(() => {});
  const qmp = new QmpConnection(new Links(FAKE_WAITER), stream, PATIENCE_MS);
  for (let i = 0; i < 10_000; i++) stream.give(`{"event": "RTC_CHANGE", "data": {"offset": ${i}}}\n`);
  stream.give('{"event": "SHUTDOWN", "data": {"reason": "guest-reset"}}\n');
  assert.equal(qmp.event("SHUTDOWN", 1)?.data.reason, "guest-reset");
  assert.ok(qmp.dropped > 9000);
});

Deno.test("what is no QMP is given up", () => {
  for (const text of ["not json\n", "x".repeat(9 << 20)]) {
    const stream = monitor((_, __, self) => self.give(text));
    const qmp = new QmpConnection(new Links(FAKE_WAITER), stream, PATIENCE_MS);
    assert.throws(() => qmp.execute("anything"), GoneError);
  }
  const mute = new FakeStream(() => {});
  assert.throws(() => new QmpConnection(new Links(FAKE_WAITER), mute, PATIENCE_MS), GoneError);
});
