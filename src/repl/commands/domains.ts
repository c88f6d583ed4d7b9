/** domains: those of this Xen host. */
import type { Domain, EventChannel, Grant, PvState } from "../../dsl/mod.ts";
import {
  cleanDomains,
  domains as listDomains,
  hypervisorLog,
  inspectDomain,
  repairDomains,
} from "../../dsl/attach.ts";
import { InputError } from "../../dsl/nouns.ts";
import type { Answer } from "../command.ts";
import { hex, size, table } from "../render/text.ts";
import type { Session } from "../session.ts";

/** `domains [clean | log [LINES] | show DOMAIN]`: the domains of this Xen host, and what is known of them. */
export async function domains(session: Session, rest: string): Promise<Answer> {
  const [, verb, argument] = /^(\S*)\s*(.*)$/s.exec(rest)!;
  if (verb === "show" && argument !== "") return await show(session, argument);
  if (verb === "log" && /^\d*$/.test(argument)) return await log(argument);
  if (rest === "clean") {
    const names = await cleanDomains();
    const repaired = await repairDomains();
    const lines = [
      ...(names.length > 0 ? [`Destroyed ${names.join(", ")}.`] : []),
      ...repaired.map((sentence) => `${sentence}.`),
    ];
    const text = lines.length === 0 ? "No hvsh left any." : lines.join("\n");
    return { text: `${text}\n`, data: { destroyed: names, repaired } };
  }
  if (rest !== "") {
    throw new InputError(`domains does not know "${rest}"`, {
      remedy: "domains, domains show DOMAIN, domains log LINES, domains clean",
    });
  }
  const list = await listDomains();
  return { text: domainTable(list, session), data: list };
}

/** What xenstore and the hypervisor know of one. */
async function show(session: Session, domain: string): Promise<Answer> {
  const details = await inspectDomain(domain);
  const part = (title: string, rows: string[][]) =>
    `${title}${rows.length === 0 ? " none\n" : `\n${table(rows.map((row) => ["", ...row]), session.width)}`}`;
  const text = [
    domainTable([details], session),
    part(`xenstore, /local/domain/${details.id}:`, details.store.map(({ path, value }) => [path, value])),
    part("event channels:", details.channels.map(channelRow)),
    details.pv.length === 0 ? "" : part("PV state of its vCPUs:", details.pv.map(pvRow)),
    details.grants === undefined
      ? "grants: can't be read (dom0's own, or a table of version 2)\n"
      : part("grants:", details.grants.map(grantRow)),
  ].join("");
  return { text, data: details };
}

function channelRow(channel: EventChannel): string[] {
  const { port, vcpu, kind } = channel;
  const to = kind === "unbound"
    ? `for domain ${channel.domain}`
    : kind === "interdomain"
    ? `domain ${channel.domain}, port ${channel.remotePort}`
    : kind === "ipi" || kind === "xen"
    ? ""
    : `${channel.line}`;
  return [`port ${port}`, kind === "xen" ? "" : `vCPU ${vcpu}`, kind === "xen" ? "Xen's own" : kind, to];
}

function pvRow({ vcpu, inKernel, kernelStack, callbacks, gdt }: PvState): string[] {
  return [
    `vCPU ${vcpu}`,
    inKernel ? "in the kernel" : "in a program",
    `kernel stack ${hex(kernelStack.ss)}:${hex(kernelStack.sp)}`,
    `callbacks: event ${hex(callbacks.event)}, failsafe ${hex(callbacks.failsafe)}, syscall ${
      hex(callbacks.syscall)
    }`,
    `GDT: ${gdt.entries} descriptors in ${
      gdt.frames.map((frame) => `mfn ${hex(frame)}`).join(", ") || "none"
    }`,
  ];
}

function grantRow({ reference, domain, frame, access, mapped }: Grant): string[] {
  return [`${reference}`, `domain ${domain}`, `frame ${hex(frame)}`, access, ...(mapped ? ["mapped"] : [])];
}

/** The hypervisor's log, or its last lines. */
async function log(lines: string): Promise<Answer> {
  const text = await hypervisorLog();
  const all = text.trimEnd().split("\n");
  return {
    text: `${(lines === "" ? all : all.slice(-Number(lines) || all.length)).join("\n")}\n`,
    data: text,
  };
}

function domainTable(list: readonly Domain[], session: Session): string {
  const rows = list.map((d) => [
    String(d.id),
    session.style.symbol(d.name === "" ? "-" : d.name),
    d.kind,
    `${d.vcpus} vCPU${d.vcpus === 1 ? "" : "s"}`,
    size(BigInt(d.memory)),
    d.state,
    `${(Number(d.cpuTime) / 1e9).toFixed(1)} s`,
  ]);
  return table(rows, session.width);
}
