import "../host/preload.ts";
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import type { NetBacking } from "../vm/net.ts";
import { HostError } from "../host/error.ts";
import { openTap, openUserNet } from "./net.ts";
import { recorded } from "./pcap.ts";

/** A network of libslirp's, or undefined and why. */
function userNet(options: Parameters<typeof openUserNet>[0] = {}): NetBacking | undefined {
  try {
    return openUserNet(options);
  } catch (error) {
    if (!(error instanceof HostError) || !error.message.includes("dlopen")) throw error;
    console.log(`skipped: ${error.message}: ${error.remedy}`);
    return undefined;
  }
}

// libslirp is loaded once and kept, which a test's own check would take for a leak.
userNet()?.[Symbol.dispose]();

const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/** A DHCP DISCOVER (RFC 2131) in UDP, IP and Ethernet. */
function discover(): Uint8Array {
  const dhcp = new Uint8Array(300);
  dhcp.set([1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef]);
  dhcp.set(MAC, 28);
  dhcp.set([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255], 236);
  const frame = new Uint8Array(14 + 20 + 8 + dhcp.length);
  frame.set([255, 255, 255, 255, 255, 255, ...MAC, 8, 0]);
  const ip = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
  ip[2] = (28 + dhcp.length) >> 8;
  ip[3] = (28 + dhcp.length) & 0xff;
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += ip[i] << 8 | ip[i + 1];
  sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
  ip[10] = sum >> 8;
  ip[11] = sum & 0xff;
  frame.set(ip, 14);
  const length = 8 + dhcp.length;
  frame.set([0, 68, 0, 67, length >> 8, length & 0xff, 0, 0], 34);
  frame.set(dhcp, 42);
  return frame;
}

