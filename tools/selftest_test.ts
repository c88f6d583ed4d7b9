import assert from "node:assert/strict";
import type { ContractBackend, ContractResult } from "../tests/backend_contract.ts";
import { selftest, type Sources } from "./selftest.ts";
import { exitCode, type Facts, readCpu, reportText } from "./selftest_report.ts";

const FACTS: Facts = {
  hvsh: "1.2.3",
  deno: "2.9.6",
  kernel: "6.1.0-56-amd64",
  cpu: { vendor: "AuthenticAMD", model: "AMD EPYC Processor", count: 2 },
  virtualization: ["CPU flags: vmx no, svm yes, hypervisor yes"],
  hosts: [
    { backend: "kvm", usable: true, detail: "/dev/kvm, KVM API version 12" },
    { backend: "xen-pv", usable: false, reason: "no Xen here", remedy: "none" },
  ],
};

const BACKEND = { name: "kvm", place: "this host", mode: "long" } as ContractBackend;

const result = (name: string, outcome: ContractResult["outcome"], reason?: string): ContractResult => ({
  group: "step",
  name,
  backend: "kvm",
  place: "this host",
  mode: "long",
  outcome,
  ...(reason !== undefined && { reason }),
  time: 500,
});

function sources(results: ContractResult[], changes: Partial<Sources> = {}): Sources {
  return {
    facts: () => Promise.resolve(FACTS),
    capabilities: () =>
      Promise.resolve([
        { backend: "kvm", name: "single-step", usable: true, how: "probe: two steps" },
        { backend: "kvm", name: "breakpoint-hardware", usable: false, how: "probe", reason: "ran past it" },
      ]),
    backends: () => Promise.resolve([BACKEND]),
    run: (_, onResult) => {
      results.forEach(onResult);
      return Promise.resolve(results);
    },
    ...changes,
  };
}

Deno.test("selftest: a report tells the host, the capabilities and the contract, and that nothing failed", async () => {
  const report = await selftest(sources([result("a", "passed"), result("b", "skipped", "no NMI")]));
  assert.equal(exitCode(report), 0);
  assert.equal(
    reportText(report),
    `hvsh 1.2.3, Deno 2.9.6, Linux 6.1.0-56-amd64
CPU: AMD EPYC Processor (AuthenticAMD), 2 of them
CPU flags: vmx no, svm yes, hypervisor yes

Backends:
  kvm      usable: /dev/kvm, KVM API version 12
  xen-pv   no: no Xen here

Capabilities of kvm:
  single-step         yes probe: two steps
  breakpoint-hardware NO  probe: ran past it

Contract:
  kvm (long)               1 passed, 0 failed, 1 skipped in 1.0 s
  skipped: no NMI

Nothing failed.`,
  );
});

Deno.test("selftest: a case that fails shows with its message, and the exit code is 1", async () => {
  const report = await selftest(sources([result("a", "passed"), result("b", "failed", "1 !== 2\nmore")]));
  assert.equal(exitCode(report), 1);
  assert.match(reportText(report), /FAILED step: b \[kvm \(long\)\]\n {4}1 !== 2\n {4}more\n/);
});

Deno.test("selftest: what throws on the way is told, and the rest is tried", async () => {
  const report = await selftest(sources([result("a", "passed")], {
    capabilities: () => Promise.reject(new Error("no memory")),
  }));
  assert.equal(exitCode(report), 1);
  assert.equal(report.results.length, 1);
  assert.match(reportText(report), /capabilities: Error: no memory/);
});

Deno.test("selftest: a host without any hypervisor is no failure", async () => {
  const report = await selftest(sources([], {
    capabilities: () => Promise.resolve([]),
    backends: () => Promise.resolve([]),
  }));
  assert.equal(exitCode(report), 0);
  assert.match(reportText(report), /nothing was run/);
});

Deno.test("selftest: /proc/cpuinfo is read, also where it lacks what is looked for", () => {
  const text =
    "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\nflags\t\t: fpu vmx\n\nprocessor\t: 1\n";
  const cpu = readCpu(text);
  assert.deepEqual(cpu, { vendor: "GenuineIntel", model: "Xeon", count: 2, flags: ["fpu", "vmx"] });
  assert.equal(readCpu("").model, "unknown");
});

Deno.test("selftest: `hvsh selftest` is this program, with its exit code", async () => {
  const run = async (...args: string[]) =>
    await new Deno.Command(Deno.execPath(), {
      args: ["run", "-q", "-A", "--no-check", "src/repl/main.ts", "--cwd=/", "selftest", ...args],
      cwd: new URL("..", import.meta.url),
    }).output();
  const { code, stdout } = await run("--help");
  assert.equal(code, 0);
  assert.match(new TextDecoder().decode(stdout), /^hvsh selftest \[--json\]/);
  assert.notEqual((await run("--no-such-option")).code, 0);
});
