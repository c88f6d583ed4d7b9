/** `hvsh`: reads the command line, then runs commands or prompts for them. What a run does not need, it does not load. */

import { reportError } from "./error.ts";
import { type CommandLine, parseOptions } from "./options.ts";

if (import.meta.main) await main();

async function main(): Promise<void> {
  // What tests and labs share is not for the shell to load: the self-test is a program of its own. `./selftest` is a file.
  const verb = Deno.args.find((word) => !word.startsWith("--cwd"));
  if (verb === "selftest") return await selftest();
  if (verb === "trace" || verb === "diff") {
    const { runTraces } = await import("./traces.ts");
    Deno.exit(await runTraces(verb, Deno.args.filter((word) => word !== verb)));
  }
  let line: CommandLine;
  try {
    line = parseOptions(Deno.args);
    if (line.cwd !== undefined && line.cwd !== "") Deno.chdir(line.cwd);
  } catch (error) {
    const { message, remedy } = reportError(error);
    const { writeError } = await import("./output.ts");
    writeError(`hvsh: ${message}\n${remedy === undefined ? "" : `${remedy}\n`}`);
    Deno.exit(2);
  }
  if (line.show !== undefined) {
    const { helpText, versionText } = await import("./usage.ts");
    const { StandardOutput } = await import("./output.ts");
    const output = new StandardOutput();
    output.write(line.show === "help" ? helpText() : await versionText());
    if (output.failed) Deno.exit(1);
    return;
  }
  const { wantsGuest } = await import("./boot.ts");
  // What a guest takes is loaded beside the shell, not after it. Whoever opens one is told if that fails.
  if (wantsGuest(line)) import("../dsl/open.ts").catch(() => {});
  const { runShell } = await import("./run.ts");
  await runShell(line);
}

/** `hvsh selftest`: runs it on our streams and ends with its exit code. */
async function selftest(): Promise<never> {
  const program = new URL("../../tools/selftest.ts", import.meta.url).href;
  const rest = Deno.args.filter((word) => word !== "selftest" && !word.startsWith("--cwd"));
  const args = ["run", "-q", "-A", "--no-check", program, ...rest];
  const { code } = await new Deno.Command(Deno.execPath(), { args }).spawn().status;
  Deno.exit(code);
}
