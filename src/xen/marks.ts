/**
 * What a debugger has put into a domain, written down while it is there: by that the next one puts the domain right when
 * the program was ended by what nobody can catch (SIGKILL).
 */

import { OwnedFd } from "../host/fd.ts";
import { Mapping, PAGE_SIZE } from "../host/mapping.ts";
import type { RegisterName } from "../vm/registers.ts";
import { isAlive, type Owner, thisProcess } from "./journal.ts";
import type { Trap } from "./trap_table.ts";

/** Where it is written: gone after a restart of the host, as domains are. */
const FOLDER = "/run/hvsh-attached";
const VERSION = 1;
/** One file for each attachment: domain, process, and which one of the process's. */
const NAME = /^(\d+)\.(\d+)\.(\d+)$/;
/** Beside it, one byte: whether the debugger's pause is in the domain. Mapped, since it changes with each step. */
const HELD = ".held";
/** What is said of a file that is not there, or can't be taken away. */
const UNWRITABLE = ["ENOENT", "ENOTDIR", "EROFS", "EACCES", "EPERM"];
/** More than thousands of breakpoints take; a longer file is none of hvsh's. */
const MOST_BYTES = 16 << 20;

/** Bytes of the debugger's in guest-physical memory. */
export interface PatchMark {
  readonly at: bigint;
  readonly code: Uint8Array;
  readonly original: Uint8Array;
}

/** The stop stub of a PV domain: its linear address, what was there, and each vCPU's own #DB and #BP. */
export interface StubMark {
  readonly place: bigint;
  readonly original: Uint8Array;
  readonly traps: readonly (readonly [Trap, Trap])[];
}

/** The guest's own debug registers of a vCPU. */
export type OwnRegisters = ReadonlyMap<RegisterName, bigint>;

/** A domain, so that no other one is taken for it: numbers come again, and so do uuids, but not both. */
export interface Marked {
  readonly domain: number;
  /** `xen_domain_handle_t`, in hexadecimal digits. */
  readonly uuid: string;
  readonly name: string;
}

/** What is in a domain. */
export interface Left extends Marked {
  readonly owner: Owner;
  readonly held: boolean;
  readonly patches: readonly PatchMark[];
  readonly registers: ReadonlyMap<number, OwnRegisters>;
  /** vCPUs that were stepped, and whether RFLAGS.TF was the guest's own. */
  readonly stepped: ReadonlyMap<number, boolean>;
  /** vCPUs that were taken down for a step of another. */
  readonly down: readonly number[];
  /** Whether a vm_event listener was set up. */
  readonly monitor: boolean;
  /** The ioreq server's number. */
  readonly server?: number;
  readonly stub?: StubMark;
}

/** A journal that was found: what it says, or why it says nothing. */
export interface Found {
  readonly path: string;
  readonly domain: number;
  readonly left?: Left;
  readonly problem?: string;
}

let count = 0;

/** The journal of one attachment, in the making. */
export class Marks implements Disposable {
  readonly #path: string;
  readonly #marked: Marked;
  readonly #patches = new Map<bigint, PatchMark>();
  #registers = new Map<number, OwnRegisters>();
  readonly #stepped = new Map<number, boolean>();
  #down: readonly number[] = [];
  #monitor = false;
  #server: number | undefined;
  #stub: StubMark | undefined;
  #held: Mapping | undefined;
  #trouble: string | undefined;
  #closed = false;

  constructor(marked: Marked, folder: string = FOLDER) {
    this.#marked = marked;
    this.#path = `${folder}/${marked.domain}.${Deno.pid}.${++count}`;
    this.#try(() => {
      Deno.mkdirSync(folder, { recursive: true, mode: 0o700 });
      // Written before it is mapped: a full file system says so here, and does not kill the program later.
      Deno.writeFileSync(this.#path + HELD, new Uint8Array(PAGE_SIZE), { mode: 0o600 });
      using file = OwnedFd.open(this.#path + HELD);
      this.#held = Mapping.ofFd(file.fd, PAGE_SIZE);
      this.#write();
    });
  }

