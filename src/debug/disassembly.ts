/** Instructions: their text, where they lead, what they read and write. Decoding is iced-x86's. */
import type * as Iced from "npm:iced-x86@1.21.0";
import type { Bitness } from "../x86/mode.ts";
import { type Flow, type Instruction, LONGEST_INSTRUCTION, type OperandAccess } from "./instruction.ts";

/** How text is written. */
export type Syntax = "nasm" | "intel" | "masm" | "att";

/** What the decoder is told beside the bytes. */
export interface DecodeOptions {
  /**
   * Base of CS: `ip - csBase` is what the IP register holds, and 16-bit branches wrap within that. Left out, 16-bit code
   * is taken to be in the 64 KiB around `ip`, other code in a flat segment.
   */
  readonly csBase?: bigint;
  /** Whether a far branch's selector is a real-mode segment: its target is then known. */
  readonly realMode?: boolean;
  /** "nasm" if left out. */
  readonly syntax?: Syntax;
  /** Names linear addresses, for annotations. */
  readonly symbol?: (address: bigint) => string | undefined;
}

/** Bytes to read before an address so that `count` instructions can be found there. */
export function bytesBefore(count: number): number {
  return Math.min(count, 1000) * 8 + 32;
}

/** How many starts are asked where instructions lie before an address. The earliest had most bytes to fall into step. */
const VOTERS = 5;

/** Loads iced-x86. For `disassembler()`, which does so once. */
export async function loadDisassembler(): Promise<Disassembler> {
  return new Disassembler(await import("npm:iced-x86@1.21.0"));
}

/** Decodes bytes to instructions. Made by `disassembler()`. */
export class Disassembler {
  readonly #iced: typeof Iced;
  readonly #infos: Iced.InstructionInfoFactory;
  readonly #formatters = new Map<Syntax, Iced.Formatter>();
  readonly #flows: ReadonlyMap<number, Flow>;

