/** `vm.linux`: what a Linux guest knows of itself, read from its memory while it stands still, without its help. */
import { FaultError, InputError, UnsupportedError } from "../vm/errors.ts";
import type { Machine, Vcpu } from "../vm/machine.ts";
import type { Registers } from "../vm/registers.ts";
import { pagingMode } from "../x86/mode.ts";
import type { ProgramSymbol, SymbolKind, Symbols } from "../debug/symbols.ts";
import { symbolKind } from "../debug/symbols.ts";
import type { KernelSymbol } from "../linux/kallsyms.ts";
import type { Kernel } from "../linux/kernel.ts";
import type { LogRecord } from "../linux/log.ts";
import { formatLog } from "../linux/log_text.ts";
import type { KernelModule, ModuleList } from "../linux/modules.ts";
import type { PagedReader } from "../linux/paged_reader.ts";
import type { KernelTask, TaskList } from "../linux/tasks.ts";
import type { KernelTypes } from "../linux/types.ts";
import type { KernelBacktrace, StartRegisters } from "../linux/unwind.ts";

/** Where x86-64 kernels are linked to: `_text` without KASLR (CONFIG_PHYSICAL_START of 16 MiB). */
const LINKED_AT = 0xffff_ffff_8100_0000n;
const LOADED_AT = 0x100_0000n;
/** The lowest address of the half that belongs to kernels, with five levels of page tables. */
const KERNEL_HALF = 0xff00_0000_0000_0000n;
const FRAMES = 64;

/** What was found of a kernel. */
export interface LinuxInfo {
  /** "Linux version 6.1.0-56-amd64 (...) ...". */
  readonly banner: string;
  /** "6.1.0-56-amd64". */
  readonly release: string;
  /** Linear address of `_text`. */
  readonly text: bigint;
  /** Guest-physical address of `_text`. */
  readonly physical: bigint;
  /** How far KASLR moved the linear addresses, in bytes; 0 without. */
  readonly kaslr: bigint;
  /** How far `_text` lies from 16 MiB, in bytes, where a kernel lies that was not moved. May be negative. */
  readonly moved: bigint;
  /** Symbols of the kernel itself. */
  readonly symbols: number;
  /** Symbols of its modules. */
  readonly moduleSymbols: number;
  /** Modules that are loaded. */
  readonly modules: number;
  /** Types in its BTF; undefined if it has none. */
  readonly types: number | undefined;
  /** Whether it has VMCOREINFO (yet). */
  readonly vmcoreinfo: boolean;
  /** Why not all modules' symbols are there, if so: their list, or tables of one of them, lead nowhere. */
  readonly damage?: string;
}

/** A symbol of a module. */
export interface ModuleSymbol extends KernelSymbol {
  /** The module's name. */
  readonly module: string;
}

/** What a machine gives to this. */
export interface LinuxHost {
  /** Its memory and vCPUs. */
  readonly guest: Pick<Machine, "memory" | "vcpus">;
  /** Where the kernel's symbols are put. */
  readonly symbols: Symbols;
  /** Throws a StateError unless the machine stands still. */
  ready(what: string): void;
}

/** What reads a kernel's structures: loaded when a kernel is first looked for. */
const reading = () => import("../linux/mod.ts");

/** One look at a kernel that stands still. */
interface Look {
  readonly linux: Awaited<ReturnType<typeof reading>>;
  readonly kernel: Kernel;
  readonly memory: PagedReader;
  readonly types: KernelTypes;
}

/**
 * A Linux guest seen from outside. The kernel is looked for at the first call, in guest memory: `vm.linux` is there for
 * every guest, and its methods throw an UnsupportedError if no kernel is found.
 *
 * Everything is read from memory that the guest may have written as it likes: lists, loops, lengths and strings are
 * bounded, and what is wrong ends a list, which then says so in `damage`.
 *
 * @example
 * ```ts
 * import { flat, open } from "hvsh";
 * import assert from "node:assert/strict";
 *
 * await using vm = await open({ backend: "fake", boot: flat(Uint8Array.of(0xf4)) });
 * await assert.rejects(vm.linux.dmesg(), { name: "UnsupportedError", feature: "linux" }); // that was no Linux
 * ```
 */
export class LinuxView {
  readonly #host: LinuxHost;
  #kernel: Kernel | undefined;
  #types: KernelTypes | undefined;
  #info: LinuxInfo | undefined;
  /** The entry code near which a backtrace looked for a kernel by itself, and found none. */
  #noneNear: bigint | undefined;