  /** Why it can't be written; undefined if it can. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** What stands in the guest's memory now. */
  get patches(): Iterable<PatchMark> {
    return this.#patches.values();
  }

  /** Whether the domain is paused by this debugger. */
  set held(on: boolean) {
    if (this.#held !== undefined) this.#held.bytes[0] = on ? 1 : 0;
  }

  /** `code` is about to stand at `at` in place of `original`; undefined: it does not any more. */
  patch(at: bigint, code: Uint8Array, original: Uint8Array | undefined): void {
    const before = this.#patches.get(at);
    if (
      original === undefined ? before === undefined : before !== undefined && same(before.original, original)
    ) {
      return;
    }
    if (original === undefined) this.#patches.delete(at);
    else this.#patches.set(at, { at, code: code.slice(), original: original.slice() });
    this.#change();
  }

  /** Which vCPUs have the debugger's traps in their debug registers, and what they had. */
  debugRegisters(own: ReadonlyMap<number, OwnRegisters>): void {
    this.#registers = new Map(own);
    this.#change();
  }

  /** A vCPU is stepped; `own`: whether its TF is set by the guest itself. */
  step(vcpu: number, own: boolean): void {
    if (this.#stepped.get(vcpu) === own) return;
    this.#stepped.set(vcpu, own);
    this.#change();
  }

  /** These vCPUs are about to be taken down for a step of another; none: they are up again. */
  down(vcpus: readonly number[]): void {
    this.#down = vcpus;
    this.#change();
  }

  /** A vm_event listener is about to be set up, or is gone. */
  listener(on: boolean): void {
    this.#monitor = on;
    this.#change();
  }

  /** There is an ioreq server; undefined: no longer. */
  deviceModel(server: number | undefined): void {
    this.#server = server;
    this.#change();
  }

  /** The stop stub is about to be put in; undefined: it is out. */
  stopStub(stub: StubMark | undefined): void {
    this.#stub = stub;
    this.#change();
  }

  /** Nothing is in the domain any more. Idempotent. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#held?.[Symbol.dispose]();
    this.#held = undefined;
    remove(this.#path);
  }

  #change(): void {
    if (!this.#closed) this.#try(() => this.#write());
  }

  #write(): void {
    const text = JSON.stringify(
      {
        version: VERSION,
        ...this.#marked,
        owner: thisProcess(),
        patches: [...this.#patches.values()],
        registers: [...this.#registers].map(([vcpu, values]) => ({
          vcpu,
          values: Object.fromEntries(values),
        })),
        stepped: [...this.#stepped].map(([vcpu, own]) => ({ vcpu, own })),
        down: this.#down,
        monitor: this.#monitor,
        server: this.#server,
        stub: this.#stub,
      },
      (_key, value: unknown) =>
        typeof value === "bigint" ? value.toString(16) : value instanceof Uint8Array ? value.toHex() : value,
    );
    // Whole or not at all: a new one takes the old one's place.
    Deno.writeTextFileSync(`${this.#path}.new`, text, { mode: 0o600 });
    Deno.renameSync(`${this.#path}.new`, this.#path);
  }

  /** A journal that can't be written keeps nobody from debugging. */
  #try(body: () => void): void {
    try {
      body();
    } catch (error) {
      this.#trouble ??= error instanceof Error ? error.message : String(error);
    }
  }
}

/** Journals of processes that are no more: of one domain, or of all. Oldest domain first. */
export function leftMarks(domain?: number, folder: string = FOLDER): Found[] {
  let names: string[];
  try {
    names = [...Deno.readDirSync(folder)].map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return [];
    throw error;
  }
  const found: Found[] = [];
  for (const name of names) {
    const [, id, pid] = NAME.exec(name)?.map(Number) ?? [];
    if (id === undefined || (domain !== undefined && id !== domain)) continue;
    const path = `${folder}/${name}`;
    const read = readMarks(path);
    if (read === undefined) continue;
    if (read.left === undefined ? isAlive(pid) : isAlive(read.left.owner.pid, read.left.owner.started)) {
      continue;
    }
    found.push({ path, domain: id, ...read });
  }
  return found.sort((a, b) => a.domain - b.domain);
}

/** Removes a journal: what it told of is put right, or gone. */
export function remove(path: string): void {
  for (const end of ["", HELD, ".new"]) {
    try {
      Deno.removeSync(path + end);
    } catch (error) {
      // A file system that became read-only keeps it; it is the next one's to deal with.
      if (!(error instanceof Error && "code" in error && UNWRITABLE.includes(`${error.code}`))) throw error;
    }
  }
}

/** Undefined if it is gone meanwhile. */
function readMarks(path: string): { left: Left } | { left?: undefined; problem: string } | undefined {
  let text: string;
  let held: Uint8Array;
  try {
    if (Deno.statSync(path).size > MOST_BYTES) return { problem: "it is too long" };
    text = Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    return { problem: error instanceof Error ? error.message : String(error) };
  }
  try {
    held = Deno.readFileSync(path + HELD);
  } catch {
    held = new Uint8Array(1);
  }
  try {
    return { left: { ...parse(text), held: held[0] === 1 } };
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError || error instanceof TypeError) {
      return { problem: `it is none of hvsh's, or cut off: ${error.message}` };
    }
    throw error;
  }
}

