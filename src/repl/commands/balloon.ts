/** balloon: memory that the guest lends the host. */
import type { BalloonStatistics, VirtioBalloon } from "../../dsl/mod.ts";
import { MiB, UnsupportedError } from "../../dsl/nouns.ts";
import type { Answer } from "../command.ts";
import { table } from "../render/text.ts";
import type { Session } from "../session.ts";
import { parseSize } from "../size.ts";
import { guest } from "./selected.ts";

/** How long a guest may take to tell its statistics. */
const TIMEOUT_MS = 10_000;

/** `balloon`, `balloon SIZE`, `balloon statistics`. */
export async function balloon(session: Session, rest: string): Promise<Answer> {
  const vm = guest(session);
  const { balloon } = vm;
  if (balloon === undefined) {
    throw new UnsupportedError("balloon", "this guest has no balloon", {
      remedy: "open it with devices: [virtioBalloon()], or device_add virtioBalloon()",
    });
  }
  if (/^stat(istic)?s?$/.test(rest)) {
    const statistics = await ask(session, balloon);
    const rows = Object.entries(statistics).map(([name, value]) => [
      `  ${session.style.register(name)}`,
      /^(free|total|available|caches)$|^swap/.test(name) ? mebibytes(Number(value)) : String(value),
    ]);
    return { text: table(rows, session.width), data: statistics };
  }
  if (rest !== "") balloon.target = /^0+$/.test(rest) ? 0 : parseSize(rest);
  const { target, actual } = balloon;
  return {
    text: `The guest lends ${mebibytes(actual)}, and is asked for ${mebibytes(target)}.\n`,
    data: { target, actual },
  };
}

/** A guest that stands still is let run for as long as it takes. */
async function ask(session: Session, balloon: VirtioBalloon): Promise<BalloonStatistics> {
  const vm = guest(session);
  if (vm.state !== "paused") return await balloon.statistics({ timeoutMs: TIMEOUT_MS });
  const asked = balloon.statistics({ timeoutMs: TIMEOUT_MS });
  // What it answers, or why not, is told below.
  let done = false;
  const settled = asked.then(() => {}, () => {}).finally(() => done = true);
  await new Promise((resolve) => setTimeout(resolve));
  if (done) return await asked;
  const ended = new AbortController();
  const running = vm.continue({ timeoutMs: TIMEOUT_MS }).finally(() => ended.abort());
  await Promise.race([settled, running]);
  if (!ended.signal.aborted) await vm.pause();
  await running;
  return await asked;
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / MiB(1) * 10) / 10} MiB`;
}
