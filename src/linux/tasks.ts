/** The kernel's tasks (struct task_struct, include/linux/sched.h): processes and threads. */
import { FaultError, UnsupportedError } from "../vm/errors.ts";
import type { Vcpu } from "../vm/machine.ts";
import { printableName } from "../vm/printable.ts";
import type { Kernel } from "./kernel.ts";
import { type ListEnd, walkList } from "./list.ts";
import type { PagedReader } from "./paged_reader.ts";
import type { KernelTypes } from "./types.ts";

/** A thread. */
export interface KernelTask {
  /** Linear address of its task_struct. */
  readonly address: bigint;
  /** Its number: what gettid(2) gives. */
  readonly pid: number;
  /** The process it is of. */
  readonly tgid: number;
  /** The process that made this one. */
  readonly parent: number;
  /** Its name, of 15 characters at most; printable. */
  readonly name: string;
  /** A letter as in ps(1): R runs or could, S sleeps, D sleeps without being woken by signals, I idles, Z, T, t, X, P. */
  readonly state: string;
  /** The CPU that it runs on, or did last. */
  readonly cpu: number;
  /** Whether it is one of the kernel's own. */
  readonly kernel: boolean;
  /** Linear address of its top-level page table (mm->pgd); undefined for the kernel's own. */
  readonly tables?: bigint;
  /** Where its stack pointer was when it was last switched away from (thread.sp). */
  readonly stackPointer: bigint;
}

/** The tasks of a kernel. */
export interface TaskList {
  /** In the order in which they were made. */
  readonly tasks: readonly KernelTask[];
  /** Why the list ended early, if it did: it is damaged. */
  readonly damage?: string;
}

/** PID_MAX_LIMIT is 4 Mi; as many tasks as a debugger can show. */
const MOST_TASKS = 262_144;
const MOST_NAME = 16;
const LETTERS = "RSDTtXZPI";
/** TASK_REPORT, TASK_IDLE (TASK_UNINTERRUPTIBLE with TASK_NOLOAD), TASK_RTLOCK_WAIT. */
const REPORT = 0x7f;
const IDLE = 0x402;
const RTLOCK_WAIT = 0x1000;
const PF_KTHREAD = 0x0020_0000;
const MSR_KERNEL_GS_BASE = 0xc000_0102;
const MOST_CPUS = 8192;

/**
 * Lists processes, or with `threads` each thread.
 *
 * @throws {UnsupportedError} If nobody tells where the fields lie.
 */
export async function readTasks(
  kernel: Kernel,
  memory: PagedReader,
  types: KernelTypes,
  threads: boolean,
): Promise<TaskList> {
  const init = kernel.lookup("init_task");
  if (init === undefined) throw new UnsupportedError("linux", "the kernel has no symbol init_task");
  const link = types.offset("task_struct", "tasks");
  const end: ListEnd = {};
  const tasks: KernelTask[] = [];
  try {
    for await (const leader of walkList(memory, init + BigInt(link), link, MOST_TASKS, end)) {
      if (!threads) tasks.push(await readTask(leader, memory, types));
      else tasks.push(...await readThreads(leader, memory, types, MOST_TASKS - tasks.length, end));
      if (tasks.length >= MOST_TASKS) break;
    }
  } catch (error) {
    if (!(error instanceof FaultError)) throw error;
    end.damage = error.message;
  }
  return { tasks, ...(end.damage !== undefined && { damage: end.damage }) };
}

/** All threads of a process: `signal->thread_head` holds them by `thread_node`. */
async function readThreads(
  leader: bigint,
  memory: PagedReader,
  types: KernelTypes,
  most: number,
  end: ListEnd,
): Promise<KernelTask[]> {
  const signal = await memory.u64(leader + BigInt(types.offset("task_struct", "signal")));
  const head = signal + BigInt(types.offset("signal_struct", "thread_head"));
  const found: KernelTask[] = [];
  const node = types.offset("task_struct", "thread_node");
  for await (const at of walkList(memory, head, node, most, end)) {
    found.push(await readTask(at, memory, types));
  }
  return found;
}

