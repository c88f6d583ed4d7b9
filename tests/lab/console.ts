import { FILES } from "./qemu.ts";

/** Lines of the console that a message about a failed lab shows. */
const TAIL = 40;

/** What the console of a lab tells about how far it has come. */
export interface ConsoleState {
  /** The last stage that was begun; "qemu" before Linux said anything. */
  stage: string;
  /** Why the lab's own start gave up, in its words. */
  failed?: string;
  /** The line in which a kernel, or Xen, said that it panicked. */
  panic?: string;
  /** The last lines, oldest first. */
  tail: string[];
}

/** What Linux and Xen print when they give up, and Xen when dom0 does. */
const PANIC =
  /Kernel panic - not syncing.*|Panic on CPU \d+.*|FATAL TRAP.*|Hardware Dom0 crashed.*|FATAL PAGE FAULT.*/;

/** Reads the console as it is now; the file is small, since the kernels are told to be quiet. */
export function readConsole(folder: string): ConsoleState {
  let text = "";
  try {
    text = new TextDecoder().decode(Deno.readFileSync(`${folder}/${FILES.console}`));
  } catch {
    // QEMU has not made it yet
  }
  return parseConsole(text);
}

/** See {@linkcode ConsoleState}. */
export function parseConsole(text: string): ConsoleState {
  // deno-lint-ignore no-control-regex -- terminal sequences of SeaBIOS and Xen
  const plain = text.replace(/\x1b(\[[0-9;?=]*[A-Za-z]|c)/g, "").replace(/[^\n\x20-\x7e\u00a0-\uffff]/g, "");
  const lines = plain.split("\n").map((line) => line.trimEnd()).filter(Boolean);
  const stages = [...plain.matchAll(/hvsh-lab: stage (\S+)/g)];
  return {
    stage: stages.at(-1)?.[1] ?? (/\S/.test(plain) ? "kernel" : "qemu"),
    failed: /hvsh-lab: failed: (.*)/.exec(plain)?.[1],
    panic: PANIC.exec(plain)?.[0],
    tail: lines.slice(-TAIL),
  };
}