  /** Takes the library, which `disassembler()` loads. */
  constructor(iced: typeof Iced) {
    this.#iced = iced;
    this.#infos = new iced.InstructionInfoFactory();
    const { FlowControl } = iced;
    this.#flows = new Map<number, Flow>([
      [FlowControl.Next, "next"],
      [FlowControl.UnconditionalBranch, "jump"],
      [FlowControl.IndirectBranch, "jump"],
      [FlowControl.ConditionalBranch, "conditional"],
      [FlowControl.Return, "return"],
      [FlowControl.Call, "call"],
      [FlowControl.IndirectCall, "call"],
      [FlowControl.Interrupt, "interrupt"],
      [FlowControl.Exception, "exception"],
      [FlowControl.XbeginXabortXend, "transaction"],
    ]);
  }

  /**
   * The instruction that `bytes` start with.
   *
   * @param bytes At least one; 15 are always enough.
   * @param ip Linear address of the first byte.
   * @throws {RangeError} If there are no bytes.
   */
  decode(bytes: Uint8Array, bitness: Bitness, ip: bigint, options: DecodeOptions = {}): Instruction {
    if (bytes.length === 0) throw new RangeError("There are no bytes to decode");
    const base = options.csBase ?? (bitness === 16 ? ip & ~0xffffn : 0n);
    const { Decoder, DecoderOptions, DecoderError } = this.#iced;
    const decoder = new Decoder(bitness, bytes.subarray(0, LONGEST_INSTRUCTION), DecoderOptions.None);
    try {
      decoder.ip = BigInt.asUintN(64, ip - base);
      const instruction = decoder.decode();
      try {
        if (instruction.isInvalid) {
          const short = decoder.lastError === DecoderError.NoMoreBytes && bytes.length < LONGEST_INSTRUCTION;
          return bad(bytes, ip, short && this.#startsOne(bytes, bitness));
        }
        return this.#describe(instruction, bytes, { bitness, ip, base }, options);
      } finally {
        instruction.free();
      }
    } finally {
      decoder.free();
    }
  }

  /**
   * Instructions one behind the other: `count`, or fewer where the bytes end, the last one cut off being left out.
   *
   * @param ip Linear address of the first byte.
   */
  list(
    bytes: Uint8Array,
    bitness: Bitness,
    ip: bigint,
    count: number,
    options: DecodeOptions = {},
  ): Instruction[] {
    const list: Instruction[] = [];
    for (let at = 0; at < bytes.length && list.length < count;) {
      const instruction = this.decode(
        bytes.subarray(at, at + LONGEST_INSTRUCTION),
        bitness,
        ip + BigInt(at),
        options,
      );
      if (instruction.truncated) break;
      list.push(instruction);
      at += instruction.length;
    }
    return list;
  }

  /**
   * The `count` instructions that end where `bytes` end, or fewer. x86 code can't be read backwards, but it falls
   * into step after a few instructions: of the earliest starts that arrive at the end, the majority is believed. May be wrong where data
   * lies between the code.
   *
   * @param ip Linear address of the first byte; give `bytesBefore(count)` bytes where there are as many.
   */
  before(
    bytes: Uint8Array,
    bitness: Bitness,
    ip: bigint,
    count: number,
    options: DecodeOptions = {},
  ): Instruction[] {
    const size = bytes.length;
    // From each offset: where its instruction ends, or undefined where none is.
    const lengths = Array.from(
      { length: size },
      (_, at) => this.#length(bytes.subarray(at, at + LONGEST_INSTRUCTION), bitness),
    );
    // The chain from each offset to the end: how many instructions it has.
    const steps: (number | undefined)[] = new Array(size + 1).fill(undefined);
    steps[size] = 0;
    for (let at = size - 1; at >= 0; at--) {
      const length = lengths[at];
      const rest = length === undefined ? undefined : steps[at + length];
      if (rest !== undefined) steps[at] = rest + 1;
    }
    const votes = new Map<number, number>();
    for (let start = 0, voters = 0; start < size && voters < VOTERS; start++) {
      let at = start;
      for (; steps[at] !== undefined && steps[at]! > count;) at += lengths[at]!;
      if (steps[at] !== count) continue;
      voters++;
      votes.set(at, (votes.get(at) ?? 0) + 1);
    }
    let best = [...votes].sort((a, b) => b[1] - a[1])[0]?.[0];
    if (best === undefined) {
      // Fewer than asked for: the longest chain there is.
      steps.forEach((n, at) => {
        if (n !== undefined && n > 0 && (best === undefined || n > steps[best]!)) best = at;
      });
    }
    return best === undefined
      ? []
      : this.list(bytes.subarray(best), bitness, ip + BigInt(best), count, options);
  }

  /** Whether zeros behind `bytes` make an instruction of them: iced misses bytes of opcodes that do not exist, too. */
  #startsOne(bytes: Uint8Array, bitness: Bitness): boolean {
    const padded = new Uint8Array(LONGEST_INSTRUCTION);
    padded.set(bytes);
    return this.#length(padded, bitness) !== undefined;
  }

  #length(bytes: Uint8Array, bitness: Bitness): number | undefined {
    const decoder = new this.#iced.Decoder(bitness, bytes, this.#iced.DecoderOptions.None);
    const instruction = decoder.decode();
    const length = instruction.isInvalid ? undefined : instruction.length;
    instruction.free();
    decoder.free();
    return length;
  }

  #describe(
    instruction: Iced.Instruction,
    bytes: Uint8Array,
    place: { readonly bitness: Bitness; readonly ip: bigint; readonly base: bigint },
    options: DecodeOptions,
  ): Instruction {
    const { bitness, ip, base } = place;
    const { OpKind } = this.#iced;
    const formatter = this.#formatter(options.syntax ?? "nasm");
    let target: bigint | undefined;
    let far: Instruction["far"];
    for (let i = 0; i < instruction.opCount; i++) {
      const kind = instruction.opKind(i);
      if (kind === OpKind.NearBranch16 || kind === OpKind.NearBranch32 || kind === OpKind.NearBranch64) {
        target = BigInt.asUintN(
          instruction.codeSize === this.#iced.CodeSize.Code64 ? 64 : 32,
          base + instruction.nearBranchTarget,
        );
      } else if (kind === OpKind.FarBranch16 || kind === OpKind.FarBranch32) {
        const offset = BigInt(
          kind === OpKind.FarBranch16 ? instruction.farBranch16 : instruction.farBranch32,
        );
        far = { selector: instruction.farBranchSelector, offset };
        if (options.realMode) target = BigInt(far.selector) * 16n + offset;
      }
    }
    const uses = this.#uses(instruction);
    const { length } = instruction;
    const reference = this.#reference(instruction);
    let text = formatter.format(instruction);
    const named = target ?? (bitness === 16 ? undefined : reference);
    const name = named === undefined ? undefined : options.symbol?.(named);
    if (name !== undefined) text += ` <${name}>`;
    const rep = !instruction.isStringInstruction
      ? undefined
      : instruction.hasRepnePrefix
      ? "repne" as const
      : instruction.hasRepPrefix
      ? /cmps|scas/.test(text) ? "repe" as const : "rep" as const
      : undefined;
    return {
      address: ip,
      length,
      bytes: bytes.slice(0, length),
      text,
      mnemonic: formatter.formatMnemonicOptions(instruction, this.#iced.FormatMnemonicOptions.NoPrefixes),
      flow: this.#flows.get(instruction.flowControl) ?? "next",
      ...(target !== undefined && { target }),
      ...(far && { far }),
      ...(reference !== undefined && { reference }),
      ...uses,
      flagsRead: this.#flags(instruction.rflagsRead),
      flagsWritten: this.#flags(instruction.rflagsModified),
      ...(rep && { rep }),
      isPrivileged: instruction.isPrivileged,
      valid: true,
      truncated: false,
    };
  }

  /** The effective address of a memory operand that has one whatever the registers are. FS and GS have bases that move. */
  #reference(instruction: Iced.Instruction): bigint | undefined {
    const { OpKind, Register } = this.#iced;
    for (let i = 0; i < instruction.opCount; i++) {
      if (instruction.opKind(i) !== OpKind.Memory) continue;
      const { memorySegment } = instruction;
      if (memorySegment === Register.FS || memorySegment === Register.GS) return undefined;
      if (instruction.isIpRelMemoryOperand) return instruction.ipRelMemoryAddress;
      if (instruction.memoryBase === Register.None && instruction.memoryIndex === Register.None) {
        return BigInt.asUintN(64, instruction.memoryDisplacement);
      }
    }
    return undefined;
  }

  #uses(instruction: Iced.Instruction): Pick<Instruction, "registersRead" | "registersWritten" | "memory"> {
    const info = this.#infos.info(instruction);
    const registers: Iced.UsedRegister[] = info.usedRegisters();
    const memory: Iced.UsedMemory[] = info.usedMemory();
    try {
      const read = new Set<string>();
      const written = new Set<string>();
      for (const { register, access } of registers) {
        const kind = this.#access(access);
        const name = this.#register(register);
        if (kind === "read" || kind === "read-write" || kind === "conditional-read") read.add(name);
        if (kind === "write" || kind === "read-write" || kind === "conditional-write") written.add(name);
      }
      return {
        registersRead: [...read],
        registersWritten: [...written],
        memory: memory.map((use) => ({
          access: this.#access(use.access),
          expression: this.#expression(use),
          size: this.#iced.MemorySizeExt.size(use.memorySize),
          segment: this.#register(use.segment) || "ds",
        })),
      };
    } finally {
      for (const object of [...registers, ...memory, info]) object.free();
    }
  }

  #access(access: number): OperandAccess {
    const { OpAccess } = this.#iced;
    switch (access) {
      case OpAccess.Read:
        return "read";
      case OpAccess.CondRead:
        return "conditional-read";
      case OpAccess.Write:
        return "write";
      case OpAccess.CondWrite:
        return "conditional-write";
      case OpAccess.ReadWrite:
      case OpAccess.ReadCondWrite:
        return "read-write";
      default:
        return "address";
    }
  }

  #register(register: number): string {
    const { Register } = this.#iced;
    return register === Register.None ? "" : Register[register].toLowerCase();
  }

  #expression(use: Iced.UsedMemory): string {
    const { Register } = this.#iced;
    const segment = this.#register(use.segment);
    // iced gives RIP-relative operands as RIP and the absolute address.
    const relative = use.base === Register.RIP || use.base === Register.EIP;
    let inside = relative ? "" : this.#register(use.base);
    if (use.index !== Register.None) {
      inside += `${inside && "+"}${this.#register(use.index)}${use.scale > 1 ? `*${use.scale}` : ""}`;
    }
    // A displacement is signed in the width of the registers it is added to.
    const width = this.#iced.RegisterExt.size(use.base === Register.None ? use.index : use.base) * 8;
    const signed = BigInt.asIntN(width === 16 || width === 32 ? width : 64, use.displacement);
    if (inside === "") inside = `0x${BigInt.asUintN(64, use.displacement).toString(16)}`;
    else if (signed > 0n) inside += `+0x${signed.toString(16)}`;
    else if (signed < 0n) inside += `-0x${(-signed).toString(16)}`;
    return `${segment === "ds" || segment === "" ? "" : `${segment}:`}[${inside}]`;
  }

  #flags(bits: number): string[] {
    const { RflagsBits } = this.#iced;
    const rows = [
      [RflagsBits.CF, "CF"],
      [RflagsBits.PF, "PF"],
      [RflagsBits.AF, "AF"],
      [RflagsBits.ZF, "ZF"],
      [RflagsBits.SF, "SF"],
      [RflagsBits.IF, "IF"],
      [RflagsBits.DF, "DF"],
      [RflagsBits.OF, "OF"],
      [RflagsBits.AC, "AC"],
    ] as const;
    return rows.filter(([bit]) => (bits & bit) !== 0).map(([, name]) => name);
  }

  #formatter(syntax: Syntax): Iced.Formatter {
    const known = this.#formatters.get(syntax);
    if (known) return known;
    const { Formatter, FormatterSyntax } = this.#iced;
    const kind = {
      nasm: FormatterSyntax.Nasm,
      intel: FormatterSyntax.Intel,
      masm: FormatterSyntax.Masm,
      att: FormatterSyntax.Gas,
    }[syntax];
    const formatter = new Formatter(kind);
    formatter.hexPrefix = "0x";
    formatter.hexSuffix = "";
    formatter.uppercaseHex = false;
    formatter.branchLeadingZeros = false;
    formatter.showBranchSize = false;
    formatter.spaceAfterOperandSeparator = true;
    formatter.gasSpaceAfterMemoryOperandComma = false;
    this.#formatters.set(syntax, formatter);
    return formatter;
  }
}

function bad(bytes: Uint8Array, ip: bigint, truncated: boolean): Instruction {
  return {
    address: ip,
    length: 1,
    bytes: bytes.slice(0, 1),
    text: "(bad)",
    mnemonic: "(bad)",
    flow: "exception",
    registersRead: [],
    registersWritten: [],
    flagsRead: [],
    flagsWritten: [],
    memory: [],
    isPrivileged: false,
    valid: false,
    truncated,
  };
}
