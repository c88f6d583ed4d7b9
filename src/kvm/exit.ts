import type {
  DebugExit,
  FailEntryExit,
  InternalErrorExit,
  MmioExit,
  MsrExit,
  PortExit,
  SystemEventExit,
  VmExit,
} from "../vm/exit.ts";
import {
  EXIT,
  exit_debug,
  exit_emulation_failure,
  exit_fail_entry,
  exit_hw,
  exit_internal,
  exit_io,
  exit_mmio,
  exit_msr,
  exit_system_event,
  FLAG,
  kvm_debug_exit_arch,
} from "./abi.ts";
import { AT, type RunPage } from "./run_page.ts";

/** What the decoder needs of the shared page. */
export type ExitPage = Pick<RunPage, "bytes" | "words32" | "words64">;

const IO = {
  direction: AT.exit + exit_io.offsets.direction,
  size: AT.exit + exit_io.offsets.size,
  port: AT.exit + exit_io.offsets.port,
  count: AT.exit + exit_io.offsets.count,
  data: AT.exit + exit_io.offsets.data_offset,
};
const MMIO = {
  address: AT.exit + exit_mmio.offsets.phys_addr,
  data: AT.exit + exit_mmio.offsets.data,
  length: AT.exit + exit_mmio.offsets.len,
  write: AT.exit + exit_mmio.offsets.is_write,
};
const MSR = {
  error: AT.exit + exit_msr.offsets.error,
  reason: AT.exit + exit_msr.offsets.reason,
  index: AT.exit + exit_msr.offsets.index,
  data: AT.exit + exit_msr.offsets.data,
};
const DEBUG = {
  exception: AT.exit + exit_debug.offsets.arch + kvm_debug_exit_arch.offsets.exception,
  pc: AT.exit + exit_debug.offsets.arch + kvm_debug_exit_arch.offsets.pc,
  dr6: AT.exit + exit_debug.offsets.arch + kvm_debug_exit_arch.offsets.dr6,
};

/** What `stepped` looks at after each step, as 32-bit words of the page. */
const REASON = AT.reason / 4;
const EXIT_DEBUG = EXIT.DEBUG;
const EXCEPTION = DEBUG.exception / 4;
const DR6 = DEBUG.dr6 / 4;
const EMULATION = {
  flags: AT.exit + exit_emulation_failure.offsets.flags,
  size: AT.exit + exit_emulation_failure.offsets.insn_size,
  bytes: AT.exit + exit_emulation_failure.offsets.insn_bytes,
};

/** HLT, with nothing more to tell. */
export const HALT: VmExit = { kind: "halt" };
const SHUTDOWN: VmExit = { kind: "shutdown" };
const IRQ_WINDOW: VmExit = { kind: "irq-window" };

/** The time slice is over, or a signal came: nothing happened in the guest. */
export const SLICE: VmExit = { kind: "slice" };

const SUBERRORS: Readonly<Record<number, string>> = {
  [FLAG.INTERNAL_ERROR_EMULATION]: "KVM can't emulate this instruction",
  [FLAG.INTERNAL_ERROR_SIMUL_EX]: "two exceptions came at once",
  [FLAG.INTERNAL_ERROR_DELIVERY_EV]: "an unexpected exit came while an event was delivered",
  [FLAG.INTERNAL_ERROR_UNEXPECTED_EXIT_REASON]: "the processor left the guest for an unexpected reason",
};

const EVENTS: Readonly<Record<number, SystemEventExit["event"]>> = {
  [FLAG.SYSTEM_EVENT_SHUTDOWN]: "poweroff",
  [FLAG.SYSTEM_EVENT_RESET]: "reset",
  [FLAG.SYSTEM_EVENT_CRASH]: "crash",
};

/** A debug exit, read from the page when it is asked: most steps are asked for no more than `exception` and `hits`. */
class KvmDebugExit implements DebugExit {
  readonly kind = "debug";
  readonly #page: ExitPage;

  constructor(page: ExitPage) {
    this.#page = page;
  }

  get exception(): number {
    return this.#page.words32[DEBUG.exception / 4];
  }

  get dr6(): bigint {
    return this.#page.words64[DEBUG.dr6 / 8];
  }

  get hits(): number {
    return this.#page.words32[DEBUG.dr6 / 4] & 0xf;
  }

  get pc(): bigint {
    return this.#page.words64[DEBUG.pc / 8];
  }
}

/**
 * Turns what KVM left in the shared page into neutral exits. The objects for the frequent kinds are made once and
 * handed out again and again, with views of the page itself: an answer written to `data` is what KVM reads.
 */
export class ExitDecoder {
  readonly #page: ExitPage;
  readonly #port: { -readonly [K in keyof PortExit]: PortExit[K] };
  readonly #mmio: { -readonly [K in keyof MmioExit]: MmioExit[K] };
  readonly #msr: { -readonly [K in keyof MsrExit]: MsrExit[K] };
  readonly #debug: KvmDebugExit;
  /** Views of the port data by length, at the one offset that KVM uses. */
  readonly #portViews: Uint8Array[] = [];
  readonly #mmioViews: Uint8Array[] = [];
  #portOffset = -1;

