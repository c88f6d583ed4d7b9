/** vcpu, msr, lapic, cpuid, info threads and info events. */
import { InputError } from "../../dsl/nouns.ts";
import { linearRip } from "../../dsl/modes.ts";
import { cpuidSummary, lapicRegisters, msrName, msrNumber } from "../../dsl/x86.ts";
import type { Answer } from "../command.ts";
import { renderAutopsy } from "../render/autopsy.ts";
import { hex, table } from "../render/text.ts";
import type { Session } from "../session.ts";
import { vcpuIndex } from "./breakpoints.ts";
import { guest, symbolAt, vcpuOf } from "./selected.ts";
import { evaluate, evaluateCount, splitExpressions } from "./values.ts";

/** `vcpu [N]`, `thread [N]`: which vCPU commands speak of. */
export async function vcpu(session: Session, rest: string): Promise<Answer | void> {
  const vm = guest(session);
  const apply = /^apply\s+(all|[\d\s]+?)\s+(\S[^]*)$/.exec(rest);
  if (apply !== null) return await onEach(session, apply[1], apply[2]);
  if (rest !== "") {
    session.vcpu = vcpuIndex(vm, (await evaluate(session, rest)).value);
    session.frame = 0;
    session.backtrace = undefined;
  }
  const registers = await vcpuOf(session).registers();
  const at = linearRip(registers);
  const symbol = symbolAt(vm, at);
  const head = rest === "" ? "Current vCPU is" : "Switching to vCPU";
  return {
    text: `[${head} ${session.vcpu}: ${hex(at)}${symbol === undefined ? "" : ` in ${symbol} ()`}]\n`,
    data: { vcpu: session.vcpu, address: at },
  };
}

/** `thread apply all LINE`, `thread apply 0 2 LINE`: a line for several vCPUs, one after the other. */
async function onEach(session: Session, which: string, line: string): Promise<void> {
  const vm = guest(session);
  const before = session.vcpu;
  const chosen = which === "all"
    ? vm.vcpus.map(({ index }) => index)
    : which.split(/\s+/).map((n) => vcpuIndex(vm, BigInt(n)));
  try {
    for (const index of chosen) {
      session.vcpu = index;
      session.frame = 0;
      session.backtrace = undefined;
      session.print(`${session.style.heading(`vCPU ${index}:`)}\n`);
      await session.execute(line);
    }
  } finally {
    session.vcpu = before;
    session.frame = 0;
    session.backtrace = undefined;
  }
}

/** `info threads`, `info vcpus`. */
export async function infoVcpus(session: Session): Promise<Answer> {
  const vm = guest(session);
  const rows: string[][] = [["", "Id", "State", "Frame"]];
  const data: unknown[] = [];
  for (const v of vm.vcpus) {
    const at = vm.state === "paused" ? linearRip(await v.registers()) : undefined;
    const symbol = at === undefined ? undefined : symbolAt(vm, at);
    const frame = at === undefined ? "" : `${session.style.address(hex(at))} in ${symbol ?? "??"} ()`;
    rows.push([v.index === session.vcpu ? "*" : "", `vCPU ${v.index}`, vm.state, frame]);
    data.push({ vcpu: v.index, state: vm.state, address: at });
  }
  return { text: table(rows, session.width, 1), data };
}

/** `msr` lists all; `msr NAME|NUMBER` reads; `msr NAME|NUMBER VALUE` writes. */
export async function msr(session: Session, rest: string): Promise<Answer> {
  const cpu = vcpuOf(session);
  if (rest === "") {
    const rows: string[][] = [];
    const data: { index: number; name?: string; value: bigint }[] = [];
    for (const index of await cpu.msrs()) {
      const value = await cpu.readMsr(index);
      const name = msrName(index);
      rows.push([session.style.address(hex(index, 8)), session.style.register(name ?? ""), hex(value, 16)]);
      data.push({ index, name, value });
    }
    return { text: table(rows, session.width), data };
  }
  const [, named, after] = /^([A-Za-z_]\w*)\s*([^]*)$/.exec(rest) ?? [];
  const known = named === undefined ? undefined : msrNumber(named);
  const items = splitExpressions(known === undefined ? rest : after);
  const index = known ?? await evaluateCount(session, items.shift() ?? "", "An MSR's number", 0xffff_ffffn);
  const name = msrName(index);
  const [given] = items;
  if (given !== undefined) {
    const { value } = await evaluate(session, given);
    if (value >= 1n << 64n || value < -(1n << 63n)) throw new InputError("An MSR has 64 bits");
    await cpu.writeMsr(index, BigInt.asUintN(64, value));
  }
  const value = await cpu.readMsr(index);
  return {
    text: `msr ${hex(index)}${name === undefined ? "" : ` ${name}`} = ${hex(value, 16)}\n`,
    data: { index, name, value },
  };
}

