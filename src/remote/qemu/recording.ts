/** A recording's folder: QEMU's log of what came from outside, and what the guest was. */
import { HvshError, InputError, UnsupportedError } from "../../vm/errors.ts";
import type { Session } from "../session.ts";
import type { QmpConnection } from "../qmp.ts";
import type { QemuOptions } from "./command_line.ts";
import type { QemuProcess } from "./host.ts";

/** QEMU's log in the folder. */
export const LOG = "log";
const ABOUT = "recording.json";
/** QEMU notes how it was ended as the last thing; the guest runs on this long before, so that a replay stops first. */
const AFTERWARDS_MS = 50;
const QUIT_MS = 30_000;

/** What a guest has to be to be the recorded one. */
interface About {
  readonly memory: number;
  readonly version: string;
  /** How many instructions were done. */
  readonly end: number;
}

/** @throws {UnsupportedError} If QEMU can't record such a guest. */
export function checkRecordable({ record, replay, accelerator, cpus, drives = [] }: QemuOptions): void {
  if (record === undefined && replay === undefined) return;
  const what = record === undefined ? "a replay" : "recording";
  if (record !== undefined && replay !== undefined) {
    throw new InputError("a guest is recorded or replayed, not both", { remedy: "leave one out" });
  }
  const refuse = (reason: string, remedy: string) => {
    throw new UnsupportedError(what, reason, { remedy });
  };
  if (accelerator === "kvm") refuse("QEMU counts instructions where it translates", "leave accelerator out");
  if (cpus !== 1) refuse("it is done with one vCPU", "leave cpus out");
  if (drives.length > 0) refuse("what is on drives is not recorded", "boot from memory: a kernel, an initrd");
}

/** Notes what has been recorded, and ends QEMU so that its log is whole. */
export async function finishRecording(
  folder: string,
  { memory }: QemuOptions,
  { session, qmp, child }: { session: Session; qmp: QmpConnection; child: QemuProcess },
): Promise<void> {
  const { icount } = qmp.execute("query-replay") as { icount: number };
  const about: About = { memory, version: qmp.version, end: icount };
  await Deno.writeTextFile(`${folder}/${ABOUT}`, JSON.stringify(about) + "\n");
  session.resume();
  await new Promise((resolve) => setTimeout(resolve, AFTERWARDS_MS));
  qmp.execute("quit");
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise((resolve) => timer = setTimeout(resolve, QUIT_MS));
  await Promise.race([child.ended(), late]).finally(() => clearTimeout(timer));
}

/** The last position to go to. @throws {InputError} If it is no recording, or one of another guest. */
export async function recordedEnd(folder: string, memory: number): Promise<number> {
  let about: Partial<About>;
  try {
    about = JSON.parse(await Deno.readTextFile(`${folder}/${ABOUT}`));
  } catch (cause) {
    throw new InputError(`there is no whole recording in ${folder}`, {
      cause,
      remedy: "record one: it is whole when the guest is closed",
    });
  }
  if (about.memory !== memory) {
    throw new InputError(`the recorded guest had ${about.memory} bytes of memory, not ${memory}`, {
      remedy: "open it as it was opened for the recording",
    });
  }
  // One less: what comes behind the last instruction is QEMU's own end.
  if (Number.isSafeInteger(about.end) && about.end! > 0) return about.end! - 1;
  throw new HvshError(`nothing was recorded in ${folder}`, {
    remedy: "let the guest run before it is closed",
  });
}
