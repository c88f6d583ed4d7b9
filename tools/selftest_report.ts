import type { Host } from "../mod.ts";
import type { ContractResult } from "../tests/backend_contract.ts";

/** What can be said of a machine without running a guest on it. */
export interface Facts {
  readonly hvsh: string;
  readonly deno: string;
  /** `uname -r`. */
  readonly kernel: string;
  readonly cpu: { readonly vendor: string; readonly model: string; readonly count: number };
  /** What tells whether this machine is itself a guest, and which KVM it has; a line each. */
  readonly virtualization: readonly string[];
  readonly hosts: readonly Host[];
}

/** One capability, as a row of the report. */
export interface CapabilityRow {
  readonly backend: string;
  readonly name: string;
  readonly usable: boolean;
  readonly how: string;
  readonly reason?: string;
}

/** A whole self-test. */
export interface Report {
  readonly facts: Facts;
  readonly capabilities: readonly CapabilityRow[];
  readonly results: readonly ContractResult[];
  /** What went wrong outside the contract's cases. */
  readonly problems: readonly string[];
}

/** 0 if nothing failed that should work; 1 otherwise. A backend or capability that this host lacks is no failure. */
export function exitCode({ results, problems }: Report): number {
  return problems.length > 0 || results.some(({ outcome }) => outcome === "failed") ? 1 : 0;
}

/** The report as a user pastes it. */
export function reportText(report: Report): string {
  const { facts, capabilities, results, problems } = report;
  const { hvsh, deno, kernel, cpu, virtualization, hosts } = facts;
  const lines = [
    `hvsh ${hvsh}, Deno ${deno}, Linux ${kernel}`,
    `CPU: ${cpu.model} (${cpu.vendor}), ${cpu.count} of them`,
    ...virtualization,
    "",
    "Backends:",
    ...hosts.map((host) =>
      `  ${host.backend.padEnd(8)} ${host.usable ? `usable: ${host.detail}` : `no: ${host.reason}`}`
    ),
  ];
  const width = Math.max(0, ...capabilities.map(({ name }) => name.length));
  for (const backend of new Set(capabilities.map((row) => row.backend))) {
    lines.push("", `Capabilities of ${backend}:`);
    for (const { name, usable, how, reason } of capabilities.filter((row) => row.backend === backend)) {
      lines.push(`  ${name.padEnd(width)} ${usable ? "yes" : "NO "} ${how}${reason ? `: ${reason}` : ""}`);
    }
  }
  lines.push("", "Contract:");
  for (const column of new Set(results.map(columnOf))) {
    const own = results.filter((result) => columnOf(result) === column);
    const count = (outcome: ContractResult["outcome"]) => own.filter((r) => r.outcome === outcome).length;
    const seconds = own.reduce((sum, { time }) => sum + time, 0) / 1000;
    lines.push(
      `  ${column.padEnd(24)} ${count("passed")} passed, ${count("failed")} failed, ${
        count("skipped")
      } skipped` +
        ` in ${seconds.toFixed(1)} s`,
    );
  }
  if (results.length === 0) lines.push("  nothing was run");
  for (const reason of new Set(results.filter((r) => r.outcome === "skipped").map((r) => r.reason))) {
    lines.push(`  skipped: ${reason}`);
  }
  for (const result of results) {
    if (result.outcome !== "failed") continue;
    lines.push(
      `  FAILED ${result.group}: ${result.name} [${columnOf(result)}]`,
      ...indented(result.reason ?? "no reason given"),
    );
  }
  for (const problem of problems) lines.push("FAILED", ...indented(problem));
  lines.push("", exitCode(report) === 0 ? "Nothing failed." : "Something failed: please report all of this.");
  return lines.join("\n");
}

const columnOf = ({ backend, mode }: ContractResult) => `${backend} (${mode})`;

const indented = (text: string) => text.split("\n").map((line) => `    ${line}`.trimEnd());

/** What /proc/cpuinfo says of the processors. */
export function readCpu(text: string): Facts["cpu"] & { readonly flags: readonly string[] } {
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, "m").exec(text)?.[1] ?? "unknown";
  return {
    vendor: field("vendor_id"),
    model: field("model name"),
    count: text.match(/^processor\s*:/gm)?.length ?? 0,
    flags: field("flags").split(" "),
  };
}