/** `lapic`, `info lapic`: the local APIC's registers by name. */
export async function lapic(session: Session): Promise<Answer> {
  const page = await vcpuOf(session).lapic();
  const registers = lapicRegisters(page);
  const rows = registers.map((r) => [
    session.style.address(hex(r.offset, 3)),
    session.style.register(r.name),
    hex(r.value, 8),
    r.text ?? "",
  ]);
  return { text: table(rows, session.width), data: registers };
}

/** `info events`: exceptions, interrupts and NMIs that wait. */
export async function infoEvents(session: Session): Promise<Answer> {
  const events = await vcpuOf(session).events();
  const lines: string[] = [];
  if (events.exception !== undefined) {
    const { vector, errorCode, pending } = events.exception;
    const code = errorCode === undefined ? "" : `, error code ${hex(errorCode)}`;
    lines.push(`exception ${vector} ${pending ? "pending" : "injected"}${code}`);
  }
  if (events.interrupt !== undefined) {
    lines.push(
      `${events.interrupt.soft ? "software " : ""}interrupt ${hex(events.interrupt.vector, 2)} injected`,
    );
  }
  if (events.nmiPending) lines.push("NMI pending");
  if (events.nmiInjected) lines.push("NMI injected");
  if (events.nmiMasked) lines.push("NMIs masked");
  if (events.smm) lines.push("in system management mode");
  if (events.shadow !== 0) {
    lines.push(`interrupt shadow: ${["", "MOV SS", "STI", "MOV SS and STI"][events.shadow & 3]}`);
  }
  if (lines.length === 0) lines.push("nothing pending");
  return { text: lines.map((l) => `${l}\n`).join(""), data: events };
}

/** `cpuid`: what the leaves say; `cpuid LEAF [SUBLEAF]`, `cpuid all`: their registers. */
export async function cpuid(session: Session, rest: string): Promise<Answer> {
  const leaves = await guest(session).cpuid(session.vcpu);
  const { style, width } = session;
  if (rest === "") {
    const { features, ...about } = cpuidSummary(leaves);
    const rows = Object.entries(about).map(([name, value]) => [style.register(name), String(value)]);
    return {
      text: table([...rows, [style.register("features"), features.join(" ")]], width),
      data: { ...about, features },
    };
  }
  let shown = leaves;
  if (rest !== "all") {
    const [leaf, subleaf] = splitExpressions(rest);
    const number = await evaluateCount(session, leaf, "A leaf", 0xffff_ffffn);
    const index = subleaf === undefined
      ? undefined
      : await evaluateCount(session, subleaf, "A subleaf", 0xffff_ffffn);
    shown = leaves.filter((l) => l.function === number && (index === undefined || l.index === index));
    if (shown.length === 0) {
      throw new InputError(`This guest has no CPUID leaf ${rest}`, { remedy: "cpuid all lists them" });
    }
  }
  const rows = shown.map((l) => [
    style.address(`${hex(l.function, 8)}.${l.index}`),
    ...(["eax", "ebx", "ecx", "edx"] as const).map((r) => `${style.register(r)} ${hex(l[r], 8)}`),
  ]);
  return { text: table(rows, width), data: shown };
}

/** `autopsy`: what a triple fault's stop shows, at any stop. */
export async function autopsy(session: Session): Promise<Answer> {
  const vm = guest(session);
  const found = await vm.autopsy(session.vcpu);
  const symbol = (address: bigint) => symbolAt(vm, address);
  return { text: renderAutopsy(found, session.style, session.width, symbol), data: found };
}
