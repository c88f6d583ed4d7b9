import assert from "node:assert/strict";
import { xl } from "./xl.ts";

Deno.test("xl: Ctrl-C, which goes to the terminal's process group, does not end it in the middle of its work, and what goes wrong is told", () => {
  const folder = Deno.makeTempDirSync();
  const path = Deno.env.get("PATH");
  const store = Deno.env.get("XENSTORED_PATH");
  try {
    // Told, so that no Xen is asked whether a domain is xenstored.
    Deno.env.set("XENSTORED_PATH", `${folder}/socket`);
    Deno.writeTextFileSync(`${folder}/xl`, "#!/bin/sh\ncut -d' ' -f5 /proc/$$/stat\n", { mode: 0o755 });
    Deno.env.set("PATH", `${folder}:${path}`);
    const group = Deno.readTextFileSync("/proc/self/stat").replace(/^.*\) /, "").split(" ")[2];
    assert.match(xl("list"), /^\d+$/);
    assert.notEqual(xl("list"), group);
    Deno.writeTextFileSync(`${folder}/xl`, "#!/bin/sh\necho no such domain >&2; exit 3\n");
    assert.throws(() => xl("destroy", "web"), /xl destroy failed: no such domain/);
    Deno.removeSync(`${folder}/xl`);
    Deno.symlinkSync("/usr/bin/setsid", `${folder}/setsid`);
    Deno.env.set("PATH", folder);
    assert.throws(() => xl("list"), /xl can't be run/);
  } finally {
    if (path !== undefined) Deno.env.set("PATH", path);
    if (store === undefined) Deno.env.delete("XENSTORED_PATH");
    else Deno.env.set("XENSTORED_PATH", store);
    Deno.removeSync(folder, { recursive: true });
  }
});