/** @throws {SyntaxError} @throws {RangeError} @throws {TypeError} If it is not what `Marks` writes. */
function parse(text: string): Omit<Left, "held"> {
  const told = record(JSON.parse(text));
  if (told.version !== VERSION) throw new RangeError(`its version is ${String(told.version)}`);
  const owner = record(told.owner);
  const stub = told.stub === undefined ? undefined : record(told.stub);
  return {
    domain: whole(told.domain),
    uuid: string(told.uuid),
    name: string(told.name),
    owner: { pid: whole(owner.pid), started: string(owner.started) },
    patches: list(told.patches).map((each) => {
      const { at, code, original } = record(each);
      const patch = { at: number(at), code: bytes(code), original: bytes(original) };
      if (patch.code.length !== patch.original.length) throw new RangeError("a patch has two lengths");
      return patch;
    }),
    registers: new Map(
      list(told.registers).map((each) => {
        const { vcpu, values } = record(each);
        const own = Object.entries(record(values)).map(([name, value]) => {
          if (!/^dr[0-7]$/.test(name)) throw new RangeError(`${name} is no debug register`);
          return [name as RegisterName, number(value)] as const;
        });
        return [whole(vcpu), new Map(own)];
      }),
    ),
    stepped: new Map(
      list(told.stepped).map((each) => {
        const { vcpu, own } = record(each);
        return [whole(vcpu), own === true];
      }),
    ),
    // Left out by the release before.
    down: list(told.down ?? []).map(whole),
    monitor: told.monitor === true,
    ...(told.server !== undefined && { server: whole(told.server) }),
    ...(stub && {
      stub: {
        place: number(stub.place),
        original: bytes(stub.original),
        traps: list(stub.traps).map((pair) => {
          const [debug, breakpoint] = list(pair).map((each) => {
            const { flags, cs, address } = record(each);
            return { flags: whole(flags), cs: whole(cs), address: number(address) };
          });
          if (debug === undefined || breakpoint === undefined) throw new RangeError("a vCPU has two vectors");
          return [debug, breakpoint] as const;
        }),
      },
    }),
  };
}

function record(value: unknown): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new TypeError(`${JSON.stringify(value)} is no object`);
}

function list(value: unknown): unknown[] {
  if (Array.isArray(value)) return value;
  throw new TypeError(`${JSON.stringify(value)} is no list`);
}

function string(value: unknown): string {
  if (typeof value === "string") return value;
  throw new TypeError(`${JSON.stringify(value)} is no text`);
}

function whole(value: unknown): number {
  if (Number.isSafeInteger(value) && value as number >= 0) return value as number;
  throw new TypeError(`${JSON.stringify(value)} is no whole number`);
}

function number(value: unknown): bigint {
  const text = string(value);
  if (!/^[0-9a-f]{1,16}$/.test(text)) throw new RangeError(`${text} is no number of 64 bits`);
  return BigInt(`0x${text}`);
}

function bytes(value: unknown): Uint8Array {
  return Uint8Array.fromHex(string(value));
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
