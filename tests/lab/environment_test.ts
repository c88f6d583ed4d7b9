import assert from "node:assert/strict";
import { labEnvironment } from "./environment.ts";

Deno.test("a command in a lab gets Deno's folder first in PATH, the system's folders, and Xen's tools", () => {
  const { PATH } = labEnvironment(
    "xen",
    { PATH: "/home/me/bin:/usr/bin" },
    "/opt/deno/deno",
    "/usr/lib/xen-4.17/bin",
  );
  const folders = PATH.split(":");
  assert.deepEqual(folders.slice(0, 3), ["/opt/deno", "/home/me/bin", "/usr/bin"]);
  assert.ok(folders.includes("/usr/sbin") && folders.at(-1) === "/usr/lib/xen-4.17/bin");
  assert.equal(new Set(folders).size, folders.length);
});

Deno.test("it gets what programs need of the environment outside, and no more", () => {
  const outside = {
    HOME: "/home/me",
    LC_ALL: "C",
    DENO_DIR: "/d",
    HVSH_X: "1",
    SSH_AUTH_SOCK: "/s",
    SECRET: "no",
  };
  const env = labEnvironment("kvm", outside, "/opt/deno");
  assert.equal(env.HOME, "/home/me");
  assert.equal(env.DENO_DIR, "/d");
  assert.equal(env.HVSH_X, "1");
  assert.equal(env.HVSH_LAB, "kvm");
  assert.equal(env.TERM, "dumb");
  assert.ok(!("SECRET" in env) && !("SSH_AUTH_SOCK" in env));
});