  constructor(page: ExitPage) {
    this.#page = page;
    const none = new Uint8Array(0);
    this.#port = { kind: "io-out", port: 0, size: 1, count: 1, data: none };
    this.#mmio = { kind: "mmio-read", address: 0n, data: none };
    this.#msr = {
      kind: "msr-read",
      index: 0,
      reason: "filter",
      data: page.bytes.subarray(MSR.data, MSR.data + 8),
      fail: () => {
        page.bytes[MSR.error] = 1;
      },
    };
    this.#debug = new KvmDebugExit(page);
    for (let length = 0; length <= 8; length++) {
      this.#mmioViews.push(page.bytes.subarray(MMIO.data, MMIO.data + length));
    }
  }

  /** Whether the page holds the end of a single step, and nothing besides. */
  get stepped(): boolean {
    const { words32 } = this.#page;
    return words32[REASON] === EXIT_DEBUG && words32[EXCEPTION] === 1 && (words32[DR6] & 0xf) === 0;
  }

  /** The exit that the page holds now. Valid, with its data, until the vCPU's next entry. */
  decode(): VmExit {
    const { bytes, words32, words64 } = this.#page;
    const reason = words32[AT.reason / 4];
    switch (reason) {
      case EXIT.IO: {
        const exit = this.#port;
        exit.kind = bytes[IO.direction] === FLAG.EXIT_IO_OUT ? "io-out" : "io-in";
        const size = bytes[IO.size];
        exit.size = size;
        exit.port = bytes[IO.port] | (bytes[IO.port + 1] << 8);
        const count = words32[IO.count / 4];
        exit.count = count;
        // The offset is 64 bits wide and always a small number: its lower half is enough.
        exit.data = this.#portData(words32[IO.data / 4], size * count);
        return exit;
      }
      case EXIT.MMIO: {
        const exit = this.#mmio;
        exit.kind = bytes[MMIO.write] !== 0 ? "mmio-write" : "mmio-read";
        exit.address = words64[MMIO.address / 8];
        exit.data = this.#mmioViews[Math.min(words32[MMIO.length / 4], 8)];
        return exit;
      }
      case EXIT.DEBUG:
        return this.#debug;
      case EXIT.HLT:
        return HALT;
      case EXIT.SHUTDOWN:
        return SHUTDOWN;
      case EXIT.IRQ_WINDOW_OPEN:
        return IRQ_WINDOW;
      case EXIT.INTR:
        return SLICE;
      case EXIT.X86_RDMSR:
      case EXIT.X86_WRMSR:
        return this.#msrExit(reason === EXIT.X86_WRMSR);
      case EXIT.FAIL_ENTRY:
        return this.#failEntry();
      case EXIT.INTERNAL_ERROR:
        return this.#internalError();
      case EXIT.SYSTEM_EVENT:
        return this.#systemEvent();
      case EXIT.UNKNOWN: {
        const hardware = words64[(AT.exit + exit_hw.offsets.hardware_exit_reason) / 8];
        return { kind: "unsupported", reason: `KVM does not know the processor's exit reason ${hardware}` };
      }
      default:
        return { kind: "unsupported", reason: `KVM exit reason ${reason}` };
    }
  }

  /** A debug exit that KVM did not report itself: a single step that was finished by `settle`. */
  stepDone(pc: bigint): VmExit {
    return { kind: "debug", exception: 1, dr6: 0xffff_4ff0n, hits: 0, pc };
  }

  #portData(offset: number, length: number): Uint8Array {
    if (offset !== this.#portOffset) {
      this.#portViews.length = 0;
      this.#portOffset = offset;
    }
    return this.#portViews[length] ??= this.#page.bytes.subarray(offset, offset + length);
  }

  #msrExit(write: boolean): MsrExit {
    const exit = this.#msr;
    const { bytes, words32 } = this.#page;
    exit.kind = write ? "msr-write" : "msr-read";
    exit.index = words32[MSR.index / 4];
    const why = words32[MSR.reason / 4];
    exit.reason = why & FLAG.MSR_EXIT_REASON_FILTER
      ? "filter"
      : why & FLAG.MSR_EXIT_REASON_UNKNOWN
      ? "unknown"
      : "invalid";
    bytes[MSR.error] = 0;
    return exit;
  }

  #failEntry(): FailEntryExit {
    const at = AT.exit + exit_fail_entry.offsets.hardware_entry_failure_reason;
    return { kind: "fail-entry", reason: this.#page.words64[at / 8] };
  }

  #internalError(): InternalErrorExit {
    const { bytes, words32 } = this.#page;
    const suberror = words32[(AT.exit + exit_internal.offsets.suberror) / 4];
    const data = words32[(AT.exit + exit_internal.offsets.ndata) / 4];
    const reason = SUBERRORS[suberror] ?? `KVM's internal error ${suberror}`;
    const told = suberror === FLAG.INTERNAL_ERROR_EMULATION && data >= 1 &&
      (words32[EMULATION.flags / 4] & FLAG.INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) !== 0;
    if (!told) return { kind: "internal-error", suberror, reason };
    const size = Math.min(bytes[EMULATION.size], 15);
    return {
      kind: "internal-error",
      suberror,
      reason,
      bytes: bytes.slice(EMULATION.bytes, EMULATION.bytes + size),
    };
  }

  #systemEvent(): SystemEventExit {
    const { words32, words64 } = this.#page;
    const type = words32[(AT.exit + exit_system_event.offsets.type) / 4];
    const count = Math.min(words32[(AT.exit + exit_system_event.offsets.ndata) / 4], 16);
    const first = (AT.exit + exit_system_event.offsets.data) / 8;
    const data = Array.from(words64.subarray(first, first + count), (word) => `0x${word.toString(16)}`);
    return {
      kind: "system-event",
      event: EVENTS[type] ?? "other",
      detail: [`KVM system event ${type}`, ...data].join(" "),
    };
  }
}
