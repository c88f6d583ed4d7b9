import assert from "node:assert/strict";
import { LabError } from "./errors.ts";
import { findKernel, type HostKernel, moduleClosure } from "./kernel.ts";

/** Runs `use` with a folder that holds the given files, and removes it. */
function withFiles(files: Record<string, string>, use: (folder: string) => void): void {
  const folder = Deno.makeTempDirSync({ prefix: "hvsh-kernel-" });
  try {
    for (const [path, text] of Object.entries(files)) {
      Deno.mkdirSync(`${folder}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
      Deno.writeTextFileSync(`${folder}/${path}`, text);
    }
    use(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

const find = (folder: string) => findKernel({ boot: `${folder}/boot`, modules: `${folder}/modules` });

Deno.test("the newest ordinary kernel is taken, by number and not by spelling; cloud kernels are not", () => {
  const names = ["6.1.0-9-amd64", "6.1.0-10-amd64", "6.12.0-1-cloud-amd64", "5.10.0-99-amd64"];
  const files = names.flatMap((name) => [[`boot/vmlinuz-${name}`, ""], [`modules/${name}/modules.dep`, ""]]);
  withFiles(Object.fromEntries(files), (folder) => {
    assert.equal(find(folder).version, "6.1.0-10-amd64");
    assert.equal(find(folder).image, `${folder}/boot/vmlinuz-6.1.0-10-amd64`);
  });
});

Deno.test("a kernel image without its modules, and no kernel at all, are said so with a remedy", () => {
  withFiles({ "boot/vmlinuz-6.1.0-9-amd64": "" }, (folder) => {
    const wrong = (error: unknown) =>
      error instanceof LabError && /has no modules/.test(error.message) && !!error.remedy;
    assert.throws(() => find(folder), wrong);
  });
  withFiles({ "boot/vmlinuz-6.1.0-9-cloud-amd64": "" }, (folder) => {
    assert.throws(() => find(folder), /No kernel image/);
  });
});

Deno.test("modules come after all they need, once each; built-in ones are left out, missing ones named", () => {
  const dep = [
    "kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/fscache.ko kernel/fs/netfs.ko",
    "kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko kernel/virtio-ring.ko",
    "kernel/net/9p/9pnet.ko: kernel/fs/netfs.ko",
    "kernel/virtio-ring.ko:",
  ].join("\n");
  withFiles({ "modules.dep": dep, "modules.builtin": "kernel/fs/overlay-fs.ko\n" }, (folder) => {
    const kernel: HostKernel = { version: "1", image: "", modules: folder };
    const names = moduleClosure(kernel, ["overlay_fs", "9p", "9pnet_virtio"]).map((path) =>
      path.split("/").pop()
    );
    assert.deepEqual(names, [
      "netfs.ko",
      "fscache.ko",
      "9pnet.ko",
      "9p.ko",
      "virtio-ring.ko",
      "9pnet_virtio.ko.xz",
    ]);
    assert.throws(() => moduleClosure(kernel, ["virtio_console"]), /has no module virtio_console/);
  });
});
