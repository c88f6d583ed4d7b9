/** What an instruction is to the debugger, whoever decoded it. */

/** The longest instruction in bytes (SDM vol. 2A, 2.3.11). */
export const LONGEST_INSTRUCTION = 15;

/** Where control goes after an instruction; "exception" is UD0 and its kin, "transaction" XBEGIN and its kin. */
export type Flow =
  | "next"
  | "jump"
  | "conditional"
  | "call"
  | "return"
  | "interrupt"
  | "exception"
  | "transaction";

/** What is done to a register or to memory; "conditional-..." may not happen. */
export type OperandAccess =
  | "read"
  | "write"
  | "read-write"
  | "conditional-read"
  | "conditional-write"
  | "address";

/** Memory that an instruction touches. */
export interface MemoryUse {
  /** What is done to it. */
  readonly access: OperandAccess;
  /** "[rax+rcx*4+0x10]", "fs:[0x28]", "ss:[rsp-0x8]". */
  readonly expression: string;
  /** Bytes; 0 where it depends on the machine's state (XSAVE). */
  readonly size: number;
  /** Segment register: "ds", "ss", "es", ... */
  readonly segment: string;
}

/** One instruction. */
export interface Instruction {
  /** Linear address. */
  readonly address: bigint;
  /** Bytes it has; 1 for what does not decode. */
  readonly length: number;
  /** The bytes themselves. */
  readonly bytes: Uint8Array;
  /** Text, with the names of its target and of a fixed address it uses: "call 0x100050 <report>". "(bad)" for what does not decode. */
  readonly text: string;
  /** Lower case: "mov", "jne"; "(bad)". */
  readonly mnemonic: string;
  /** Where control goes next. */
  readonly flow: Flow;
  /** Linear address of a direct near branch; of a far one where `far` can be told from a real-mode segment. */
  readonly target?: bigint;
  /** Selector and offset of a direct far branch. */
  readonly far?: { readonly selector: number; readonly offset: bigint };
  /** Effective address (offset in its segment) of an operand without registers, or relative to RIP. */
  readonly reference?: bigint;
  /** Full names of registers, flags left out. */
  readonly registersRead: readonly string[];
  /** Full names of registers, flags left out. */
  readonly registersWritten: readonly string[];
  /** Status and control flags: "CF", "ZF", ... */
  readonly flagsRead: readonly string[];
  /** Status and control flags that change: "CF", "ZF", ... */
  readonly flagsWritten: readonly string[];
  /** Memory it touches, pushes and pops included. */
  readonly memory: readonly MemoryUse[];
  /** Repeat prefix of a string instruction. */
  readonly rep?: "rep" | "repe" | "repne";
  /** Whether it needs CPL 0. */
  readonly isPrivileged: boolean;
  /** Whether the bytes are an instruction. */
  readonly valid: boolean;
  /** Not valid only because the bytes ended within the instruction. */
  readonly truncated: boolean;
}