/** One task. @throws {FaultError} If its address leads nowhere. */
export async function readTask(at: bigint, memory: PagedReader, types: KernelTypes): Promise<KernelTask> {
  const place = (path: string) => at + BigInt(types.offset("task_struct", path));
  const number = async (path: string) => Number(await memory.uint(place(path), 4));
  const parent = await memory.u64(place("real_parent"));
  const mm = await memory.u64(place("mm"));
  const state = await number(types.find("task_struct", "__state") === undefined ? "state" : "__state");
  const flags = await number("flags");
  const cpu = types.find("task_struct", "thread_info.cpu") === undefined ? "cpu" : "thread_info.cpu";
  return {
    address: at,
    pid: await number("pid"),
    tgid: await number("tgid"),
    parent: Number(await memory.uint(parent + BigInt(types.offset("task_struct", "tgid")), 4)),
    name: printableName(await memory.string(place("comm"), MOST_NAME)),
    state: stateLetter(state, await number("exit_state")),
    cpu: await number(cpu),
    kernel: (flags & PF_KTHREAD) !== 0 || mm === 0n,
    stackPointer: await memory.u64(place("thread.sp")),
    ...(mm !== 0n && { tables: await memory.u64(mm + BigInt(types.offset("mm_struct", "pgd"))) }),
  };
}

/** As `task_index_to_char(__task_state_index())` of include/linux/sched.h. */
export function stateLetter(state: number, exit: number): string {
  if ((state & IDLE) === IDLE) return "I";
  if ((state & RTLOCK_WAIT) !== 0) return "D";
  return LETTERS[32 - Math.clz32((state | exit) & REPORT)];
}

/** The task that a vCPU runs; undefined where that can't be told: it is not up, or not this kernel's. */
export async function currentTask(
  vcpu: Vcpu,
  kernel: Kernel,
  memory: PagedReader,
  types: KernelTypes,
): Promise<KernelTask | undefined> {
  const area = await cpuArea(vcpu, kernel, memory);
  if (area === undefined) return undefined;
  // 6.2 to 6.14 have it in pcpu_hot, others by itself.
  const hot = kernel.lookup("pcpu_hot");
  const place = hot === undefined
    ? kernel.lookup("current_task") ?? kernel.lookup("const_current_task")
    : hot + BigInt(types.offset("pcpu_hot", "current_task"));
  if (place === undefined) return undefined;
  try {
    return await readTask(await memory.u64(BigInt.asUintN(64, area + place)), memory, types);
  } catch (error) {
    if (error instanceof FaultError) return undefined;
    throw error;
  }
}

/** What is added to the address of a CPU's own variable: the GS base of the kernel's code (`__per_cpu_offset`). */
async function cpuArea(vcpu: Vcpu, kernel: Kernel, memory: PagedReader): Promise<bigint | undefined> {
  const table = kernel.lookup("__per_cpu_offset");
  if (table === undefined || vcpu.index >= MOST_CPUS) return undefined;
  const ids = kernel.lookup("nr_cpu_ids");
  const many = ids === undefined ? vcpu.index + 1 : Number(await memory.uint(ids, 4));
  const areas: bigint[] = [];
  for (let cpu = 0; cpu < Math.min(many, MOST_CPUS); cpu++) {
    areas.push(await memory.u64(table + BigInt(8 * cpu)));
  }
  // The kernel numbers its CPUs as it likes: GS says which it is. In user space it is in the MSR (SWAPGS).
  const { gs_base } = await vcpu.registers();
  if (areas.includes(gs_base)) return gs_base;
  const other = (await vcpu.msrs()).includes(MSR_KERNEL_GS_BASE)
    ? await vcpu.readMsr(MSR_KERNEL_GS_BASE)
    : undefined;
  if (other !== undefined && areas.includes(other)) return other;
  return areas[vcpu.index];
}
