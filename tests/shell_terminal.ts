/** What tests of the shell under a real terminal share: tmux with a shell in it, and guests to run. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { noTmux, Terminal } from "./tmux.ts";

export const REASON = noTmux();
if (REASON !== undefined) console.log(`terminal tests skipped: ${REASON}`);
export const KVM = await Deno.open("/dev/kvm", { read: true, write: true }).then((file) => {
  file.close();
  return true;
}, () => false);
if (!KVM) console.log("terminal tests use the fake backend: /dev/kvm can't be opened");
const BACKEND = KVM ? "kvm" : "fake";

const MAIN = fileURLToPath(new URL("../src/repl/main.ts", import.meta.url));
const CONFIG = fileURLToPath(new URL("../deno.json", import.meta.url));

/** jmp $ */
const SPIN = Uint8Array.of(0xeb, 0xfe);

/** Prints "tick" on COM1, waits some 100,000 instructions, and so on. */
const TICKS = Uint8Array.of(
  ...[0xba, 0xf8, 0x03], // mov dx, 0x3f8
  ...[..."tick\n"].flatMap((c) => [0xb0, c.charCodeAt(0), 0xee]), // mov al, c; out dx, al
  ...[0xb9, 0xff, 0xff, 0xe2, 0xfe, 0xe2, 0xfe], // mov cx, 0xffff; loop $; loop $
  ...[0xeb, 0x100 - 24], // jmp to the first mov al
);

/** A terminal with guests in its folder. */
export interface Fixture extends AsyncDisposable {
  readonly terminal: Terminal;
  readonly folder: string;
  /** The command line of hvsh, to be typed. */
  readonly hvsh: string;
  /** The process of hvsh. */
  pid(): Promise<number>;
}

async function fixture(environment: Record<string, string> = {}): Promise<Fixture> {
  const folder = await Deno.makeTempDir();
  await Deno.writeFile(`${folder}/spin.bin`, SPIN);
  await Deno.writeFile(`${folder}/ticks.bin`, TICKS);
  const terminal = await Terminal.open({
    directory: folder,
    environment: { XDG_STATE_HOME: `${folder}/state`, XDG_CONFIG_HOME: `${folder}/config`, ...environment },
  });
  return {
    terminal,
    folder,
    hvsh: `${Deno.execPath()} run -q -A --no-check --config ${CONFIG} ${MAIN} -q`,
    async pid() {
      const shell = await terminal.shellPid();
      const children = await Deno.readTextFile(`/proc/${shell}/task/${shell}/children`);
      return Number(children.trim().split(" ")[0]);
    },
    async [Symbol.asyncDispose]() {
      await terminal[Symbol.asyncDispose]();
      // What ran in the terminal may still be writing its history there.
      for (let left = 100;; left--) {
        try {
          return await Deno.remove(folder, { recursive: true });
        } catch (error) {
          if (left === 0) throw error;
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      }
    },
  };
}

/** A test with a terminal of its own. */
export function test(
  name: string,
  body: (f: Fixture) => Promise<void>,
  environment?: Record<string, string>,
): void {
  Deno.test({
    name: `terminal: ${name}${REASON === undefined ? "" : ` (skipped: ${REASON})`}`,
    ignore: REASON !== undefined,
    fn: async () => {
      await using f = await fixture(environment);
      await body(f);
    },
  });
}

/** Runs hvsh between two `stty -a`, whose outputs must be the same. */
export async function start(f: Fixture, options: string): Promise<void> {
  await f.terminal.enter(
    `stty -a > before; ${f.hvsh} ${options}; echo "left with $?"; stty -a > after; echo "done"`,
  );
  await f.terminal.waitFor(/^hvsh.*> $/m);
}

/** Waits until hvsh has left with `code`; the terminal must be as it was. */
export async function left(f: Fixture, code: number): Promise<void> {
  await f.terminal.waitFor(new RegExp(`^left with ${code}\\ndone`, "m"));
  const before = await Deno.readTextFile(`${f.folder}/before`);
  assert.match(before, /icanon/);
  assert.equal(await Deno.readTextFile(`${f.folder}/after`), before, "the terminal is as it was");
}

/** The command line's part for a guest of the folder. */
export const flat = (name: string, backend = BACKEND) => `--backend ${backend} --flat ${name}.bin,at=0x1000`;
