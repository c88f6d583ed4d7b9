/** A guest with what this folder reads of a Linux kernel, for tests: page tables, symbols, log, modules, tasks, ORC. */
import { mockBtf, type MockStruct } from "./mock_btf.ts";
import { mockKallsyms } from "./mock_kallsyms.ts";
import type { KallsymsOrder } from "./kallsyms_layout.ts";
import type { KernelSymbol } from "./kallsyms.ts";

/** Which kernel it is made like. */
export interface MockOptions {
  /** Tables of kallsyms and fields as in 6.1 ("4.20") or newer ("6.4"). */
  readonly order: KallsymsOrder;
}

/** Guest-physical memory: the image lies at 2 MiB and has 2 MiB. */
export const MOCK_BYTES = 4 << 20;
/** Where the image lies, by guest-physical and linear address: KASLR moved both. */
export const MOCK_PHYSICAL = 0x20_0000n;
/** Linear address of `_text`. */
export const MOCK_TEXT = 0xffff_ffff_8400_0000n;
/** All memory, by linear addresses. */
const DIRECT = 0xffff_8880_0000_0000n;
const IMAGE_BYTES = 0x20_0000n;
/** What the log says; the last two wrap around the end of the ring. */
export const MOCK_LOG = [
  "Linux version 6.9.0-mock",
  "two\nlines",
  "",
  "the end of the ring is near",
  "and round it goes 20",
];

const LIST: MockStruct = { size: 16, fields: [["next", 0, 8], ["prev", 8, 8]] };

function structs(order: KallsymsOrder): Record<string, MockStruct> {
  const memory: MockStruct = { size: 24, fields: [["base", 0, 8], ["size", 8, 4]] };
  return {
    list_head: LIST,
    atomic_t: { size: 4, fields: [["counter", 0, 4]] },
    thread_struct: { size: 16, fields: [["sp", 8, 8]] },
    thread_info: { size: 16, fields: [["cpu", 8, 4]] },
    module_memory: memory,
    module_layout: memory,
    mod_arch_specific: {
      size: 24,
      fields: [["num_orcs", 0, 4], ["orc_unwind_ip", 8, 8], ["orc_unwind", 16, 8]],
    },
    mod_kallsyms: {
      size: 32,
      fields: [["symtab", 0, 8], ["num_symtab", 8, 4], ["strtab", 16, 8], ["typetab", 24, 8]],
    },
    module: {
      size: 256,
      fields: [
        ["state", 0, 4],
        ["list", 8, "list_head"],
        ["name", 24, { of: 1, count: 56 }],
        ...order === "6.4"
          ? [["mem", 80, { of: "module_memory", count: 2 }]] as const
          : [["core_layout", 80, "module_layout"], ["init_layout", 104, "module_layout"]] as const,
        ["kallsyms", 128, 8],
        ["arch", 136, "mod_arch_specific"],
        ["source_list", 160, "list_head"],
        ["refcnt", 176, "atomic_t"],
      ],
    },
    module_use: { size: 48, fields: [["source_list", 0, "list_head"], ["source", 32, 8]] },
    "": { size: 8, fields: [["pid", 0, 4], ["tgid", 4, 4]] },
    task_struct: {
      size: 256,
      fields: [
        ["thread_info", 0, "thread_info"],
        ["__state", 16, 4],
        ["flags", 20, 4],
        ["exit_state", 24, 4],
        ["", 28, ""],
        ["tasks", 40, "list_head"],
        ["mm", 56, 8],
        ["real_parent", 64, 8],
        ["signal", 72, 8],
        ["thread_node", 80, "list_head"],
        ["comm", 96, { of: 1, count: 16 }],
        ["thread", 112, "thread_struct"],
      ],
    },
    signal_struct: { size: 32, fields: [["thread_head", 8, "list_head"]] },
    mm_struct: { size: 32, fields: [["pgd", 24, 8]] },
    orc_entry: {
      size: 6,
      fields: [
        ["sp_offset", 0, 2],
        ["bp_offset", 2, 2],
        ["sp_reg", 4, { bit: 0, bits: 4 }],
        ["bp_reg", 4, { bit: 4, bits: 4 }],
        ...order === "6.4"
          ? [["type", 5, { bit: 0, bits: 3 }], ["signal", 5, { bit: 3, bits: 1 }]] as const
          : [["type", 5, { bit: 0, bits: 2 }], ["end", 5, { bit: 2, bits: 1 }]] as const,
      ],
    },
  };
}

