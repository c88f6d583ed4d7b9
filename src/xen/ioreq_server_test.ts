import assert from "node:assert/strict";
import { ioreq, XEN } from "../abi/xen.ts";
import { IoreqServer, type ServerParts } from "./ioreq_server.ts";

/** A server of a domain that is not there; `calls` tells what was asked of Xen. */
function server(
  calls: string[],
  view = new DataView(new ArrayBuffer(4096)),
  left?: number,
  everything = false,
): IoreqServer {
  const tell = (name: string) => () => void calls.push(name);
  return new IoreqServer(
    {
      domain: 7,
      vcpus: 1,
      everything,
      model: {
        createServer: () => 3,
        claim: () => {},
        claimFunction: (...place: number[]) => void calls.push(`function ${place}`),
        unclaimFunction: (...place: number[]) => void calls.push(`no function ${place}`),
        enableServer: () => {},
        destroyServer: tell("destroy"),
      },
      foreign: {
        mapRequests: () => ({ view, [Symbol.dispose]: tell("unmap") }),
      },
      channels: { bind: () => 1, notify: tell("notify") },
      memory: { read: () => {}, write: () => {} },
      rax: () => 0n,
      marks: undefined,
      rewind: (vcpu: number, port: number) => void calls.push(`rewind ${vcpu} 0x${port.toString(16)}`),
    } satisfies Record<keyof ServerParts, unknown> as unknown as ServerParts,
    left,
  );
}

Deno.test("ioreq server: closed, it leaves the domain and unmaps its page, once", () => {
  const calls: string[] = [];
  const it = server(calls);
  it.close(true);
  it.close(true);
  assert.deepEqual(calls, ["unmap", "destroy"]);
});

Deno.test("ioreq server: the page of a domain that is gone is unmapped, or Xen would keep what is left of it", () => {
  const calls: string[] = [];
  server(calls).close(false);
  assert.deepEqual(calls, ["unmap"]);
});

Deno.test("ioreq server: closed, it sends back who executed an OUT of the debugger's that nobody has heard of", () => {
  const out = (port: number) => {
    const view = new DataView(new ArrayBuffer(4096));
    const { addr, count, size, bits, type } = ioreq.offsets;
    view.setBigUint64(addr, BigInt(port), true);
    view.setUint32(count, 1, true);
    view.setUint32(size, 1, true);
    view.setUint8(type, XEN.IOREQ_TYPE_PIO);
    view.setUint8(bits, XEN.STATE_IOREQ_READY);
    return view;
  };
  const calls: string[] = [];
  server(calls, out(0xee)).close(true);
  assert.deepEqual(calls.splice(0), ["rewind 0 0xee", "notify", "unmap", "destroy"]);
  server(calls, out(0x80)).close(true);
  assert.deepEqual(calls.splice(0), ["notify", "unmap", "destroy"]);
  // The debugger has put it back to the breakpoint already.
  const it = server(calls, out(0xee));
  it.take();
  it.request(0)!.moved = true;
  it.close(true);
  assert.deepEqual(calls.splice(0), ["notify", "unmap", "destroy"]);
  // Taken over from a process that is no more, with its request.
  const view = out(0x80);
  view.setUint8(ioreq.offsets.bits, XEN.STATE_IOREQ_INPROCESS);
  const left = server(calls, view, 3);
  assert.equal(left.take()?.exit.kind, "io-out");
  left.close(true);
  assert.deepEqual(calls, ["notify", "unmap", "destroy"]);
});

Deno.test("ioreq server: PCI functions of bus 0 are claimed when the guest first names them, where all comes here", () => {
  const view = new DataView(new ArrayBuffer(4096));
  const { addr, data, count, size, type, bits } = ioreq.offsets;
  view.setBigUint64(addr, 0xcf8n, true);
  view.setUint32(count, 1, true);
  view.setUint32(size, 4, true);
  view.setUint8(type, XEN.IOREQ_TYPE_PIO);
  const calls: string[] = [];
  for (const everything of [true, false]) {
    const it = server(calls, view, undefined, everything);
    // Slot 3, function 1, twice; bus 1; not enabled.
    for (const address of [0x8000_1900n, 0x8000_1904n, 0x8001_1900n, 0x0000_2000n]) {
      view.setBigUint64(data, address, true);
      view.setUint8(bits, XEN.STATE_IOREQ_READY);
      it.take();
      it.answer(0);
    }
  }
  assert.deepEqual(calls.filter((call) => call !== "notify"), ["function 7,3,3,1"]);
});

Deno.test("ioreq server: a PCI function is claimed and given back by its place", () => {
  const calls: string[] = [];
  const it = server(calls);
  it.claimFunction(31, 0);
  it.unclaimFunction(31, 0);
  assert.deepEqual(calls, ["function 7,3,31,0", "no function 7,3,31,0"]);
});
