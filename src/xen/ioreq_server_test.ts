import assert from "node:assert/strict";
import { IoreqServer, type ServerParts } from "./ioreq_server.ts";

/** A server of a domain that is not there; `calls` tells what was asked of Xen. */
function server(calls: string[]): IoreqServer {
  const tell = (name: string) => () => void calls.push(name);
  return new IoreqServer(
    {
      domain: 7,
      vcpus: 1,
      everything: false,
      model: {
        createServer: () => 3,
        claim: () => {},
        enableServer: () => {},
        destroyServer: tell("destroy"),
      },
      foreign: {
        mapRequests: () => ({ view: new DataView(new ArrayBuffer(4096)), [Symbol.dispose]: tell("unmap") }),
      },
      channels: { bind: () => 1, notify: tell("notify") },
      memory: { read: () => {}, write: () => {} },
      rax: () => 0n,
      marks: undefined,
    } satisfies Record<keyof ServerParts, unknown> as unknown as ServerParts,
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