/** The guest; `bytes` is its memory. */
export class MockKernel {
  /** Guest-physical memory from 0. */
  readonly bytes = new Uint8Array(MOCK_BYTES);
  /** What kallsyms has, by address. */
  readonly symbols: KernelSymbol[] = [];
  /** Guest-physical address of `init_top_pgt`. */
  readonly cr3: bigint;
  /** RIP, RSP and RBP of a vCPU in `inner`, which `outer` called. */
  readonly registers: { rip: bigint; rsp: bigint; rbp: bigint };
  /** Linear addresses of what tests damage. */
  readonly places = new Map<string, bigint>();
  readonly #view = new DataView(this.bytes.buffer);
  /** Bytes of the image that are taken. */
  #top = 0x1_0000n;

  constructor({ order }: MockOptions) {
    this.#name("_text", "T", MOCK_TEXT);
    this.#name("_stext", "T", MOCK_TEXT);
    this.#name("outer", "T", MOCK_TEXT + 0x1000n);
    this.#name("inner", "t", MOCK_TEXT + 0x2000n);
    this.#name("_end", "B", MOCK_TEXT + IMAGE_BYTES);
    this.#name("linux_banner", "D", this.#put("Linux version 6.9.0-mock (tests) #1 SMP\n"));
    const tables = this.#put(new Uint8Array(0x6000), 0x1000n);
    this.cr3 = this.#physical(tables);
    this.#name("init_top_pgt", "D", tables);
    this.#pageTables(tables);
    const btf = this.#put(mockBtf(structs(order)));
    this.#name("__start_BTF", "R", btf);
    this.#name("__stop_BTF", "R", MOCK_TEXT + this.#top);
    this.#log();
    this.#tasks(tables, order);
    this.#modules(order);
    this.registers = this.#orc(order);
    // Many symbols, so that there is more than one marker, and names of more than 127 bytes.
    const many = order === "6.4" ? 600 : 300;
    for (let i = 0; i < many; i++) {
      this.#name(`many_kernel_${i}${i === 7 ? "x".repeat(200) : ""}`, "t", MOCK_TEXT + 0x3000n + BigInt(i));
    }
    if (order === "4.20") this.#name("this_cpu_off", "A", 0x1f0n);
    this.symbols.sort((a, b) => a.address < b.address ? -1 : a.address > b.address ? 1 : 0);
    const how = { order, base: MOCK_TEXT, absolutePercpu: order === "4.20" };
    this.places.set("kallsyms", this.#put(mockKallsyms(this.symbols, how)));
  }

  #name(name: string, type: string, address: bigint): void {
    this.symbols.push({ name, type, address });
  }

  /** First byte behind the image's contents, in `bytes`. */
  get end(): number {
    return Number(MOCK_PHYSICAL + this.#top);
  }

  /** Where an address of the image lies in `bytes`. */
  at(address: bigint): number {
    return Number(this.#physical(address));
  }

  #physical(address: bigint): bigint {
    return address - MOCK_TEXT + MOCK_PHYSICAL;
  }

  /** Puts bytes into the image; gives their linear address. */
  #put(what: string | Uint8Array, align = 8n): bigint {
    const bytes = typeof what === "string" ? new TextEncoder().encode(`${what}\0`) : what;
    const start = this.#top + (align - this.#top % align) % align;
    this.bytes.set(bytes, Number(MOCK_PHYSICAL + start));
    this.#top = start + BigInt(bytes.length);
    return MOCK_TEXT + start;
  }

