/**
 * `deno task bench`: hvsh beside C programs that do the same work, in the same run.
 *
 *     deno task bench [--only NAME[,NAME]] [--json] [--rounds N] [--list]
 *
 * Ends with 0 once everything was measured, whatever came out; with 1 if something could not be measured.
 */

import { hosts, HvshError } from "../mod.ts";
import { boot1, boot2 } from "./linux/boot.ts";
import { condition, conditionSoftware } from "./condition.ts";
import { type Figure, Obstacle, reached, type Result } from "./figure.ts";
import { gdbCond, gdbStepi } from "./gdb.ts";
import { copy, search } from "./memory.ts";
import { pio } from "./pio.ts";
import { bootBios, ideRead } from "./disk.ts";
import { idePio } from "./ide_pio.ts";
import { diff, qemuStep } from "./remote.ts";
import { reopen } from "./reopen.ts";
import { rss } from "./linux/resident.ts";
import { rspFloors, rspMem, rspStep } from "./rsp.ts";
import { start, startOpen } from "./start.ts";
import { step, stepAwait, stepGetRegs } from "./step.ts";
import { needCompiler } from "./twin.ts";
import { blkRead } from "./virtio.ts";
import { XEN_FIGURES } from "./xen.ts";
import { blkRand, blkSeq } from "./linux/virtio_disk.ts";
import { net } from "./linux/virtio_net.ts";

/** What is measured when nothing else is asked for. */
const FIGURES: readonly Figure[] = [
  step,
  pio,
  idePio,
  blkRead,
  bootBios,
  ideRead,
  condition,
  conditionSoftware,
  copy,
  search,
  start,
  startOpen,
  reopen,
  rspStep,
  rspMem,
  gdbStepi,
  gdbCond,
  qemuStep,
  diff,
];
/** Measured by name only: other ways to look at the same thing, and what takes minutes. */
const MORE: readonly Figure[] = [
  stepAwait,
  stepGetRegs,
  ...rspFloors,
  boot1,
  boot2,
  rss,
  blkRand,
  blkSeq,
  net,
  ...XEN_FIGURES,
];

interface Options {
  readonly figures: readonly Figure[];
  readonly json: boolean;
  readonly rounds: number;
}

async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--list")) {
    for (const { name, what } of [...FIGURES, ...MORE]) console.log(`${name.padEnd(14)} ${what}`);
    return 0;
  }
  let options: Options;
  try {
    options = parse(args);
  } catch (error) {
    if (!(error instanceof Obstacle)) throw error;
    console.error(`bench: ${error.message}\n  ${error.remedy}`);
    return 2;
  }
  let failed = false;
  const results: Result[] = [];
  for (const figure of options.figures) {
    try {
      const result = await measure(figure, options.rounds);
      results.push(result);
      if (options.json) console.log(JSON.stringify(result));
      else console.log(row(result));
    } catch (error) {
      if (!(error instanceof Obstacle || error instanceof HvshError)) throw error;
      failed = true;
      console.error(`bench: ${figure.name} can't be measured: ${error.message}`);
      if (error.remedy !== undefined) console.error(`  ${error.remedy}`);
    }
  }
  if (!options.json && results.length > 1) {
    console.log(`${results.filter(reached).length} of ${results.length} goals reached`);
  }
  return failed ? 1 : 0;
}

async function measure(figure: Figure, rounds: number): Promise<Result> {
  if (figure.needs.includes("kvm")) needKvm();
  if (figure.needs.includes("xen")) await needXen();
  if (figure.needs.includes("cc")) await needCompiler();
  const { name, goal, better, unit } = figure;
  const { ratio, ours, theirs, on } = await figure.measure({ rounds, runMs: 40 });
  return {
    name,
    ratio: rounded(ratio),
    goal,
    better,
    unit,
    ours: rounded(ours),
    theirs: rounded(theirs),
    ...(on !== undefined && { on }),
  };
}

/** @throws {Obstacle} If there is no /dev/kvm, or it can't be opened. */
function needKvm(): void {
  try {
    Deno.openSync("/dev/kvm", { read: true, write: true }).close();
  } catch (cause) {
    throw cause instanceof Deno.errors.NotFound
      ? new Obstacle("there is no /dev/kvm", "load kvm_intel or kvm_amd, or run it on a host with KVM")
      : new Obstacle(
        `/dev/kvm can't be opened: ${cause instanceof Error ? cause.message : cause}`,
        "join the group kvm, or run it as root",
      );
  }
}

/** @throws {Obstacle} If this is no Xen host, or guests can't be opened. */
async function needXen(): Promise<void> {
  const host = (await hosts()).find(({ backend }) => backend === "xen-pvh");
  if (host?.usable) return;
  throw new Obstacle(host?.reason ?? "there is no Xen", "deno task bench:xen runs it in a lab");
}

function parse(args: readonly string[]): Options {
  let figures = FIGURES;
  let json = false;
  let rounds = 15;
  const rest = [...args];
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    const [name, given] = arg.split("=", 2);
    const value = () => given ?? rest.shift() ?? "";
    if (name === "--json") json = true;
    else if (name === "--only") figures = value().split(",").map(named);
    else if (name === "--rounds") rounds = wholeNumber(value());
    else {throw new Obstacle(
        `there is no option ${name}`,
        "it takes --only NAME[,NAME], --json, --rounds N, --list",
      );}
  }
  return { figures, json, rounds };
}

function named(name: string): Figure {
  const figure = [...FIGURES, ...MORE].find((f) => f.name === name);
  if (figure !== undefined) return figure;
  const known = [...FIGURES, ...MORE].map((f) => f.name).join(", ");
  throw new Obstacle(`there is no figure "${name}"`, `take some of ${known}`);
}

function wholeNumber(text: string): number {
  const n = Number(text);
  if (Number.isInteger(n) && n >= 1 && n <= 10_000) return n;
  throw new Obstacle(
    `--rounds takes a whole number from 1 to 10000, not "${text}"`,
    "for example --rounds 31",
  );
}

/** To four digits: more would be noise. */
function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

const WIDTHS = { name: 14, number: 9 };

function row(result: Result): string {
  const { name, ratio, goal, better, unit, ours, theirs, on } = result;
  const sign = better === "higher" ? ">=" : "<=";
  const verdict = reached(result) ? "reached" : "missed ";
  const number = (n: number) => n.toLocaleString("en").padStart(WIDTHS.number);
  return [
    name.padEnd(WIDTHS.name),
    number(ratio),
    `${sign} ${goal}`.padEnd(6),
    verdict,
    number(ours),
    "/",
    number(theirs),
    unit,
    ...(on === undefined ? [] : [`(${on})`]),
  ].join(" ");
}

Deno.exit(await main(Deno.args));
