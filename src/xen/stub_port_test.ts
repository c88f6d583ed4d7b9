import assert from "node:assert/strict";
import { HostError } from "../host/error.ts";
import { connectPort } from "./stub_port.ts";

Deno.test("stub port: the second stub of a domain takes the first one's; another domain, or one that closed it, has a new one", () => {
  const folder = Deno.makeTempDirSync();
  try {
    const unbound = new Set<number>();
    let next = 9;
    const connect = (uuid: string) =>
      connectPort({
        domain: 7,
        uuid,
        exists: (domain) => domain < 9,
        allocate: () => (unbound.add(++next), next),
        bind: (port) => {
          if (!unbound.has(port)) throw new HostError("xenevtchn_bind_interdomain", 22);
          return port + 100;
        },
      }, `${folder}/ports`);
    assert.deepEqual(connect("a"), { guest: 10, ours: 110 });
    assert.deepEqual(connect("a"), { guest: 10, ours: 110 });
    unbound.delete(10);
    assert.deepEqual(connect("a"), { guest: 11, ours: 111 });
    for (const name of ["8", "9", "10.old"]) Deno.writeTextFileSync(`${folder}/ports/${name}`, "");
    assert.deepEqual(connect("b"), { guest: 12, ours: 112 });
    // Domain 9 is no more.
    assert.deepEqual([...Deno.readDirSync(`${folder}/ports`)].map(({ name }) => name).sort(), [
      "10.old",
      "7",
      "8",
    ]);
    for (const text of ["", "{", "null", '{"uuid":"b","port":-1}', '{"uuid":"b"}']) {
      Deno.writeTextFileSync(`${folder}/ports/7`, text);
      assert.equal(connect("b").guest, next);
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