Deno.test("user net: DHCP offers the first address; a recording of both ways is libpcap's", async () => {
  const path = await Deno.makeTempFile();
  try {
    const network = userNet();
    if (network === undefined) return;
    {
      using net = recorded(network, path);
      net.send(discover());
      const answer = net.receive();
      assert.ok(answer, "no offer came");
      assert.deepEqual([...answer.subarray(58, 62)], [10, 0, 2, 15]);
      assert.equal(net.receive(), undefined);
    }
    const bytes = await Deno.readFile(path);
    const view = new DataView(bytes.buffer);
    assert.deepEqual([view.getUint32(0, true), view.getUint32(20, true)], [0xa1b2c3d4, 1]);
    assert.deepEqual(bytes.subarray(40, 40 + 342), discover());
    const second = 40 + 342;
    assert.equal(bytes.length, second + 16 + view.getUint32(second + 8, true));
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("user net: stands frames of any length and content", () => {
  using net = userNet();
  if (net === undefined) return;
  const good = discover();
  let seed = 12345;
  const random = (limit: number) => (seed = (seed * 1103515245 + 12345) & 0x7fff_ffff) % limit;
  for (let i = 0; i < 3000; i++) {
    const frame = good.slice(0, 14 + random(good.length - 13));
    for (let n = random(8); n > 0; n--) frame[random(frame.length)] = random(256);
    net.send(frame);
    if (i % 10 === 0) { while (net.receive() !== undefined); }
  }
});

Deno.test("user net: nothing listens but forwards, on loopback, and they end with it", async () => {
  using probe = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const hostPort = probe.addr.port;
  assert.throws(
    () => userNet({ forwards: [{ hostPort, guestPort: 80 }] })?.[Symbol.dispose]() ?? refused(),
    HostError,
  );
  probe.close();
  {
    using net = userNet({ forwards: [{ hostPort, guestPort: 80 }] });
    if (net === undefined) return;
    using connection = await Deno.connect({ hostname: "127.0.0.1", port: hostPort });
    assert.ok(connection);
  }
  await assert.rejects(Deno.connect({ hostname: "127.0.0.1", port: hostPort }));
  assert.throws(() => openUserNet({ forwards: [{ hostPort: 0, guestPort: 80 }] }), { name: "InputError" });
});

/** Where libslirp is missing there is nothing to refuse a port. */
function refused(): never {
  throw new HostError("dlopen", 0);
}

Deno.test("pcap: a full file ends the recording with a notice, not the network", async () => {
  const path = await Deno.makeTempFile();
  let sent = 0;
  const network: NetBacking = {
    name: "n",
    send: () => void sent++,
    receive: () => undefined,
    [Symbol.dispose]() {},
  };
  try {
    using net = recorded(network, path, 200);
    for (let i = 0; i < 3; i++) net.send(new Uint8Array(60));
    assert.equal(sent, 3);
    assert.match(net.notice?.() ?? "", /records no more/);
    assert.equal(net.notice?.(), undefined);
    assert.equal((await Deno.stat(path)).size, 24 + 2 * 76);
    // No folder can be there: this is a file.
    assert.throws(() => recorded(network, `${path}/file`), { name: "InputError" });
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("tap: a name that can't be is refused", () => {
  assert.throws(() => openTap("a-name-of-more-than-15"), HostError);
});

/** The first frame that comes and is `wanted`. */
async function received(
  receive: () => Uint8Array | undefined,
  wanted: (frame: Uint8Array) => boolean,
): Promise<Uint8Array> {
  for (let tries = 0; tries < 1000; tries++) {
    const frame = receive();
    if (frame !== undefined && wanted(frame)) return frame.slice();
    if (frame === undefined) await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("the frame did not come");
}

/** Whether interfaces can be made here. */
function tapHere(): boolean {
  try {
    openTap("hvshtest9")[Symbol.dispose]();
    return new Deno.Command("ip", { args: ["-V"], stdout: "null" }).outputSync().success;
  } catch {
    return false;
  }
}

Deno.test({
  name: "tap: what the host sends lacks its checksum behind a header that says so, if that was asked for",
  ignore: !tapHere(),
  fn: async () => {
    const name = `hvsh${Deno.pid % 100_000}`;
    const ip = async (...args: string[]) => {
      const { success, stderr } = await new Deno.Command("ip", { args }).output();
      assert.ok(success, new TextDecoder().decode(stderr));
    };
    using tap = openTap(name);
    const unfinished = tap.unfinished!;
    await ip("addr", "add", "198.18.77.1/24", "dev", name);
    await ip("link", "set", name, "up");
    await ip("neigh", "add", "198.18.77.2", "lladdr", "52:54:00:12:34:56", "dev", name);
    const socket = createSocket("udp4");
    const data = new Uint8Array(100).fill(5);
    const FRAME = 14 + 20 + 8 + data.length;
    // The host has something to say on a new interface, too.
    const sent = async (receive: () => Uint8Array | undefined, length: number) => {
      const error = await new Promise((resolve) => socket.send(data, 9, "198.18.77.2", resolve));
      assert.equal(error, null);
      return await received(receive, (frame) => frame.length === length);
    };
    unfinished.accept({ checksum: true, tcp4: true, tcp6: true });
    // VIRTIO_NET_HDR_F_NEEDS_CSUM, from UDP's header on, to its checksum.
    assert.deepEqual(
      [...await sent(() => unfinished.receive(), 12 + FRAME)].slice(0, 10),
      [1, 0, 0, 0, 0, 0, 34, 0, 6, 0],
    );
    unfinished.accept({ checksum: false, tcp4: false, tcp6: false });
    assert.equal((await sent(() => tap.receive(), FRAME))[14], 0x45);
    // Pieces are one frame: a request of ARP (RFC 826), which the host answers.
    const [ours, host] = [[198, 18, 77, 2], [198, 18, 77, 1]];
    const request = Uint8Array.of(...new Array(6).fill(255), ...MAC, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1);
    unfinished.sendv!([
      new Uint8Array(12),
      request.subarray(0, 20),
      request.subarray(20),
      Uint8Array.of(...MAC, ...ours, 0, 0, 0, 0, 0, 0, ...host),
    ]);
    const answered = (frame: Uint8Array) => frame[12] === 8 && frame[13] === 6 && frame[21] === 2;
    assert.deepEqual([...(await received(() => tap.receive(), answered)).subarray(28, 32)], host);
    await new Promise<void>((resolve) => socket.close(resolve));
    await ip("link", "del", name);
    unfinished.accept({ checksum: true, tcp4: true, tcp6: true });
    assert.match(tap.notice?.() ?? "", /is gone/);
  },
});
