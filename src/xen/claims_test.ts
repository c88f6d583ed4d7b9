import assert from "node:assert/strict";
import { ERRNO } from "../abi/errno.ts";
import { HostError } from "../host/error.ts";
import { NO_LINE } from "../vm/device.ts";
import { DomainClaims, DomainPci } from "./claims.ts";
import type { IoreqServer } from "./ioreq_server.ts";

function scene() {
  const told: unknown[] = [];
  const state = { living: true, refusal: undefined as number | undefined };
  const tell = (name: string) => (...args: unknown[]) => {
    if (state.refusal !== undefined) throw new HostError(name, state.refusal);
    told.push([name, ...args]);
  };
  const server = {
    claim: tell("claim"),
    unclaim: tell("unclaim"),
    claimFunction: tell("claimFunction"),
    unclaimFunction: tell("unclaimFunction"),
  } as unknown as IoreqServer;
  return { told, state, parts: { server: () => server, tryHold: () => state.living } };
}

Deno.test("xen claims: the ports of QEMU's host bridge stay its own", () => {
  const { told, state, parts } = scene();
  for (const bridge of [true, false]) {
    const claims = new DomainClaims(parts, bridge);
    claims.claim("port", 0xcf8n, 0xcffn);
    claims.claim("mmio", 0xcf8n, 0xcffn);
    claims.release("port", 0xcf8n, 0xcffn);
  }
  assert.deepEqual(told.splice(0), [
    ["claim", "mmio", 0xcf8n, 0xcffn],
    ["claim", "port", 0xcf8n, 0xcffn],
    ["claim", "mmio", 0xcf8n, 0xcffn],
    ["unclaim", "port", 0xcf8n, 0xcffn],
  ]);
  state.living = false;
  new DomainClaims(parts, true).release("port", 0x300n, 0x30fn);
  assert.deepEqual(told, []);
});

Deno.test("xen claims: a range over the debugger's own ports is one that a device can't have, and no failure", () => {
  const { state, parts } = scene();
  const claims = new DomainClaims(parts, true);
  state.refusal = ERRNO.EEXIST;
  assert.throws(() => claims.claim("port", 0xe0n, 0xefn), { name: "InputError", message: /0xe0 to 0xef/ });
  state.refusal = ERRNO.EINVAL;
  assert.throws(() => claims.claim("port", 0xe0n, 0xefn), { name: "EINVAL" });
});

Deno.test("xen claims: a PCI slot is claimed at the server, and given back while there is a domain", async () => {
  const { told, state, parts } = scene();
  const pci = new DomainPci({
    ...parts,
    domain: 7,
    configured: false,
    taken: (domain) => Promise.resolve(new Set([domain])),
    interrupts: { pin: (slot, pin) => (told.push(["pin", slot, pin]), NO_LINE) },
  });
  assert.deepEqual([...await pci.taken()], [7]);
  pci.claim(31);
  pci.release(31);
  pci.line(31, 2);
  state.living = false;
  pci.release(31);
  assert.deepEqual(told, [["claimFunction", 31, 0], ["unclaimFunction", 31, 0], ["pin", 31, 2]]);
});
