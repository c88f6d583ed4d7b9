import "../host/preload.ts";
import assert from "node:assert/strict";
import { VM_EVENT_RING } from "../abi/xen.ts";
import type { XenControl } from "../host/xen/control.ts";
import type { EventChannels } from "../host/xen/event_channels.ts";
import { Mapping } from "../host/mapping.ts";
import { Monitor } from "./monitor.ts";

Deno.test("monitor: a page that another listener's ring was in is an empty ring", () => {
  const ring = Mapping.anonymous(4096);
  ring.bytes.fill(0xa5);
  const control = {
    enableMonitor: () => ({ ring, port: 7 }),
    disableMonitor() {},
    monitor: () => true,
  } as unknown as XenControl;
  const channels = { bind: () => 9, unbind() {}, notify() {} } as unknown as EventChannels;
  const monitor = new Monitor({
    control,
    domain: 1,
    vcpus: 1,
    channels,
    change() {},
    setTrapFlag: () => false,
    general: () => [],
  });
  assert.equal(monitor.reported, false);
  const words = new Uint32Array(ring.buffer, 0, 4);
  assert.deepEqual(
    [words[VM_EVENT_RING.req_prod / 4], words[VM_EVENT_RING.rsp_prod / 4]],
    [0, 0],
  );
  // So that the first of each notifies.
  assert.deepEqual([words[VM_EVENT_RING.req_event / 4], words[VM_EVENT_RING.rsp_event / 4]], [1, 1]);
  monitor.close(true);
});
