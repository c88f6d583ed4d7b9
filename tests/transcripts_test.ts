/**
 * Golden transcripts: what the shell says to what is typed, on `fake` everywhere and on `kvm` where it is.
 *
 * A file of tests/transcripts/ begins with comments (what it shows; `# boot: KIND FILE`; `# backends: fake, kvm`),
 * then come lines `hvsh> COMMAND`, each with what it answered below. What differs from run to run or from
 * backend to backend is masked on both sides. HVSH_UPDATE_TRANSCRIPTS=1 writes down what `fake` says now.
 */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import {
  type BackendName,
  bootSector,
  elf,
  firmware,
  flat,
  type GuestMachine,
  hosts,
  MiB,
  open,
  type OpenOptions,
} from "../src/dsl/mod.ts";
import { plainStyle } from "../src/repl/ansi.ts";
import { COMMANDS } from "../src/repl/commands/index.ts";
import { SHELL_COMMANDS } from "../src/repl/commands/shell.ts";
import type { Output } from "../src/repl/output.ts";
import { Shell } from "../src/repl/shell.ts";
import { CommandTable } from "../src/repl/table.ts";

const ROOT = new URL("../", import.meta.url);
const FOLDER = new URL("transcripts/", import.meta.url);
const UPDATE = Deno.env.get("HVSH_UPDATE_TRANSCRIPTS") === "1";
const PROMPT = "hvsh> ";

/** `# boot:` for a guest with a Linux kernel that the tests make up. */
const MOCK_LINUX = "mock-linux";

/** A transcript, cut up. */
interface Transcript {
  readonly name: string;
  /** Comments at its top, as they are. */
  readonly head: string;
  readonly boot: string | undefined;
  readonly backends: readonly string[];
  readonly steps: readonly { readonly command: string; readonly expected: string }[];
}

function parse(name: string, text: string): Transcript {
  const at = text.search(/^hvsh> /m);
  const head = at < 0 ? text : text.slice(0, at);
  const header = (key: string) => new RegExp(`^# ${key}: (.*)$`, "m").exec(head)?.[1].trim();
  const steps = (at < 0 ? "" : text.slice(at)).split(/^hvsh> /m).slice(1).map((part) => {
    const end = part.indexOf("\n");
    return { command: part.slice(0, end), expected: part.slice(end + 1) };
  });
  return {
    name,
    head,
    boot: header("boot"),
    backends: (header("backends") ?? "fake, kvm").split(/,\s*/),
    steps,
  };
}

/** What may differ: times, temporary files, and by which means a backend holds a breakpoint. */
const MASKS: readonly (readonly [RegExp, (word: string) => string])[] = [
  [/\d{4}-\d\d-\d\dT[\d:]{8}Z/g, () => "DATE"],
  [/\d+\.\d+ ms/g, () => "N ms"],
  [/\((debug register|INT3|HLT patch|OUT patch|read-only page|stepping, slow)\)/g, () => "(how)"],
  [/^Hardware (?=read|access|watch)/gm, () => ""],
  [/\bhw (?=breakpoint|watchpoint)/g, () => ""],
  [/^(Watchpoint|Access|Read)/gm, (word) => word.toLowerCase()],
  [/^kvm .*\n( .*\n)*/m, () => "kvm ...\n"],
  [/^qemu .*\n( .*\n)*/m, () => "qemu ...\n"],
  [/ +/g, () => " "],
];

function mask(text: string, temporary: string): string {
  let masked = text.replaceAll(temporary, "{tmp}");
  for (const [pattern, by] of MASKS) masked = masked.replace(pattern, by);
  return masked;
}

class Kept implements Output {
  readonly terminal = false;
  readonly width = 80;
  text = "";
  get atLineStart(): boolean {
    return this.text === "" || this.text.endsWith("\n");
  }
  write(text: string): void {
    this.text += text;
  }
}

async function mockLinux(): Promise<GuestMachine> {
  const [{ MockKernel }, { mockGuest }] = await Promise.all([
    import("../src/linux/mock_kernel.ts"),
    import("./linux/mock_guest.ts"),
  ]);
  return await mockGuest(new MockKernel({ order: "6.4" }));
}

