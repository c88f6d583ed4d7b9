import assert from "node:assert/strict";
import { evtchn_status, EVTCHNSTAT, GTF, vcpu_guest_context, XEN } from "../abi/xen.ts";
import { channelsOf, decodeChannel, decodeGrants, decodePv, storeOf } from "./details.ts";

Deno.test("details: xenstore's folder is told with all below it; folders without a value are not", () => {
  const tree: Record<string, string | undefined> = {
    "/local/domain/7/name": "web1",
    "/local/domain/7/console": "",
    "/local/domain/7/console/tty": "/dev/pts/1",
    "/local/domain/7/console/type": "xenconsoled",
    // Its neighbour's.
    "/local/domain/70/name": "other",
  };
  const store = {
    read: (path: string) => tree[path],
    list: (path: string) =>
      Object.keys(tree).filter((key) => key.startsWith(`${path}/`))
        .map((key) => key.slice(path.length + 1)).filter((name) => !name.includes("/")),
  };
  assert.deepEqual(storeOf(store, "/local/domain/7"), [
    { path: "console/tty", value: "/dev/pts/1" },
    { path: "console/type", value: "xenconsoled" },
    { path: "name", value: "web1" },
  ]);
});

Deno.test("details: a folder that never ends is told of in part", () => {
  const endless = { read: () => "x", list: () => ["a", "b"] };
  assert.equal(storeOf(endless, "/local/domain/7").length, 10_000);
});

Deno.test("details: each kind of event channel", () => {
  const status = (kind: number, ...u: number[]) => {
    const view = new DataView(new ArrayBuffer(24));
    [9, kind, 1].forEach((word, i) => view.setUint32(4 + 4 * i, word, true));
    u.forEach((word, i) => view.setUint32(16 + 4 * i, word, true));
    return decodeChannel(view);
  };
  const common = { port: 9, vcpu: 1 };
  assert.equal(status(EVTCHNSTAT.closed), undefined);
  assert.deepEqual(status(EVTCHNSTAT.unbound, 3), { ...common, kind: "unbound", domain: 3 });
  assert.deepEqual(status(EVTCHNSTAT.interdomain, 3, 44), {
    ...common,
    ...{ kind: "interdomain", domain: 3, remotePort: 44 },
  });
  assert.deepEqual(status(EVTCHNSTAT.pirq, 5), { ...common, kind: "pirq", line: 5 });
  assert.deepEqual(status(EVTCHNSTAT.virq, 2), { ...common, kind: "virq", line: 2 });
  assert.deepEqual(status(EVTCHNSTAT.ipi), { ...common, kind: "ipi" });
});

Deno.test("details: grants that are in use, and what for", () => {
  const view = new DataView(new ArrayBuffer(4096));
  const entry = (reference: number, flags: number, domain: number, frame: number) => {
    view.setUint16(reference * 8, flags, true);
    view.setUint16(reference * 8 + 2, domain, true);
    view.setUint32(reference * 8 + 4, frame, true);
  };
  entry(0, GTF.permit_access | GTF.reading | GTF.writing, 0, 0xfefff);
  entry(1, GTF.invalid, 5, 0x1234);
  entry(8, GTF.permit_access | GTF.readonly, 5, 0x77);
  entry(511, GTF.accept_transfer | GTF.reading, 6, 0x88);
  assert.deepEqual(decodeGrants(view), [
    { reference: 0, domain: 0, frame: 0xfefffn, access: "write", mapped: true },
    { reference: 8, domain: 5, frame: 0x77n, access: "read", mapped: false },
    { reference: 511, domain: 6, frame: 0x88n, access: "transfer", mapped: false },
  ]);
});

Deno.test("details: what Xen keeps of a PV vCPU beside its registers", () => {
  const view = new DataView(new ArrayBuffer(vcpu_guest_context.size));
  const at = vcpu_guest_context.offsets;
  const put = (offset: number, value: bigint) => view.setBigUint64(offset, value, true);
  put(at.flags, BigInt(XEN.VGCF_in_kernel | XEN.VGCF_online));
  put(at.kernel_ss, 0xe02bn);
  put(at.kernel_sp, 0xffff_c900_0000_4000n);
  put(at.event_callback_eip, 0xffff_ffff_8100_1000n);
  put(at.failsafe_callback_eip, 0xffff_ffff_8100_2000n);
  put(at.syscall_callback_eip, 0xffff_ffff_8100_3000n);
  put(at.gdt_ents, 513n);
  put(at.gdt_frames, 0x1234n);
  put(at.gdt_frames + 8, 0x1235n);
  put(at.gdt_frames + 16, 0xffn);
  assert.deepEqual(decodePv(2, view), {
    vcpu: 2,
    inKernel: true,
    kernelStack: { ss: 0xe02bn, sp: 0xffff_c900_0000_4000n },
    callbacks: {
      event: 0xffff_ffff_8100_1000n,
      failsafe: 0xffff_ffff_8100_2000n,
      syscall: 0xffff_ffff_8100_3000n,
    },
    gdt: { frames: [0x1234n, 0x1235n], entries: 513 },
  });
});

Deno.test("details: ports whose end in the domain is Xen's are told of as that, and those behind them too", () => {
  const { dom: _, ...at } = evtchn_status.offsets;
  const kinds = [EVTCHNSTAT.closed, EVTCHNSTAT.ipi, undefined, EVTCHNSTAT.virq];
  const control = {
    channelStatus: (_domain: number, port: number, into: Uint8Array) => {
      if (port === kinds.length) return "none" as const;
      const kind = kinds[port];
      if (kind === undefined) return "kept" as const;
      const view = new DataView(into.buffer);
      view.setUint32(at.port, port, true);
      view.setUint32(at.status, kind, true);
      view.setUint32(at.u, 4, true);
      return "told" as const;
    },
  };
  assert.deepEqual(channelsOf(control, 7), [
    { port: 1, vcpu: 0, kind: "ipi" },
    { port: 2, vcpu: -1, kind: "xen" },
    { port: 3, vcpu: 0, kind: "virq", line: 4 },
  ]);
});
