/** Who may import whom: the table of docs/architecture.md as data, checked against what `deno info` sees. */

import assert from "node:assert/strict";

const ROOT = new URL("../", import.meta.url);

/** What a folder (or a file at the top) may import: values, and types besides. */
interface Layer {
  readonly imports: readonly string[];
  readonly types?: readonly string[];
}

const BACKENDS = ["kvm", "xen", "remote", "host", "backing"];
const BELOW_DSL = ["abi", "vm", "x86", "devices", "debug", "linux", "gdb"];

const LAYERS: Readonly<Record<string, Layer>> = {
  "src/abi": { imports: [] },
  "src/vm": { imports: [] },
  "src/host": { imports: ["abi"] },
  "src/x86": { imports: ["vm"] },
  "src/devices": { imports: ["vm"] },
  "src/backing": { imports: ["abi", "host", "vm"] },
  "src/kvm": { imports: ["abi", "host", "vm", "x86"] },
  "src/xen": { imports: ["abi", "host", "vm", "x86"] },
  "src/remote": { imports: ["abi", "vm", "x86"] },
  "src/debug": { imports: ["vm", "x86"] },
  "src/linux": { imports: ["vm", "x86"] },
  "src/gdb": { imports: ["abi", "vm", "x86", "debug"] },
  "src/dsl": { imports: BELOW_DSL },
  "src/dsl/gdb.ts": { imports: ["vm", "gdb", "host"] },
  "src/dsl/disks.ts": { imports: ["backing"] },
  "src/dsl/networks.ts": { imports: ["backing"] },
  "src/dsl/print_files.ts": { imports: ["backing"] },
  "src/dsl/sockets.ts": { imports: ["backing"] },
  "src/dsl/qemu_drives.ts": { imports: ["vm", "remote"] },
  "src/dsl/programs.ts": { imports: ["host"] },
  "src/dsl/qemu.ts": { imports: ["vm", "remote", "host"] },
  "src/dsl/qemu_slots.ts": { imports: ["vm", "remote", "host"] },
  "src/dsl/attach.ts": { imports: ["vm", "xen"] },
  "src/dsl/open.ts": { imports: [...BELOW_DSL, ...BACKENDS] },
  "src/repl": { imports: ["dsl"], types: ["vm", "debug"] },
  "src/web": { imports: ["dsl"], types: ["vm", "debug"] },
  "testing.ts": { imports: ["dsl"], types: ["vm", "debug"] },
  "mod.ts": { imports: ["dsl"] },
  "scripts": { imports: ["mod.ts", "testing.ts"] },
  "bench": { imports: ["mod.ts"] },
  // Finds and packs the kernel that it boots, and the guest's root, as the tests with Debian's kernel do.
  "bench/linux": { imports: ["mod.ts", "tests"] },
};

/** Folders whose files may import anything: they test and tend the rest. */
const FREE = ["tests", "tools"];

/** One import of a file by another, both named from the top of the repository. */
interface Edge {
  readonly from: string;
  readonly to: string;
  readonly kind: "value" | "type" | "dynamic";
}

interface InfoModule {
  readonly specifier: string;
  readonly dependencies?: readonly {
    readonly code?: { readonly specifier?: string };
    readonly type?: { readonly specifier?: string };
    readonly isDynamic?: boolean;
  }[];
}

/** Every .ts file that git knows or would add. */
async function files(): Promise<string[]> {
  const git = new Deno.Command("git", {
    args: ["ls-files", "--cached", "--others", "--exclude-standard", "*.ts"],
    cwd: ROOT,
  });
  const { stdout, success } = await git.output();
  assert.ok(success, "git ls-files works");
  const names = new TextDecoder().decode(stdout).split("\n").filter((n) => n !== "");
  const there = await Promise.all(
    names.map((n) => Deno.stat(new URL(n, ROOT)).then(() => true, () => false)),
  );
  return names.filter((_, i) => there[i]);
}

/** Every import among `names`. */
async function edges(names: readonly string[]): Promise<Edge[]> {
  const all = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(
      all,
      names.map((n) => `import ${JSON.stringify(new URL(n, ROOT).href)};\n`).join(""),
    );
    const info = new Deno.Command(Deno.execPath(), { args: ["info", "--json", all], cwd: ROOT });
    const { stdout, stderr, success } = await info.output();
    assert.ok(success, new TextDecoder().decode(stderr));
    const { modules } = JSON.parse(new TextDecoder().decode(stdout)) as { modules: InfoModule[] };
    const found: Edge[] = [];
    for (const { specifier, dependencies = [] } of modules) {
      const from = inRepository(specifier);
      if (from === undefined) continue;
      for (const { code, type, isDynamic } of dependencies) {
        const to = inRepository((code ?? type)?.specifier);
        if (to === undefined) continue;
        found.push({ from, to, kind: code === undefined ? "type" : isDynamic ? "dynamic" : "value" });
      }
    }
    return found;
  } finally {
    await Deno.remove(all);
  }
}

function inRepository(specifier: string | undefined): string | undefined {
  return specifier?.startsWith(ROOT.href) ? specifier.slice(ROOT.href.length) : undefined;
}

/** The row that holds for a file: the longest name it lies under. */
function layerOf(file: string): string | undefined {
  const rows = [...Object.keys(LAYERS), ...FREE];
  return rows.filter((row) => file === row || file.startsWith(row + "/")).sort((a, b) =>
    b.length - a.length
  )[0];
}

