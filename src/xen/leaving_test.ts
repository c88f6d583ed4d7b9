import assert from "node:assert/strict";
import { closeAtEnd } from "./leaving.ts";

Deno.test("leaving: what is closed late, by another's close, is closed too; what was taken back is not", () => {
  const seen: string[] = [];
  closeAtEnd(() => {
    seen.push("machine");
    closeAtEnd(() => seen.push("its domain"));
  });
  closeAtEnd(() => seen.push("closed before"))();
  globalThis.dispatchEvent(new Event("unload"));
  assert.deepEqual(seen, ["machine", "its domain"]);
});

/** A program that would wait for ever, and what it says and ends with when a signal comes. */
async function endedBy(
  signal: Deno.Signal,
  first: string,
): Promise<{ said: string; by: string | null; code: number }> {
  const here = (name: string) => JSON.stringify(new URL(name, import.meta.url).href);
  const program = `import { closeAtEnd } from ${here("leaving.ts")};
    import { dealWithSignals } from ${here("../vm/signals.ts")};
    ${first}
    const cancel = closeAtEnd(() => console.log("never"));
    closeAtEnd(() => console.log("closed"));
    cancel();
    setInterval(() => {}, 1000);
    console.log("ready");`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", "--no-check", `data:application/typescript,${encodeURIComponent(program)}`],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  let said = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    if (said === "" && text.includes("ready")) child.kill(signal);
    said += text;
  }
  const { signal: by, code } = await child.status;
  return { said, by, code };
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  Deno.test(`leaving: ${signal} closes what is open, and ends the program as it would have`, async () => {
    const { said, by } = await endedBy(signal, "");
    assert.deepEqual([said, by], ["ready\nclosed\n", signal]);
  });
}

Deno.test("leaving: a program that deals with signals itself is left to it", async () => {
  const first =
    'dealWithSignals(); Deno.addSignalListener("SIGTERM", () => { console.log("mine"); Deno.exit(3); });';
  const { said, code } = await endedBy("SIGTERM", first);
  // The way out closes it all the same.
  assert.deepEqual([said, code], ["ready\nmine\nclosed\n", 3]);
});
