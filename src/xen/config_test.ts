import assert from "node:assert/strict";
import { configFiles, configLines } from "./config.ts";

const MIB = 1 << 20;

Deno.test("config: memory is counted in MiB, and has what the loader needs", () => {
  const lines = (kind: "pv" | "pvh" | "hvm", memory: number) => configLines({ kind, memory, cpus: 1 });
  assert.ok(lines("pvh", 4096).includes("memory=2"));
  assert.ok(lines("pv", 4096).includes("memory=4"));
  assert.ok(lines("hvm", 4096).includes("memory=10"));
  assert.ok(lines("pvh", 64 * MIB + 4096).includes("memory=65"));
});

Deno.test("config: files are named by what they are for", () => {
  const [a, b] = [Uint8Array.of(1), Uint8Array.of(2)];
  const guest = {
    kind: "pvh",
    memory: MIB,
    cpus: 2,
    kernel: { image: a, ramdisk: b, cmdline: "x" },
  } as const;
  assert.deepEqual(configFiles(guest), [{ key: "kernel", bytes: a }, { key: "ramdisk", bytes: b }]);
  assert.ok(configLines(guest).includes('cmdline="x"'));
  assert.ok(configLines(guest).includes("vcpus=2"));
});

Deno.test("config: what would end a string in the file can't be told", () => {
  const lines = (cmdline: string) =>
    configLines({ kind: "pv", memory: MIB, cpus: 1, kernel: { image: new Uint8Array(), cmdline } });
  assert.ok(lines('say="yes"').includes(`cmdline='say="yes"'`));
  for (const bad of ["a\nmemory=9", `both ' and "`, "nul\0"]) {
    assert.throws(() => lines(bad), { name: "InputError" });
  }
});

Deno.test("config: drives are QEMU's, and a snapshot is refused", () => {
  const drive = { index: 0, kind: "disk", path: "/a b.img", readOnly: false, snapshot: false } as const;
  const lines = (one: object) =>
    configLines({ kind: "hvm", memory: MIB, cpus: 1, drives: [{ ...drive, ...one }] });
  assert.ok(
    lines({}).includes('disk=["format=raw, backendtype=qdisk, vdev=hda, access=rw, target=/a b.img"]'),
  );
  assert.throws(() => lines({ snapshot: true }), { name: "UnsupportedError" });
});
