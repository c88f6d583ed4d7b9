/** Starts that fail before a guest runs, or as it starts: each says what is wrong and leaves nothing behind. */
import assert from "node:assert/strict";
import { LabError } from "./errors.ts";
import { folderNames } from "./folder.ts";
import { whyNoLab } from "./shared.ts";
import { startLab, type StartOptions } from "./start.ts";

const reason = whyNoLab("kvm");
const ignore = reason !== null;
if (ignore) console.error(`Tests of labs that fail to start are skipped: ${reason}.`);

/** The error of a start that must fail, after which the labs are those from before. */
async function failure(options: StartOptions): Promise<LabError> {
  const before = folderNames();
  const error = await startLab("kvm", { name: "fails", ...options }).then(() => null, (error) => error);
  assert.ok(error instanceof LabError, `not a LabError: ${error}`);
  assert.deepEqual(folderNames(), before);
  return error;
}

/** Runs `use` with an empty folder. */
async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "hvsh-faults-" });
  try {
    await use(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test({
  name: "no QEMU: the message names the program, the remedy the package",
  ignore,
  async fn() {
    const error = await failure({ qemu: "qemu-system-nonsense" });
    assert.match(error.message, /qemu-system-nonsense isn't installed/);
    assert.match(error.remedy ?? "", /deno task setup/);
  },
});

Deno.test({
  name: "a kernel image without its modules: the message names both",
  ignore,
  fn: () =>
    withFolder(async (folder) => {
      Deno.writeTextFileSync(`${folder}/vmlinuz-9.9.9-1-amd64`, "");
      const error = await failure({ kernels: { boot: folder, modules: folder } });
      assert.match(error.message, /vmlinuz-9\.9\.9-1-amd64 has no modules in .*9\.9\.9-1-amd64/);
    }),
});

Deno.test({
  name: "no space for the initramfs: the message names the file, and no half file stays",
  ignore,
  fn: () =>
    withFolder(async (folder) => {
      const mount = new Deno.Command("mount", {
        args: ["-t", "tmpfs", "-o", "size=64k", "tmpfs", folder],
        stderr: "null",
      });
      if (!(await mount.output()).success) {
        console.error("Skipped: only root may mount the small file system that this test fills.");
        return;
      }
      try {
        const error = await failure({ cache: folder });
        assert.match(error.message, /Could not write .*No space left/);
        assert.match(error.remedy ?? "", /disk is full/);
        assert.deepEqual([...Deno.readDirSync(folder)], []);
      } finally {
        await new Deno.Command("umount", { args: [folder] }).output();
      }
    }),
});

Deno.test({
  name: "a folder to share that is not there",
  ignore,
  async fn() {
    assert.match(
      (await failure({ shares: ["/no/such/folder"] })).message,
      /\/no\/such\/folder can't be shared/,
    );
  },
});

Deno.test({
  name: "a QEMU that ends at once: its own words are in the message, whether the lab is kept or not",
  ignore,
  async fn() {
    assert.match((await failure({ cpus: 100_000 })).message, /QEMU ended with code 1: .*cpu/i);
    assert.match((await failure({ cpus: 100_000, keep: true })).message, /QEMU did not start: .*cpu/i);
  },
});

Deno.test({
  name: "a lab that does not come up in time: the message names the stage, and shows the console's end",
  ignore,
  async fn() {
    // How far it comes in that time is the host's affair.
    const error = await failure({ bootTimeoutMs: 1000 });
    assert.match(
      error.message,
      /did not come up within 1 s; the last stage it reached is "(qemu|kernel|modules)"/,
    );
    assert.match(error.remedy ?? "", /--boot-timeout/);
  },
});

Deno.test({
  name: "an interrupted start leaves nothing",
  ignore,
  async fn() {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), 1000);
    assert.match((await failure({ abort: abort.signal })).message, /interrupted/);
    clearTimeout(timer);
  },
});