  #u64(address: bigint, value: bigint): void {
    this.#view.setBigUint64(this.at(address), value, true);
  }

  #u32(address: bigint, value: number): void {
    this.#view.setUint32(this.at(address), value, true);
  }

  #words(...values: bigint[]): bigint {
    const at = this.#put(new Uint8Array(8 * values.length));
    values.forEach((value, i) => this.#u64(at + BigInt(8 * i), value));
    return at;
  }

  /** Links members in a ring; `head` is the address of its list_head, the others are of theirs. */
  #ring(head: bigint, ...members: bigint[]): void {
    const all = [head, ...members];
    all.forEach((at, i) => {
      this.#u64(at, all[(i + 1) % all.length]);
      this.#u64(at + 8n, all[(i + all.length - 1) % all.length]);
    });
  }

  /** The image in the topmost 2 GiB, all memory at DIRECT; both by pages of 2 MiB. */
  #pageTables(at: bigint): void {
    const table = (n: number) => at + BigInt(n * 0x1000);
    const entry = (n: number, index: number, value: bigint) => this.#u64(table(n) + BigInt(8 * index), value);
    const pointer = (n: number) => this.#physical(table(n)) | 3n;
    entry(0, 511, pointer(1));
    entry(1, 510, pointer(2));
    entry(2, Number(MOCK_TEXT >> 21n & 511n), MOCK_PHYSICAL | 0x83n);
    entry(0, Number(DIRECT >> 39n & 511n), pointer(3));
    entry(3, 0, pointer(4));
    for (let i = 0; i < MOCK_BYTES >> 21; i++) entry(4, i, BigInt(i) << 21n | 0x83n);
    this.#name("page_offset_base", "D", this.#words(DIRECT));
  }

  #log(): void {
    const count = 4;
    const size = 128;
    const text = this.#put(new Uint8Array(size), 16n);
    const descs = this.#put(new Uint8Array(24 * count));
    const infos = this.#put(new Uint8Array(88 * count));
    // Numbers start where they wrap at 2^62.
    const first = (1n << 62n) - 3n;
    let position = 0n;
    const ids: bigint[] = [];
    MOCK_LOG.forEach((line, i) => {
      const id = BigInt.asUintN(62, first + BigInt(i));
      ids.push(id);
      const slot = id & BigInt(count - 1);
      const desc = descs + 24n * slot;
      const info = infos + 88n * slot;
      const bytes = new TextEncoder().encode(line);
      const block = BigInt(8 + Math.ceil(bytes.length / 8) * 8);
      this.#u64(desc, 2n << 62n | id);
      if (line === "") {
        this.#u64(desc + 8n, 1n);
        this.#u64(desc + 16n, 1n);
      } else {
        let next = position + block;
        let start = position % BigInt(size);
        if (next / BigInt(size) !== position / BigInt(size)) {
          next = (position / BigInt(size) + 1n) * BigInt(size) + block;
          start = 0n;
        }
        this.#u64(desc + 8n, position);
        this.#u64(desc + 16n, next);
        this.#u64(text + start, id);
        this.bytes.set(bytes, this.at(text + start + 8n));
        position = next;
      }
      this.#u64(info, BigInt(i));
      this.#u64(info + 8n, BigInt(i) * 1_500_000_000n);
      this.#u32(info + 16n, bytes.length | (i % 8) << 29);
    });
    const ring = this.#put(new Uint8Array(88));
    this.#u32(ring, 2);
    this.#u64(ring + 8n, descs);
    this.#u64(ring + 16n, infos);
    this.#u64(ring + 24n, ids[ids.length - 1]);
    this.#u64(ring + 32n, ids[ids.length - count]);
    this.#u32(ring + 48n, 7);
    this.#u64(ring + 56n, text);
    this.places.set("log", ring);
    this.#name("prb", "d", this.#words(ring));
    const info = [
      "OSRELEASE=6.9.0-mock",
      "KERNELOFFSET=3000000",
      "OFFSET(printk_ringbuffer.desc_ring)=0",
      "OFFSET(printk_ringbuffer.text_data_ring)=48",
      "OFFSET(prb_desc_ring.count_bits)=0",
      "OFFSET(prb_desc_ring.descs)=8",
      "OFFSET(prb_desc_ring.infos)=16",
      "OFFSET(prb_desc_ring.head_id)=24",
      "OFFSET(prb_desc_ring.tail_id)=32",
      "SIZE(prb_desc)=24",
      "OFFSET(prb_desc.state_var)=0",
      "OFFSET(prb_desc.text_blk_lpos)=8",
      "OFFSET(prb_data_blk_lpos.begin)=0",
      "OFFSET(prb_data_blk_lpos.next)=8",
      "SIZE(printk_info)=88",
      "OFFSET(printk_info.seq)=0",
      "OFFSET(printk_info.ts_nsec)=8",
      "OFFSET(printk_info.text_len)=16",
      "OFFSET(printk_info.caller_id)=20",
      "OFFSET(prb_data_ring.size_bits)=0",
      "OFFSET(prb_data_ring.data)=8",
      "OFFSET(atomic_long_t.counter)=0",
      "",
    ].join("\n");
    this.#name("vmcoreinfo_data", "B", this.#words(this.#put(info)));
    this.#name("vmcoreinfo_size", "B", this.#words(BigInt(info.length)));
  }

  #task(name: string, pid: number, parent: bigint, mm: bigint): bigint {
    const at = this.#put(new Uint8Array(256));
    const signal = this.#put(new Uint8Array(32));
    this.#u32(at + 16n, pid === 0 ? 0 : mm === 0n ? 0x402 : 1);
    this.#u32(at + 20n, mm === 0n ? 0x20_0000 : 0);
    this.#u32(at + 28n, pid);
    this.#u32(at + 32n, pid);
    this.#u64(at + 56n, mm);
    this.#u64(at + 64n, parent === 0n ? at : parent);
    this.#u64(at + 72n, signal);
    this.#ring(signal + 8n, at + 80n);
    this.bytes.set(new TextEncoder().encode(name), this.at(at + 96n));
    this.#u64(at + 120n, this.#words(0n, 0n, 0n, 0n, 0n, 0n, MOCK_TEXT + 0x1010n, 0n, MOCK_TEXT + 0x3008n));
    return at;
  }

  #tasks(tables: bigint, order: KallsymsOrder): void {
    // A process's top level: the kernel's, and a page of its own at 0x1000.
    const own = this.#put(new Uint8Array(0x4000), 0x1000n);
    this.bytes.copyWithin(this.at(own), this.at(tables), this.at(tables) + 0x1000);
    const page = this.#put(new TextEncoder().encode("a page of process 1").slice(), 0x1000n);
    const pointer = (n: number) => this.#physical(own + BigInt(n * 0x1000)) | 7n;
    this.#u64(own, pointer(1));
    this.#u64(own + 0x1000n, pointer(2));
    this.#u64(own + 0x2000n, pointer(3));
    this.#u64(own + 0x3008n, this.#physical(page) | 7n);
    const mm = this.#words(0n, 0n, 0n, own);
    const swapper = this.#task("swapper/0", 0, 0n, 0n);
    const init = this.#task("init\x1b[2J", 1, swapper, mm);
    const thread = this.#task("kthreadd", 2, swapper, 0n);
    this.#ring(swapper + 40n, init + 40n, thread + 40n);
    this.places.set("tasks", swapper + 40n);
    this.#name("init_task", "D", swapper);
    const area = this.#put(new Uint8Array(64));
    this.#u64(area + 0x10n, init);
    // Up to 6.14 variables of each CPU have addresses from 0; since then they are like others.
    const zero = order === "4.20" ? 0n : MOCK_TEXT;
    this.#name("__per_cpu_offset", "R", this.#words(area - zero));
    this.#name("nr_cpu_ids", "D", this.#words(1n));
    this.#name("current_task", zero === 0n ? "A" : "D", zero + 0x10n);
  }

  #module(name: string, start: bigint, order: KallsymsOrder): bigint {
    const at = this.#put(new Uint8Array(256));
    this.bytes.set(new TextEncoder().encode(name), this.at(at + 24n));
    this.#u64(at + 80n, start);
    this.#u32(at + 88n, 0x1000);
    if (order === "6.4") {
      this.#u64(at + 104n, start + 0x1000n);
      this.#u32(at + 112n, 0x800);
    }
    const strings = this.#put(`\0${name}_probe\0${name}_data`);
    const table = this.#put(new Uint8Array(72));
    [1, name.length + 8].forEach((string, i) => {
      const entry = table + 24n * BigInt(i + 1);
      this.#u32(entry, string);
      this.#view.setUint16(this.at(entry + 6n), 1, true);
      this.#u64(entry + 8n, start + BigInt(i * 0x100));
    });
    this.#u64(at + 128n, this.#words(table, 3n, strings, this.#put("?td")));
    this.#ring(at + 160n);
    this.#u32(at + 176n, 1);
    return at;
  }

  #modules(order: KallsymsOrder): void {
    const head = this.#put(new Uint8Array(16));
    const lower = this.#module("lower", 0xffff_ffff_c000_0000n, order);
    const upper = this.#module("upper", 0xffff_ffff_c001_0000n, order);
    this.#ring(head, upper + 8n, lower + 8n);
    // upper uses lower.
    const use = this.#put(new Uint8Array(48));
    this.#u64(use + 32n, upper);
    this.#ring(lower + 160n, use);
    this.#u32(lower + 176n, 2);
    this.places.set("modules", head);
    this.#name("modules", "D", head);
  }

  #orc(order: KallsymsOrder): { rip: bigint; rsp: bigint; rbp: bigint } {
    const bits = (sp: number, bp: number, kind: "call" | "end") =>
      order === "6.4" ? [sp | bp << 4, kind === "end" ? 1 : 2] : [sp | bp << 4, kind === "end" ? 4 : 0];
    // From _text on: nothing; outer: CFA is SP + 16, RBP at CFA - 16; inner: CFA is BP + 16; from 0x3000 on: the end.
    const rows = [
      [0n, 0, 0, ...bits(0, 0, "end")],
      [0x1000n, 16, -16, ...bits(5, 1, "call")],
      [0x2000n, 16, -16, ...bits(4, 1, "call")],
      [0x3000n, 0, 0, ...bits(0, 0, "end")],
    ] as const;
    const ips = this.#put(new Uint8Array(4 * rows.length));
    const entries = this.#put(new Uint8Array(6 * rows.length));
    rows.forEach(([start, sp, bp, low, high], i) => {
      const ip = ips + BigInt(4 * i);
      this.#view.setInt32(this.at(ip), Number(MOCK_TEXT + start - ip), true);
      const at = this.at(entries + BigInt(6 * i));
      this.#view.setInt16(at, sp, true);
      this.#view.setInt16(at + 2, bp, true);
      this.bytes[at + 4] = low;
      this.bytes[at + 5] = high;
    });
    this.#name("__start_orc_unwind_ip", "R", ips);
    this.#name("__stop_orc_unwind_ip", "R", ips + BigInt(4 * rows.length));
    this.#name("__start_orc_unwind", "R", entries);
    const stack = this.#words(1n, 0x77n, MOCK_TEXT + 0x1010n, 0x88n, MOCK_TEXT + 0x3008n, 2n);
    this.#u64(stack + 8n, 0x99n);
    return { rip: MOCK_TEXT + 0x2008n, rsp: stack, rbp: stack + 8n };
  }
}