  /** Made by the machine. */
  constructor(host: LinuxHost) {
    this.#host = host;
  }

  /** What the last `locate()` found. */
  get info(): LinuxInfo | undefined {
    return this.#info;
  }

  /**
   * Finds the kernel, and puts its symbols and those of its modules into `vm.symbols`, as the tables "kallsyms" and
   * "modules".
   *
   * @throws {UnsupportedError} If there is no kernel of x86-64 in memory whose symbol table can be read.
   * @throws {StateError} If the guest runs or is closed.
   */
  async locate(): Promise<LinuxInfo> {
    const look = await this.#look();
    const { kernel, types } = look;
    const { modules, theirs, damage } = await this.#moduleSymbols(look);
    const { symbols } = this.#host;
    symbols.addList("kallsyms", kernel.kallsyms.symbols.map(programSymbol));
    if (theirs.length > 0) symbols.addList("modules", theirs.map(programSymbol));
    else symbols.remove("modules");
    const text = BigInt.asUintN(64, kernel.physical - kernel.delta);
    return this.#info = {
      banner: kernel.banner,
      release: kernel.release,
      text,
      physical: kernel.physical,
      kaslr: types.info?.kernelOffset ?? BigInt.asIntN(64, text - LINKED_AT),
      moved: kernel.physical - LOADED_AT,
      symbols: kernel.kallsyms.symbols.length,
      moduleSymbols: theirs.length,
      modules: modules.length,
      types: types.btf?.count,
      vmcoreinfo: types.info !== undefined,
      ...(damage !== undefined && { damage }),
    };
  }

  /**
   * The kernel's log as Debian's dmesg(1) prints it, oldest line first: `[    0.123456] text`; further lines of a
   * record stand below its first, without the time.
   *
   * @throws {UnsupportedError} If there is no kernel, or its log has the layout from before Linux 5.10.
   * @throws {StateError} If the guest runs or is closed.
   */
  async dmesg(): Promise<string> {
    return formatLog(await this.log());
  }

  /**
   * The records of the kernel's log, oldest first.
   *
   * @throws {UnsupportedError} As `dmesg`.
   * @throws {StateError} If the guest runs or is closed.
   */
  async log(): Promise<LogRecord[]> {
    const { linux, kernel, memory, types } = await this.#look();
    return await linux.readLog(kernel, memory, types);
  }

  /** Records as `dmesg` prints them. */
  format(records: readonly LogRecord[]): string {
    return formatLog(records);
  }

  /**
   * The modules, newest first, as lsmod(8) lists them.
   *
   * @throws {UnsupportedError} If there is no kernel, or it carries no BTF.
   * @throws {StateError} If the guest runs or is closed.
   */
  async modules(): Promise<ModuleList> {
    const { linux, kernel, memory, types } = await this.#look();
    return await linux.readModules(kernel, memory, types);
  }

  /**
   * The processes in the order in which they were made; with `threads` each of their threads.
   *
   * @throws {UnsupportedError} If there is no kernel, or it carries no BTF.
   * @throws {StateError} If the guest runs or is closed.
   */
  async tasks(options: { readonly threads?: boolean } = {}): Promise<TaskList> {
    const { linux, kernel, memory, types } = await this.#look();
    return await linux.readTasks(kernel, memory, types, options.threads ?? false);
  }

  /**
   * The task that a vCPU runs; undefined where that can't be told: the kernel has not started that CPU.
   *
   * @throws {UnsupportedError} If there is no kernel, or it carries no BTF.
   * @throws {InputError} If there is no such vCPU.
   */
  async current(vcpu = 0): Promise<KernelTask | undefined> {
    const { linux, kernel, memory, types } = await this.#look();
    return await linux.currentTask(this.#vcpu(vcpu), kernel, memory, types);
  }

  /**
   * Who called whom, by the kernel's ORC tables: on a vCPU that is in the kernel, or on the stack of a task that
   * sleeps.
   *
   * @param options `task` is a thread's number; else `vcpu` is an index, by default 0. `limit`: the most frames, 64.
   * @throws {UnsupportedError} If there is no kernel, or it was built without ORC.
   * @throws {InputError} If there is no such task or vCPU, or the task runs: then ask for its vCPU.
   */
  async backtrace(
    options: { readonly vcpu?: number; readonly task?: number; readonly limit?: number } = {},
  ): Promise<KernelBacktrace> {
    const look = await this.#look();
    const limit = options.limit ?? FRAMES;
    if (options.task === undefined) {
      return await this.#unwind(look, await this.#vcpu(options.vcpu ?? 0).registers(), limit, false);
    }
    const task = await this.#task(look, options.task);
    for (const { index } of this.#host.guest.vcpus) {
      if ((await this.current(index))?.address === task.address) {
        throw new InputError(`task ${task.pid} runs on vCPU ${index}`, {
          remedy: `ask for the backtrace of vCPU ${index}`,
        });
      }
    }
    return await this.#unwind(
      look,
      await look.linux.sleepingRegisters(task.stackPointer, look.memory),
      limit,
      true,
    );
  }

  /**
   * Reads memory of a process through its own page tables.
   *
   * @param pid The number of the process, or of one of its threads.
   * @param address Linear, in the process.
   * @param length Bytes, 256 MiB at most.
   * @throws {FaultError} If a page is not there: never touched, or swapped out.
   * @throws {InputError} If there is no such process, or it is one of the kernel's own.
   */
  async readProcess(pid: number, address: bigint, length: number): Promise<Uint8Array> {
    const look = await this.#look();
    const { tables, name } = await this.#task(look, pid);
    if (tables === undefined) {
      throw new InputError(`task ${pid} (${name}) is the kernel's own: it has no memory of its own`, {
        remedy: "read the kernel's with vm.vcpus[0].memory",
      });
    }
    return await look.memory.withTables(await look.memory.translate(tables)).read(address, length);
  }

  /** The lines of VMCOREINFO; undefined while the kernel has not made them. @throws {UnsupportedError} */
  async vmcoreinfo(): Promise<string | undefined> {
    return (await this.#look()).types.info?.text;
  }

  /**
   * All symbols, as /proc/kallsyms lists them: the kernel's, and those of its modules, whose letters are those of their
   * sections.
   *
   * @throws {UnsupportedError} If there is no kernel.
   */
  async kallsyms(): Promise<
    { own: readonly KernelSymbol[]; theirs: readonly ModuleSymbol[]; damage?: string }
  > {
    const look = await this.#look();
    const { theirs, damage } = await this.#moduleSymbols(look);
    return { own: look.kernel.kallsyms.symbols, theirs, ...(damage !== undefined && { damage }) };
  }

  /**
   * Adds the symbols of the kernel's vmlinux or System.map to `vm.symbols`, moved by what KASLR added.
   *
   * @param name What the table is called in listings.
   * @throws {InputError} If there are no symbols in it, or `_text` and `_stext` are not among them.
   * @throws {UnsupportedError} If there is no kernel.
   */
  async addSymbols(name: string, file: Uint8Array | string): Promise<{ count: number; bias: bigint }> {
    const { kernel } = await this.#look();
    const { symbols } = this.#host;
    const table = symbols.read(name, file);
    const known = ["_text", "_stext"].find((n) =>
      table.lookup(n) !== undefined && kernel.lookup(n) !== undefined
    );
    const [here, there] = known === undefined ? [] : [kernel.lookup(known), table.lookup(known)];
    if (here === undefined || there === undefined) {
      throw new InputError(`${name} has no symbol _text: where it belongs can't be told`, {
        remedy: "give the vmlinux or System.map of this kernel; symbol-file FILE BIAS takes any file",
      });
    }
    const bias = BigInt.asUintN(64, here - there.address);
    const { count } = symbols.add(name, file, { bias });
    return { count, bias };
  }

  /**
   * The backtrace of a vCPU that is in the kernel; undefined if it is not, or there is no kernel with ORC. Looks for a
   * kernel where that is quick; for `vm.backtrace()`.
   */
  async tryBacktrace(registers: Registers, limit = FRAMES): Promise<KernelBacktrace | undefined> {
    if (registers.rip < KERNEL_HALF || !/level/.test(pagingMode(registers))) return undefined;
    try {
      if (this.#kernel === undefined && !await this.#findNear()) return undefined;
      return await this.#unwind(await this.#look(), registers, limit, false);
    } catch (error) {
      // Another kernel than the one that was found, one with frame pointers, or a damaged one: those are followed.
      if (error instanceof UnsupportedError || error instanceof FaultError) return undefined;
      throw error;
    }
  }

  async #findNear(): Promise<boolean> {
    const { guest } = this.#host;
    const linux = await reading();
    const near = await linux.entryCode(guest.vcpus);
    if (near === undefined || near === this.#noneNear) return false;
    this.#kernel = await linux.findKernel(guest, { near });
    if (this.#kernel === undefined) this.#noneNear = near;
    else await this.locate();
    return this.#kernel !== undefined;
  }

  /** What a core file says of the kernel; undefined if there is none. */
  async forCore(): Promise<
    { vmcoreinfo?: string; text: bigint; physical: bigint; size: bigint; direct?: bigint } | undefined
  > {
    try {
      const { kernel, memory, types } = await this.#look();
      const text = BigInt.asUintN(64, kernel.physical - kernel.delta);
      const base = kernel.lookup("page_offset_base");
      return {
        text,
        physical: kernel.physical,
        size: (kernel.lookup("_end") ?? text) - text,
        ...(types.info !== undefined && { vmcoreinfo: types.info.text }),
        ...(base !== undefined && { direct: await memory.u64(base) }),
      };
    } catch (error) {
      if (error instanceof UnsupportedError) return undefined;
      throw error;
    }
  }

  /** The guest was reset: what was found is gone. */
  forget(): void {
    this.#kernel = this.#types = this.#info = undefined;
    this.#noneNear = undefined;
  }

  async #look(): Promise<Look> {
    const { guest, ready } = this.#host;
    const linux = await reading();
    ready("linux");
    if (this.#kernel === undefined || !await linux.stillThere(guest.memory, this.#kernel)) {
      this.forget();
      this.#kernel = await linux.findKernel(guest);
      if (this.#kernel === undefined) {
        throw new UnsupportedError("linux", "no Linux kernel with a symbol table was found in guest memory", {
          remedy:
            "let the guest boot further; it has to be of x86-64, with CONFIG_KALLSYMS_ALL, 4.20 or newer",
        });
      }
    }
    const kernel = this.#kernel;
    const memory = kernel.reader();
    // VMCOREINFO is made late in the boot.
    if (this.#types?.info === undefined) this.#types = await linux.KernelTypes.read(kernel, memory);
    return { linux, kernel, memory, types: this.#types };
  }

  async #moduleSymbols(
    { linux, kernel, memory, types }: Look,
  ): Promise<{ modules: readonly KernelModule[]; theirs: readonly ModuleSymbol[]; damage?: string }> {
    if (types.btf === undefined) return { modules: [], theirs: [] };
    const list = await linux.readModules(kernel, memory, types);
    const theirs: ModuleSymbol[] = [];
    let { damage } = list;
    for (const module of list.modules) {
      try {
        const symbols = await linux.readModuleSymbols(module, memory, types);
        for (const symbol of symbols) theirs.push({ ...symbol, module: module.name });
      } catch (error) {
        if (!(error instanceof FaultError)) throw error;
        damage ??= `symbols of ${module.name}: ${error.message}`;
      }
    }
    return { modules: list.modules, theirs, ...(damage !== undefined && { damage }) };
  }

  async #unwind(
    { linux, kernel, memory, types }: Look,
    start: StartRegisters,
    limit: number,
    called: boolean,
  ): Promise<KernelBacktrace> {
    const { modules } = await linux.readModules(kernel, memory, types);
    const orc = await linux.Orc.of(kernel, memory, types, modules);
    if (orc === undefined) {
      throw new UnsupportedError("linux", "the kernel has no ORC tables", {
        remedy: "vm.backtrace() goes by frame pointers",
      });
    }
    return await linux.unwind(start, memory, orc, { limit, called });
  }

  async #task({ linux, kernel, memory, types }: Look, pid: number): Promise<KernelTask> {
    const { tasks } = await linux.readTasks(kernel, memory, types, true);
    const task = tasks.find((t) => t.pid === pid);
    if (task === undefined) {
      throw new InputError(`there is no task ${pid}`, { remedy: "vm.linux.tasks() lists them" });
    }
    return task;
  }

  #vcpu(index: number): Vcpu {
    const vcpu = this.#host.guest.vcpus[index];
    if (vcpu === undefined) {
      throw new InputError(`there is no vCPU ${index}`, { remedy: "take one of vm.vcpus" });
    }
    return vcpu;
  }
}

function programSymbol({ name, address, type }: KernelSymbol): ProgramSymbol {
  const kind: SymbolKind = symbolKind(type);
  return { name, address, size: 0n, kind };
}
