/**
 * `hvsh selftest`, `deno task selftest`: what this host is, what its hypervisor can do, and whether hvsh keeps its
 * promises on it. Prints a report to paste; `--json` prints it as data. Exit code 1 if something failed that should work.
 */
import { parseArgs } from "node:util";
import { type Host, hosts, MiB, open } from "../mod.ts";
import {
  columnOf,
  type ContractBackend,
  type ContractResult,
  runContract,
} from "../tests/backend_contract.ts";
import { contractBackends } from "../tests/contract_backends.ts";
import {
  type CapabilityRow,
  exitCode,
  type Facts,
  readCpu,
  type Report,
  reportText,
} from "./selftest_report.ts";

/** What a self-test takes from the host; tests give it others. */
export interface Sources {
  facts(): Promise<Facts>;
  capabilities(hosts: readonly Host[]): Promise<CapabilityRow[]>;
  backends(): Promise<readonly ContractBackend[]>;
  run(backend: ContractBackend, onResult: (result: ContractResult) => void): Promise<ContractResult[]>;
}

/**
 * Gathers the whole report. What fails on the way is part of it, and does not keep the rest from being tried.
 *
 * @param progress Told of each step, for a person who waits.
 */
export async function selftest(
  sources: Sources = HOST,
  progress: (line: string) => void = () => {},
): Promise<Report> {
  const problems: string[] = [];
  const facts = await sources.facts();
  const attempt = async <T>(what: string, make: () => Promise<T[]>): Promise<T[]> => {
    progress(what);
    try {
      return await make();
    } catch (error) {
      problems.push(`${what}: ${error instanceof Error ? error.stack ?? error.message : error}`);
      return [];
    }
  };
  const capabilities = await attempt("capabilities", () => sources.capabilities(facts.hosts));
  const results: ContractResult[] = [];
  for (const backend of await attempt("backends", async () => [...await sources.backends()])) {
    const column = `contract on ${backend.name} (${columnOf(backend)})`;
    await attempt(column, () => sources.run(backend, (result) => results.push(result)));
  }
  return { facts, capabilities, results, problems };
}

/** A file's text without the white space around it; undefined if it can't be read. */
async function text(path: string): Promise<string | undefined> {
  return await Deno.readTextFile(path).then((found) => found.trim(), () => undefined);
}

/** The version, and the commit where this is a checkout. */
async function version(): Promise<string> {
  const root = new URL("..", import.meta.url);
  const { version = "0" } = JSON.parse(await Deno.readTextFile(new URL("package.json", root)));
  const git = new Deno.Command("git", { args: ["rev-parse", "--short", "HEAD"], cwd: root, stderr: "null" });
  const commit = await git.output().then(({ stdout }) => new TextDecoder().decode(stdout).trim(), () => "");
  return commit === "" ? version : `${version} (commit ${commit})`;
}

/** What is to be read about virtualization on Linux, below this machine and in it. */
async function virtualization(flags: readonly string[]): Promise<string[]> {
  const lines = [
    `CPU flags: ${
      ["vmx", "svm", "hypervisor"].map((f) => `${f} ${flags.includes(f) ? "yes" : "no"}`).join(", ")
    }`,
  ];
  const product = (await Promise.all(
    ["sys_vendor", "product_name"].map((name) => text(`/sys/class/dmi/id/${name}`)),
  )).filter((found) => found);
  if (product.length > 0) lines.push(`Machine: ${product.join(" ")}`);
  const xen = await text("/sys/hypervisor/type");
  if (xen) lines.push(`Under a hypervisor that shows itself: ${xen}`);
  for (const module of ["kvm_intel", "kvm_amd"]) {
    const parameters = await Promise.all(
      ["nested", "ept", "npt", "unrestricted_guest"].map(async (name) => {
        const value = await text(`/sys/module/${module}/parameters/${name}`);
        return value === undefined ? "" : `${name}=${value}`;
      }),
    );
    if (parameters.some(Boolean)) lines.push(`Module ${module}: ${parameters.filter(Boolean).join(" ")}`);
  }
  const lab = Deno.env.get("HVSH_LAB");
  if (lab) lines.push(`This is hvsh's ${lab} lab: QEMU without acceleration.`);
  return lines;
}

/** The host at hand. */
const HOST: Sources = {
  async facts() {
    const cpu = readCpu(await text("/proc/cpuinfo") ?? "");
    return {
      hvsh: await version(),
      deno: Deno.version.deno,
      kernel: Deno.osRelease(),
      cpu: { vendor: cpu.vendor, model: cpu.model, count: cpu.count },
      virtualization: await virtualization(cpu.flags),
      hosts: await hosts(),
    };
  },
  async capabilities(list) {
    const rows: CapabilityRow[] = [];
    for (const { backend, usable } of list) {
      if (!usable || backend === "fake") continue;
      await using vm = await open({ backend, memory: MiB(1) });
      for (const [name, { usable, how, reason }] of vm.capabilities) {
        rows.push({ backend, name, usable, how, ...(reason !== undefined && { reason }) });
      }
    }
    return rows;
  },
  backends: async () => (await contractBackends()).backends,
  run: runContract,
};

if (import.meta.main) {
  const { values } = parseArgs({
    options: { json: { type: "boolean" }, help: { type: "boolean", short: "h" } },
  });
  if (values.help) {
    console.log(
      "hvsh selftest [--json]: what this host can do, and whether hvsh works on it; a report to paste",
    );
    Deno.exit(0);
  }
  const terminal = Deno.stderr.isTerminal();
  const report = await selftest(HOST, (line) => terminal && console.error(`selftest: ${line} ...`));
  console.log(values.json ? JSON.stringify(report, undefined, 1) : reportText(report));
  Deno.exit(exitCode(report));
}
