import type { SliceTimer } from "../host/slice_timer.ts";
import type { BackendMemory, CpuidEntry, VcpuEvents } from "../vm/backend.ts";
import type { Capabilities } from "../vm/capabilities.ts";
import { InputError, UnsupportedError } from "../vm/errors.ts";
import { decodeCpuid } from "./cpuid.ts";
import { decodeEvents, mergeEvents } from "./events.ts";
import { RunPage } from "./run_page.ts";
import type { VcpuFd } from "./vcpu_fd.ts";
import { VcpuState } from "./vcpu_state.ts";

/** MSRs that KVM leaves out of its list because they stand among the segment and control registers. */
const AMONG_CONTROL = [0x1b, 0xc000_0080, 0xc000_0100, 0xc000_0101];

/** What the vCPUs of one machine have in common. */
export interface VcpuContext {
  /** Milliseconds of a time slice. */
  readonly sliceMs: number;
  /** What ends time slices: made, with the guest's own timer, when a vCPU is entered for the first time. */
  timer(): SliceTimer;
  /** Bytes of the shared page. */
  readonly mapSize: number;
  /** Whether the interrupt controllers are in the kernel. */
  readonly irqchip: boolean;
  /** Whether those have an interrupt for the first vCPU. */
  interruptWaits(): boolean;
  /** KVM_GUESTDBG_* flags that this host takes. */
  readonly debugFlags: number;
  /** Numbers of the MSRs that KVM can show. */
  readonly msrs: readonly number[];
  /** What this host can do, found out when it is first asked for. */
  capabilities(): Capabilities;
  /** The guest's memory, for steps that are done by hand. */
  readonly memory: Pick<BackendMemory, "read" | "write">;
  /** Sets the MSRs that leave the guest, for the whole machine; false if this host can't. */
  filterMsrs(indices: readonly number[]): boolean;
}

/** A vCPU but for running it: its descriptor, its shared page, and MSRs, XSAVE area, LAPIC, events. */
export abstract class VcpuGroups {
  protected readonly fd: VcpuFd;
  protected readonly context: VcpuContext;
  protected readonly page: RunPage;
  protected readonly state: VcpuState;
  readonly #cpuid: Uint8Array;

  /** Sets a new vCPU up. @throws {HostError} If KVM refuses something. */
  protected constructor(fd: VcpuFd, cpuid: Uint8Array<ArrayBuffer>, context: VcpuContext) {
    this.fd = fd;
    this.context = context;
    using cleanup = new DisposableStack();
    this.page = cleanup.use(new RunPage(fd.fd, context.mapSize));
    fd.setCpuid(cpuid);
    this.#cpuid = cpuid;
    this.state = new VcpuState(fd, this.page);
    this.state.reload();
    cleanup.move();
  }

  /** @throws {StateError} If the machine is closed. */
  protected abstract alive(): void;

  /** Finishes what is in flight, for callers that need the instruction done. @throws {StateError} */
  protected abstract settled(): void;

  msrs(): readonly number[] {
    return [...new Set([...this.context.msrs, ...AMONG_CONTROL])].sort((a, b) => a - b);
  }

  // MSRs are read and written to answer an exit of RDMSR or WRMSR: nothing is settled here.
  readMsr(index: number): bigint {
    this.alive();
    const [found] = this.fd.getMsrs([index >>> 0]);
    if (found === undefined) {
      throw new UnsupportedError(`MSR 0x${index.toString(16)}`, "KVM does not know it", {
        remedy: "msrs() lists those there are",
      });
    }
    return found.value;
  }

  writeMsr(index: number, value: bigint): void {
    this.alive();
    if (value < 0n || value >= 1n << 64n) throw new RangeError(`${value} does not fit an MSR's 64 bits.`);
    if (this.fd.setMsrs([{ index: index >>> 0, value: value + 0n }]) === 0) {
      throw new UnsupportedError(
        `0x${value.toString(16)} in MSR 0x${index.toString(16)}`,
        "KVM does not know the MSR or refuses the value",
        { remedy: "msrs() lists those there are" },
      );
    }
    // EFER, FS_BASE and their like stand among the segment and control registers too.
    this.state.reload();
  }

  cpuid(): readonly CpuidEntry[] {
    this.alive();
    return decodeCpuid(this.#cpuid).map(({ function: leaf, index, eax, ebx, ecx, edx }) => ({
      function: leaf,
      index,
      eax,
      ebx,
      ecx,
      edx,
    }));
  }

  xsave(): Uint8Array {
    this.settled();
    return this.fd.getXsave();
  }

  setXsave(area: Uint8Array): void {
    this.settled();
    this.state.setXsave(area);
  }

  lapic(): Uint8Array {
    this.#needLapic();
    return this.fd.getLapic();
  }

  setLapic(page: Uint8Array): void {
    this.#needLapic();
    if (page.length !== 1024) throw new InputError(`A LAPIC's page has 1024 bytes, not ${page.length}.`);
    this.fd.setLapic(new Uint8Array(page));
    this.state.reload();
  }

  #needLapic(): void {
    this.settled();
    if (!this.context.irqchip) {
      throw new UnsupportedError(
        "lapic",
        "this machine was opened without interrupt controllers in the hypervisor",
        {
          remedy: "Open it with `irqchip: true`.",
        },
      );
    }
  }

  events(): VcpuEvents {
    this.settled();
    return decodeEvents(this.fd.getEvents());
  }

  setEvents(events: Partial<VcpuEvents>): void {
    this.settled();
    this.state.flush();
    this.fd.setEvents(mergeEvents(this.fd.getEvents(), events));
    this.state.reload();
  }

  injectException(vector: number, errorCode?: number): void {
    if (!Number.isInteger(vector) || vector < 0 || vector > 31) {
      throw new RangeError(`Exceptions have vectors 0 to 31, not ${vector}.`);
    }
    this.setEvents({
      exception: { vector, ...(errorCode === undefined ? {} : { errorCode }), pending: true },
    });
  }

  trapMsrs(indices: readonly number[]): void {
    this.settled();
    if (!this.context.filterMsrs(indices)) {
      throw new UnsupportedError("msr-exits", "this KVM has no filter for MSR accesses", {
        remedy: "Use Linux 5.10 or newer.",
      });
    }
  }
}
