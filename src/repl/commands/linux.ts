/** linux, dmesg, ps and lsmod. */
import type { LinuxInfo } from "../../dsl/mod.ts";
import { InputError } from "../../dsl/nouns.ts";
import type { Answer } from "../command.ts";
import { hexdump } from "../render/hexdump.ts";
import { count, hex, table } from "../render/text.ts";
import type { Session } from "../session.ts";
import { backtraceAnswer } from "./frames.ts";
import { readSymbolFile } from "./symbols.ts";
import { guest } from "./selected.ts";
import { evaluate, evaluateCount, splitExpressions } from "./values.ts";

/** Bytes that `linux memory` shows without a length, and at most. */
const SHOWN = 256;
const MOST_SHOWN = 65536n;
const FRAMES = 64;

/** `linux`: what was found; or one of its parts. */
export async function linux(session: Session, rest: string): Promise<Answer> {
  const [, part, after] = /^(\S*)\s*(.*)$/.exec(rest) ?? ["", "", ""];
  const { linux } = guest(session);
  switch (part) {
    case "":
      return await found(session);
    case "symbols":
      return await addSymbols(session, after);
    case "backtrace":
    case "bt": {
      const task = await evaluateCount(session, need(after, "linux backtrace 1"), "The task");
      await linux.locate();
      return await backtraceAnswer(session, await linux.backtrace({ task, limit: FRAMES }));
    }
    case "memory":
      return await memory(session, after);
    case "vmcoreinfo": {
      const text = await linux.vmcoreinfo();
      return { text: text ?? "The kernel has not made its VMCOREINFO yet.\n", data: text ?? null };
    }
    default:
      throw new InputError(`linux has no part "${part}"`, {
        remedy: "linux, linux symbols FILE, linux backtrace TASK, linux memory PROCESS ADDRESS, LENGTH",
      });
  }
}

function need(argument: string, example: string): string {
  if (argument === "") throw new InputError("An argument is missing", { remedy: example });
  return argument;
}

async function found(session: Session): Promise<Answer> {
  const vm = guest(session);
  const info = await vm.linux.locate();
  const running: { vcpu: number; pid: number; name: string }[] = [];
  for (const { index } of info.types === undefined ? [] : vm.vcpus) {
    const task = await vm.linux.current(index);
    if (task !== undefined) running.push({ vcpu: index, pid: task.pid, name: task.name });
  }
  const rows = [
    ["text", `${session.style.address(hex(info.text))}${moved(info.kaslr, "KASLR moved it by")}`],
    ["physical", `${hex(info.physical)}${moved(info.moved, "moved by")}`],
    ["symbols", `${info.symbols} of the kernel, ${info.moduleSymbols} of ${count(info.modules, "module")}`],
    ["types", typesOf(info)],
    ...running.map(({ vcpu, pid, name }) => [`vCPU ${vcpu}`, `runs ${pid} (${name})`]),
  ];
  return {
    text: `${info.banner}\n${table(rows, session.width)}${damaged(info.damage)}`,
    data: { ...info, running },
  };
}

function moved(by: bigint, how: string): string {
  return by === 0n ? "" : `, ${how} ${by < 0n ? "-" : ""}${hex(by < 0n ? -by : by)}`;
}

function typesOf({ types, vmcoreinfo }: LinuxInfo): string {
  const btf = types === undefined ? "no BTF" : `BTF with ${types}`;
  return `${btf}, ${vmcoreinfo ? "VMCOREINFO" : "no VMCOREINFO (yet)"}`;
}

async function addSymbols(session: Session, path: string): Promise<Answer> {
  const bytes = await readSymbolFile(need(path, "linux symbols vmlinux"));
  const { count: added, bias } = await guest(session).linux.addSymbols(path, bytes);
  return {
    text: `${count(added, "symbol")} from ${path}${bias === 0n ? "" : `, moved by ${hex(bias)}`}.\n`,
    data: { file: path, symbols: added, bias },
  };
}

/** `linux memory PROCESS ADDRESS [, LENGTH]`. */
async function memory(session: Session, rest: string): Promise<Answer> {
  const [, number, after] = /^(\d+)\s+(.+)$/.exec(rest) ?? [];
  if (after === undefined) {
    throw new InputError("linux memory takes a process and an address", {
      remedy: "linux memory 1 0x400000, 64",
    });
  }
  const [where, words] = splitExpressions(after);
  const address = (await evaluate(session, where)).value;
  const length = words === undefined ? SHOWN : await evaluateCount(session, words, "The length", MOST_SHOWN);
  const bytes = await guest(session).linux.readProcess(Number(number), address, length);
  return { text: hexdump(address, bytes, session.style, session.width), data: { address, bytes } };
}

/** `dmesg [COUNT]`. */
export async function dmesg(session: Session, rest: string): Promise<Answer> {
  const { linux } = guest(session);
  if (rest === "") return { text: await linux.dmesg(), data: await linux.log() };
  const records = (await linux.log()).slice(-await evaluateCount(session, rest, "The number"));
  return { text: linux.format(records), data: records };
}

/** `ps [threads] [PART]`. */
export async function ps(session: Session, rest: string): Promise<Answer> {
  const { linux } = guest(session);
  const threads = /^threads\b/.test(rest);
  const part = rest.replace(/^threads\s*/, "");
  const { tasks, damage } = await linux.tasks({ threads });
  const running = new Map<bigint, number>();
  for (const { index } of guest(session).vcpus) {
    const task = await linux.current(index);
    if (task !== undefined) running.set(task.address, index);
  }
  const shown = tasks.filter(({ name, pid }) => name.includes(part) || String(pid) === part);
  const rows = shown.map((t) => [
    `${running.has(t.address) ? "*" : " "}${t.pid}`,
    ...(threads ? [String(t.tgid)] : []),
    String(t.parent),
    t.state,
    String(t.cpu),
    t.kernel ? `[${t.name}]` : t.name,
  ]);
  const head = [" PID", ...(threads ? ["TGID"] : []), "PPID", "S", "CPU", "COMMAND"];
  return {
    text: table([head, ...rows], session.width) + damaged(damage),
    data: { tasks: shown, ...(damage !== undefined && { damage }) },
  };
}

/** `lsmod`. */
export async function lsmod(session: Session): Promise<Answer> {
  const { modules, damage } = await guest(session).linux.modules();
  const rows = modules.map((m) => [
    m.name,
    String(m.size),
    String(m.references),
    m.state,
    session.style.address(hex(m.base)),
    m.usedBy.join(","),
  ]);
  return {
    text: table([["Module", "Size", "Used", "State", "At", "By"], ...rows], session.width) + damaged(damage),
    data: { modules, ...(damage !== undefined && { damage }) },
  };
}

function damaged(damage: string | undefined): string {
  return damage === undefined ? "" : `Not all is there: ${damage}\n`;
}