function bootOptions(boot: string | undefined): OpenOptions {
  if (boot === undefined) return { memory: MiB(16) };
  const [kind, file, at] = boot.split(/\s+/);
  const path = new URL(file, ROOT);
  switch (kind) {
    case MOCK_LINUX:
      return {};
    case "elf":
      return { memory: MiB(16), boot: elf(path) };
    case "sector":
      return { memory: MiB(16), boot: bootSector(path) };
    case "firmware":
      return { memory: MiB(16), boot: firmware(path) };
    case "program":
      return {
        memory: MiB(16),
        boot: flat(Deno.readFileSync(path), { mode: "protected", at: BigInt(at) }),
      };
    case "flat":
      return {
        memory: MiB(16),
        boot: flat(Uint8Array.from(file.match(/../g) ?? [], (b) => parseInt(b, 16)), {
          at: BigInt(at ?? 0x1000),
        }),
      };
    default:
      throw new Error(`# boot: ${boot} is not understood`);
  }
}

/** Runs a transcript's commands; gives what each answered. */
async function play(transcript: Transcript, backend: BackendName, temporary: string): Promise<string[]> {
  const output = new Kept();
  const shell = new Shell({
    options: { backend, ...bootOptions(transcript.boot) },
    table: new CommandTable([...SHELL_COMMANDS, ...COMMANDS]),
    style: plainStyle,
    output,
    json: false,
    open: (options) => transcript.boot === MOCK_LINUX ? mockLinux() : open(options),
    library: async () => ({ ...await import("../src/dsl/mod.ts") }),
    describeStop: async (session, stop) =>
      (await import("../src/repl/render/stop.ts")).describeStop(session, stop),
    printError: (text) => output.write(text),
  });
  const answers: string[] = [];
  try {
    if (transcript.boot !== undefined) await shell.open();
    for (const { command } of transcript.steps) {
      output.text = "";
      try {
        await shell.foreground(() => shell.execute(command.replaceAll("{tmp}", temporary)));
      } catch (error) {
        shell.report(error, command);
      }
      answers.push(output.atLineStart ? output.text : `${output.text}\n`);
    }
  } finally {
    await shell.close();
  }
  return answers;
}

const transcripts: Transcript[] = [];
for (const { name } of [...Deno.readDirSync(FOLDER)].sort((a, b) => (a.name < b.name ? -1 : 1))) {
  if (name.endsWith(".txt")) {
    transcripts.push(parse(name.slice(0, -4), Deno.readTextFileSync(new URL(name, FOLDER))));
  }
}

const usable = new Map((await hosts()).map((h) => [h.backend as string, h.usable ? undefined : h.reason]));

for (const transcript of transcripts) {
  for (const backend of ["fake", "kvm", "qemu"] as const) {
    if (!transcript.backends.includes(backend)) continue;
    const reason = usable.get(backend);
    if (reason !== undefined) console.log(`transcript ${transcript.name} on ${backend}: skipped, ${reason}`);
    Deno.test({
      name: `transcript ${transcript.name} on ${backend}`,
      ignore: reason !== undefined,
      // iced's WebAssembly and the inspector outlive a guest.
      fn: async () => {
        const temporary = await Deno.makeTempDir();
        const present = Deno.cwd();
        Deno.chdir(ROOT);
        try {
          const answers = await play(transcript, backend, temporary);
          if (UPDATE && backend === transcript.backends[0]) {
            return await update(transcript, answers, temporary);
          }
          transcript.steps.forEach(({ command, expected }, i) => {
            const said = mask(answers[i], temporary);
            assert.equal(said, mask(expected, temporary), `${transcript.name}.txt: ${PROMPT}${command}`);
          });
        } finally {
          Deno.chdir(present);
          await Deno.remove(temporary, { recursive: true });
        }
      },
    });
  }
}

async function update(transcript: Transcript, answers: readonly string[], temporary: string): Promise<void> {
  const text = transcript.steps.map(({ command }, i) =>
    `${PROMPT}${command}\n${answers[i].replaceAll(temporary, "{tmp}").replace(/\d+\.\d+ ms/g, "N ms")}`
  );
  await Deno.writeTextFile(new URL(`${transcript.name}.txt`, FOLDER), transcript.head + text.join(""));
}

Deno.test("every command is in a transcript", () => {
  const table = new CommandTable([...SHELL_COMMANDS, ...COMMANDS]);
  const used = new Set<string>();
  for (const { steps } of transcripts) {
    for (const { command } of steps) {
      const word = /^[\w-]+/.exec(command)?.[0];
      const row = word === undefined ? undefined : table.resolve(word);
      if (row !== undefined) used.add(row.names[0]);
    }
  }
  // `quit` ends the shell; its own test is the shell's.
  const missing = table.rows.map((r) => r.names[0]).filter((n) => !used.has(n) && n !== "quit");
  assert.deepEqual(missing, []);
});
