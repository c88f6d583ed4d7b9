/** Debian's gdb and lldb in batch mode, and the kernel in C that they are driven on. */
import { flat, type FlatBoot } from "../mod.ts";
import { loadSegments, parseElf } from "../src/x86/elf.ts";

const FIXTURES = new URL("../fixtures/", import.meta.url);

/** The kernel's ELF file, with debug information. */
export const C_KERNEL: string = new URL("c_kernel.bin", FIXTURES).pathname;

/** The same as what is loaded: its one segment, entered in real mode. */
export async function cKernel(): Promise<ReturnType<typeof flat>> {
  const [segment] = loadSegments(parseElf(await Deno.readFile(C_KERNEL)));
  const options: FlatBoot = { at: Number(segment.at), mode: "real" };
  return flat(segment.bytes, options);
}

/** Whether a program can be started. */
export function has(program: string): boolean {
  try {
    return new Deno.Command(program, { args: ["--version"], stdout: "null", stderr: "null" }).outputSync()
      .success;
  } catch {
    return false;
  }
}

/** What gdb prints for `commands`, typed one after another at `address`. Its own settings files are not read. */
export async function gdb(address: string, commands: readonly string[], file = C_KERNEL): Promise<string> {
  const all = [
    "set pagination off",
    "set width 0",
    "set confirm off",
    "set tcp connect-timeout 30",
    `directory ${FIXTURES.pathname}`,
    `file ${file}`,
    ...(address === "" ? [] : [`target remote ${address}`]),
    ...commands,
  ];
  return await run("gdb", ["-nx", "-batch", ...all.flatMap((line) => ["-ex", line])]);
}

/** What lldb prints for `commands` at `address`. */
export async function lldb(address: string, commands: readonly string[]): Promise<string> {
  const all = [`target create ${C_KERNEL}`, `gdb-remote ${address}`, ...commands];
  return await run("lldb", ["-x", "-b", ...all.flatMap((line) => ["-o", line])]);
}

async function run(program: string, args: string[]): Promise<string> {
  const child = new Deno.Command(program, {
    args,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { HOME: "/nonexistent", DEBUGINFOD_URLS: "" },
    signal: AbortSignal.timeout(180_000),
  });
  const { stdout, stderr } = await child.output();
  const text = new TextDecoder();
  return text.decode(stdout) + text.decode(stderr);
}
