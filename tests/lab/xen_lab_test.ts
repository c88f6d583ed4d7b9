/** The Xen lab: its toolstack, the kinds of guests it holds, and its check of itself. */
import assert from "node:assert/strict";
import { LabError } from "./errors.ts";
import { FILES } from "./qemu.ts";
import { sharedLab, withLab } from "./shared.ts";

const xen = sharedLab("xen");

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name: `xen lab: ${name}`, ignore: xen.ignore, fn });
}

test("it has checked itself, and its toolstack answers", async () => {
  const lab = await xen.get();
  assert.match(lab.record.check ?? "", /EAGER_FPU; .*checks \d{3,} wrong 0/);
  const { code, stdout } = await lab.output(["xl", "info"]);
  assert.equal(code, 0);
  assert.match(stdout, /virt_caps +: pv hvm hap/);
  assert.match(stdout, /xen_version +: 4\./);
  assert.equal((await lab.exec(["xl", "domid", "no-such-domain"])).code, 1);
});

test("it holds PV, PVH and HVM guests, the last with a device model", async () => {
  const lab = await xen.get();
  // The lab's own kernel, unpacked: libxl's unpacking would take half a minute under TCG.
  const kernel = `kernel="${Deno.realPathSync(`${lab.folder}/${FILES.kernel}`)}"`;
  const guests = {
    pv: `type="pv"\n${kernel}\nmemory=128`,
    pvh: `type="pvh"\n${kernel}\nmemory=128`,
    hvm: `type="hvm"\nmemory=64\nvga="none"`,
  };
  const script = Object.entries(guests).map(([name, config]) =>
    `printf '%s\\n' 'name="${name}"' '${
      config.replaceAll("\n", "' '")
    }' >/run/${name}.cfg; xl create -q -p /run/${name}.cfg || exit 1`
  );
  const { code, stdout, stderr } = await lab.output([
    "sh",
    "-ec",
    [
      ...script,
      "xl list",
      "pgrep -fc '[q]emu-system-i386.*-xen-domid'",
      ...Object.keys(guests).map((name) => `xl destroy ${name}`),
    ].join("\n"),
  ], { timeoutMs: 300_000 });
  assert.equal(code, 0, stderr);
  for (const name of Object.keys(guests)) {
    assert.match(stdout, new RegExp(`^${name} +\\d+ +\\d+ +1 +--p---`, "m"));
  }
  assert.match(stdout, /^1$/m);
});

test("without eager FPU switching the check refuses the lab, by its log and by the registers themselves", async () => {
  const refused = await withLab("xen", () => Promise.resolve(), { xenExtra: "" }).then(
    () => null,
    (error) => error,
  );
  assert.ok(refused instanceof LabError, `${refused}`);
  assert.match(refused.message, /refuses to give results: .*EAGER_FPU/);
});
