/** open, boot, backend, hosts, capabilities, info status and info mtree. */
import type { BackendName, BootSpec } from "../../dsl/mod.ts";
import { bootSector, elf, firmware, flat, linux } from "../../dsl/boot.ts";
import { hosts } from "../../dsl/open.ts";
import { InputError } from "../../dsl/nouns.ts";
import type { Answer, Invocation } from "../command.ts";
import { guessFile } from "../image.ts";
import { showPosition } from "../render/stop.ts";
import { bare, size, table } from "../render/text.ts";
import type { Session } from "../session.ts";
import { guest } from "./selected.ts";

/** `hosts`: which hypervisors can be used here. */
export async function listHosts(session: Session): Promise<Answer> {
  const list = await hosts();
  const { style } = session;
  const rows = list.map((h) => [
    style.symbol(h.backend),
    h.usable ? "usable" : "-",
    h.usable ? h.detail : `${h.reason}; ${h.remedy}`,
  ]);
  return { text: table(rows, session.width), data: list };
}

/** `capabilities [NAME]`: what this backend can do on this host, and how that is known. */
export function capabilities(session: Session, rest: string): Answer {
  const all = [...guest(session).capabilities].filter(([name]) => rest === "" || name.includes(rest));
  if (all.length === 0) {
    throw new InputError(`No capability is named "${rest}"`, { remedy: "capabilities lists them all" });
  }
  const { style } = session;
  const rows = all.map(([name, c]) => [
    style.symbol(name),
    c.usable ? "yes" : style.error("no"),
    c.usable ? c.how : [c.reason ?? c.how, c.remedy].filter((t) => t !== undefined).join("; "),
  ]);
  return { text: table(rows, session.width), data: Object.fromEntries(all) };
}

/** `backend [NAME]`: where the next guest opens. A running guest stays where it is. */
export async function backend(session: Session, rest: string): Promise<Answer> {
  if (rest !== "") {
    const known = await hosts();
    if (!known.some((h) => h.backend === rest)) {
      throw new InputError(`There is no backend "${rest}"`, {
        remedy: `backends: ${known.map((h) => h.backend).join(", ")}`,
      });
    }
    session.options = { ...session.options, backend: rest as BackendName };
  }
  const next = session.options.backend ?? "the best usable one";
  const present = session.vm === undefined ? "" : `This guest is on ${session.vm.backend}. `;
  return {
    text: `${present}The next guest opens on ${next}.\n`,
    data: { present: session.vm?.backend, next: session.options.backend },
  };
}

/** `open [BACKEND]`: a guest as the options say. */
export async function open(session: Session, rest: string): Promise<Answer> {
  if (rest !== "") await backend(session, rest);
  const vm = await session.open();
  const boot = session.options.boot;
  const what = boot === undefined ? "nothing loaded" : `${boot.kind} ${boot.source}`;
  const position = await showPosition(session);
  return {
    text: `Opened on ${vm.backend}: ${what}.\n${position.text}`,
    data: { backend: vm.backend, boot: boot?.kind, ...(position.data as object) },
  };
}

const KINDS = ["firmware", "sector", "flat", "elf", "linux"] as const;

/** `boot [firmware|sector|flat|elf|linux] FILE [COMMAND LINE]`: opens a guest that boots it. */
export async function boot(session: Session, { words }: Invocation): Promise<Answer> {
  const given = (KINDS as readonly string[]).includes(words[0])
    ? words[0] as typeof KINDS[number]
    : undefined;
  const [file, ...line] = given === undefined ? words : words.slice(1);
  if (file === undefined) {
    throw new InputError("boot needs a file", {
      remedy: "boot kernel.elf, boot firmware bios.bin, boot flat code.bin",
    });
  }
  const kind = given ?? await guess(file);
  session.options = { ...session.options, boot: spec(kind, file, line.join(" ")) };
  return await open(session, "");
}

function spec(kind: typeof KINDS[number], file: string, cmdline: string): BootSpec {
  switch (kind) {
    case "firmware":
      return firmware(file);
    case "sector":
      return bootSector(file);
    case "flat":
      return flat(file);
    case "elf":
      return elf(file, { cmdline });
    case "linux":
      return linux({ kernel: file, cmdline });
    default:
      return kind satisfies never;
  }
}

/** By its contents. */
async function guess(path: string): Promise<typeof KINDS[number]> {
  const { kind } = await guessFile(path).catch((cause: Error) => {
    // The same sentence, but a remedy for the prompt instead of the command line.
    throw new InputError(cause.message, {
      cause,
      remedy: "boot firmware|sector|flat|elf|linux FILE says what it is",
    });
  });
  return kind === "boot-sector" ? "sector" : kind === "multiboot" ? "elf" : kind;
}

/** `info status`. */
export function infoStatus(session: Session): Answer {
  const vm = guest(session);
  const { lastStop } = vm;
  const why = lastStop === undefined ? "" : ` (last stop: ${lastStop.kind})`;
  return {
    text: `VM status: ${vm.state}${why}\n`,
    data: { state: vm.state, backend: vm.backend, lastStop: lastStop?.kind },
  };
}

/** `info mtree`: guest-physical memory and what answers around it. */
export function infoMemoryTree(session: Session): Answer {
  const vm = guest(session);
  const rows = vm.memory.regions.map((r) => ({
    start: r.start,
    size: r.size,
    name: r.name,
    kind: r.readOnly ? "rom" : "ram",
  }));
  for (const device of vm.devices.list()) {
    for (const range of device.ranges) {
      if (range.space !== "mmio") continue;
      rows.push({ start: BigInt(range.start), size: BigInt(range.length), name: device.name, kind: "i/o" });
    }
  }
  rows.sort((a, b) => (a.start < b.start ? -1 : 1));
  const text = rows.map((r) =>
    `  ${bare(r.start, 16)}-${bare(r.start + r.size - 1n, 16)} (${r.kind}): ${r.name}, ${size(r.size)}\n`
  );
  return { text: `memory\n${text.join("")}`, data: rows };
}

/** `info drives`: in QEMU's place of `info block`, which answers itself where the drives are QEMU's. */
export async function infoDrives(session: Session): Promise<Answer> {
  const { drives, monitor } = guest(session);
  if (monitor !== undefined) {
    const answer = await (await import("./monitor.ts")).qemu(session, "info block");
    if (answer.text !== "") return answer;
  }
  if (drives.length === 0) return { text: "No drives.\n", data: [] };
  const data = drives.map(({ name, kind, medium, changes }) => ({
    name,
    kind,
    ...(medium === undefined ? {} : { bytes: medium.size }),
    ...(changes === undefined ? {} : { changed: changes.changed }),
  }));
  const rows = data.map((d) => [
    session.style.symbol(d.name),
    d.kind,
    d.bytes === undefined ? "empty" : size(d.bytes),
    d.changed === undefined ? "" : `${size(d.changed)} changed, kept beside it`,
  ]);
  return { text: table(rows, session.width), data };
}

/** `info signals`: there are none. */
export function infoSignals(): Answer {
  return {
    text: "A virtual machine has no signals; interrupts are what it has: irq, nmi, info lapic.\n",
    data: [],
  };
}
