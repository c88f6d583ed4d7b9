/** `deno task setup` leaves nothing for the first use to fetch: a shell starts from the cache that it filled. */
import assert from "node:assert/strict";

const ROOT = new URL("../", import.meta.url);

async function deno(
  cache: string,
  ...args: string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  const env = { DENO_DIR: cache, NO_COLOR: "1" };
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT, env }).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

Deno.test("setup fetches what hvsh loads late: disassembling, TypeScript and pictures need no network then", async () => {
  const cache = await Deno.makeTempDir({ prefix: "hvsh-setup-" });
  try {
    const picture = `${cache}/screen.png`;
    // No Debian package is called so: nothing is installed.
    const { code, stdout } = await deno(cache, "run", "-q", "-A", "--no-check", "tools/setup.ts", "npm");
    assert.equal(code, 0, stdout);
    if (stdout.includes("can't all be fetched")) {
      console.log("skipped: there is no way to npm's registry from here");
      return;
    }
    const options = ["--cached-only", "-q", "-A", "--no-check", "--unstable-lazy-dynamic-imports"];
    const shell = ["src/repl/main.ts", "--norc", "--backend", "fake", "-kernel", "fixtures/elf64.bin"];
    const typed = ["x/i $rip", "await 6 * 7", `screenshot ${picture}`].flatMap((line) => ["-c", line]);
    const session = await deno(cache, "run", ...options, ...shell, "-vga", "std", ...typed);
    assert.equal(session.code, 0, session.stderr);
    assert.match(session.stdout, /lea rsp.*\n42\b/);
    assert.ok((await Deno.stat(picture)).size > 0);
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
});
