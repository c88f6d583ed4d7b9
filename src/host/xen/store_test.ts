import assert from "node:assert/strict";
import { HostError } from "../error.ts";
import { storeEnvironment, XenStore } from "./store.ts";

Deno.test("xenstore: libxenstore is told of the socket alone, unless xenstored is a domain, or who started hvsh says where it is", () => {
  const variable = "XENSTORED_PATH";
  const told = Deno.env.get(variable);
  try {
    Deno.env.delete(variable);
    assert.deepEqual(storeEnvironment(() => false), { [variable]: "/var/run/xenstored/socket" });
    assert.deepEqual(storeEnvironment(() => true), {});
    Deno.env.set(variable, "/run/elsewhere");
    assert.deepEqual(storeEnvironment(() => false), {});
  } finally {
    if (told === undefined) Deno.env.delete(variable);
    else Deno.env.set(variable, told);
  }
});

Deno.test({
  name: "xenstore: nobody at the socket, or one that goes away, is an error, and not a tree that is empty",
  ignore: !hasLibrary(),
  // Functions of libxenstore are bound at their first call, and stay.
  sanitizeResources: false,
  fn: () => {
    const folder = Deno.makeTempDirSync();
    const socket = `${folder}/socket`;
    const told = Deno.env.get("XENSTORED_PATH");
    Deno.env.set("XENSTORED_PATH", socket);
    try {
      assert.throws(() => new XenStore(() => false), /xs_open failed: ENOENT/);
      const listener = Deno.listen({ transport: "unix", path: socket });
      // It is connected to, and never answers.
      using store = new XenStore(() => false);
      using other = new XenStore(() => false);
      // Whose name stays, as that of a xenstored that was killed.
      Deno.renameSync(socket, `${folder}/killed`);
      listener.close();
      Deno.renameSync(`${folder}/killed`, socket);
      assert.throws(
        () => store.read("/local"),
        /reading \/local from xenstore failed: (EPIPE|ECONNRESET|EBADF)/,
      );
      assert.throws(() => store.read("/local"), /failed: EBADF/);
      assert.throws(() => other.list("/local"), /reading \/local from xenstore failed/);
      assert.throws(() => new XenStore(() => false), /xs_open failed: ECONNREFUSED/);
    } finally {
      if (told === undefined) Deno.env.delete("XENSTORED_PATH");
      else Deno.env.set("XENSTORED_PATH", told);
      Deno.removeSync(folder, { recursive: true });
    }
  },
});

/** Whether libxenstore is here; loaded outside of the test, since it stays loaded. */
function hasLibrary(): boolean {
  const told = Deno.env.get("XENSTORED_PATH");
  Deno.env.set("XENSTORED_PATH", "/nowhere");
  try {
    new XenStore(() => false);
  } catch (error) {
    return error instanceof HostError && error.call === "xs_open";
  } finally {
    if (told === undefined) Deno.env.delete("XENSTORED_PATH");
    else Deno.env.set("XENSTORED_PATH", told);
  }
  return false;
}