/** What a file is to those who import it: a folder of src, or a file at the top. */
function targetOf(file: string): string {
  return /^src\/([^/]+)\//.exec(file)?.[1] ?? file.split("/")[0];
}

/** Whether the table lets this import be. Tests beside the code may import what they need. */
function allowed({ from, to, kind }: Edge): boolean {
  if (/_test\.ts$/.test(from)) return true;
  const row = layerOf(from);
  if (row === undefined || FREE.includes(row)) return true;
  if (targetOf(to) === targetOf(from)) return true;
  const { imports, types = [] } = LAYERS[row];
  return imports.includes(targetOf(to)) || (kind === "type" && types.includes(targetOf(to)));
}

const NAMES = await files();
const EDGES = await edges(NAMES);

Deno.test("every file is in a folder that the table knows", () => {
  const unknown = NAMES.filter((name) => layerOf(name) === undefined && !/^[^/]+_test\.ts$/.test(name));
  assert.deepEqual(unknown, []);
});

Deno.test("imports follow the table", () => {
  const wrong = EDGES.filter((edge) => !allowed(edge)).map(({ from, to, kind }) =>
    `${from} -> ${to} (${kind})`
  );
  assert.deepEqual(wrong, []);
});

Deno.test("the check sees imports, and knows a wrong one", () => {
  assert.ok(EDGES.length > 100);
  assert.ok(
    EDGES.some((e) => e.from === "src/dsl/open.ts" && e.to.startsWith("src/kvm/") && e.kind === "dynamic"),
  );
  const edge = (from: string, to: string, kind: Edge["kind"]): Edge => ({ from, to, kind });
  assert.equal(allowed(edge("src/devices/x.ts", "src/kvm/vm.ts", "type")), false);
  assert.equal(allowed(edge("src/repl/x.ts", "src/vm/stop.ts", "type")), true);
  assert.equal(allowed(edge("src/repl/x.ts", "src/vm/stop.ts", "value")), false);
  assert.equal(allowed(edge("src/dsl/machine.ts", "src/kvm/open.ts", "dynamic")), false);
  assert.equal(allowed(edge("src/xen/a.ts", "src/kvm/b.ts", "value")), false);
  assert.equal(layerOf("src/unheard/of.ts"), undefined);
});

Deno.test("no file imports itself by a detour (types and dynamic imports aside)", () => {
  const next = new Map<string, string[]>();
  for (const { from, to, kind } of EDGES) {
    if (kind === "value") next.set(from, [...next.get(from) ?? [], to]);
  }
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): void => {
    const at = path.indexOf(file);
    assert.equal(at, -1, `a circle: ${[...path.slice(at), file].join(" -> ")}`);
    if (done.has(file)) return;
    path.push(file);
    for (const other of next.get(file) ?? []) visit(other);
    path.pop();
    done.add(file);
  };
  for (const file of next.keys()) visit(file);
});

Deno.test("unsafe memory and foreign functions stay in src/host", async () => {
  const wrong: string[] = [];
  for (const name of NAMES) {
    if (!name.startsWith("src/") || name.startsWith("src/host/") || name.endsWith("_test.ts")) continue;
    const text = await Deno.readTextFile(new URL(name, ROOT));
    // Comments may name them.
    const code = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
    if (/\bDeno\.(dlopen|Unsafe\w+)/.test(code)) wrong.push(name);
  }
  assert.deepEqual(wrong, []);
});

Deno.test("layers: what the prompt loads before anything is asked of it is small", async () => {
  const all = await edges(await files());
  const loaded = (from: string) => {
    const seen = new Set([from]);
    for (const at of seen) {
      for (const { from, to, kind } of all) if (from === at && kind === "value") seen.add(to);
    }
    return [...seen];
  };
  const prompt = loaded("src/repl/run.ts");
  const heavy = prompt.filter((file) =>
    !file.startsWith("src/repl/") && !/(printable|host_reason|signals)\.ts$/.test(file)
  );
  assert.deepEqual(heavy, [], "the library is loaded when it is needed");
  const guest = loaded("src/dsl/open.ts");
  const late = guest.filter((file) =>
    /^src\/(backing|kvm|remote|gdb|x86\/boot\/|x86\/acpi|vm\/fake)/.test(file)
  );
  assert.deepEqual(late, [], "a guest loads its backend, its boot protocol and its disks when it has them");
  const attached = ["src/dsl/attach.ts", "src/repl/commands/attach.ts", "src/repl/commands/registers.ts"];
  const needless = new Set(attached.flatMap(loaded)).values().filter((file) =>
    /^src\/(devices\/(?!device_clock\.ts)|backing|kvm|gdb|x86\/boot\/|debug\/disassembly|repl\/expression\/(?!registers|value|lexer))|(dsl\/(open|pc|mod)|render\/(stop|disassembly))\.ts$/
      .test(file)
  );
  assert.deepEqual(
    [...needless],
    [],
    "to attach and show registers takes no device, no instruction, and no way to open a guest",
  );
  const domain = loaded("src/xen/open.ts").filter((file) => /^src\/xen\/(own|spares)\.ts$/.test(file));
  assert.deepEqual(domain, [], "what opens a domain of our own is not loaded to attach to another's");
});

Deno.test("layers: a command imports what it takes, and not the whole library", () => {
  const whole = EDGES.filter(({ from, to, kind }) =>
    from.startsWith("src/repl/") && !from.endsWith("_test.ts") && to === "src/dsl/mod.ts" && kind === "value"
  );
  assert.deepEqual(whole.map(({ from }) => from), [], "take it from the file of src/dsl that has it");
});
