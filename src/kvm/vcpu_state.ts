import { InputError } from "../vm/errors.ts";
import { machineClosed } from "./closed.ts";
import { FLAG, kvm_debugregs, kvm_regs, kvm_vcpu_events, kvm_xcrs, kvm_xsave } from "./abi.ts";
import * as xsave from "../x86/xsave.ts";
import { type WritePlan, writeSregs } from "./register_write.ts";
import type { SlowGroups } from "./registers.ts";
import { AT, type RunPage } from "./run_page.ts";
import type { VcpuFd } from "./vcpu_fd.ts";

const VALID = AT.validRegs / 4;
const DIRTY = AT.dirtyRegs / 8;
const REGS_DIRTY = BigInt(FLAG.SYNC_X86_REGS);
/** For how many entries KVM goes on to put a group into the page that was asked for once. */
const ENTRIES_SYNCED = 64;
const DEBUG_OFFSET = kvm_debugregs.offsets;
const FIRST_XCR = kvm_xcrs.offsets.xcrs;
const XCR_VALUE = FIRST_XCR + kvm_xcrs.fields.xcrs.element.offsets.value;
/** Bit 1 of RFLAGS is always set (SDM vol. 1, 3.4.3). */
const RFLAGS_ALWAYS = 2n;

/**
 * A vCPU's registers, between two entries: the shared page holds the general, segment and control registers, ioctls
 * the rest. General registers are written to the page and taken over by KVM at the next entry; the others at once,
 * so that what KVM refuses is known at once.
 *
 * At each exit KVM puts into the page what `kvm_valid_regs` names, and what it puts there costs: segment and control
 * registers about a third of a request of their own, events a little less. A guest whose devices answer needs neither,
 * one that is stepped or has breakpoints needs them each time. So each of the two is fetched by a request when it is
 * first needed, and then comes with the exits for a while.
 */
export class VcpuState implements SlowGroups {
  generation = 0;
  readonly #fd: VcpuFd;
  readonly #page: RunPage;

  /** Entries for which segment and control registers, and events, still come by themselves. */
  #sregsFor = 0;
  #eventsFor = 0;
  /** Whether the page holds those of now. */
  #sregsFresh = false;
  #eventsFresh = false;
  /** Whether the next entry has more to see to than the general registers. */
  #more = true;

  constructor(fd: VcpuFd, page: RunPage) {
    this.#fd = fd;
    this.#page = page;
  }

  /** To be called before each KVM_RUN: what was read before is of an earlier moment. */
  entering(): void {
    this.generation++;
    if (this.#more) this.#enteringForMore();
  }

  #enteringForMore(): void {
    this.#sregsFresh = this.#sregsFor > 0 && this.#sregsFor-- > 0;
    this.#eventsFresh = this.#eventsFor > 0 && this.#eventsFor-- > 0;
    this.#more = this.#sregsFresh || this.#eventsFresh;
    this.#page.words32[VALID] = FLAG.SYNC_X86_REGS | (this.#sregsFresh ? FLAG.SYNC_X86_SREGS : 0) |
      (this.#eventsFresh ? FLAG.SYNC_X86_EVENTS : 0);
  }

  /** Makes sure that the page holds the segment and control registers of now. */
  needSregs(): void {
    this.#sregsFor = ENTRIES_SYNCED;
    this.#more = true;
    if (this.#sregsFresh) return;
    this.#fd.getSregs(this.#page.sregs);
    this.#sregsFresh = true;
  }

  /** Whether the page holds the segment and control registers of now. */
  get sregsFresh(): boolean {
    return this.#sregsFresh;
  }

  sregs(): Uint32Array {
    this.#open();
    this.needSregs();
    return this.#page.sregs32;
  }

  #open(): void {
    if (this.#fd.fd < 0) throw machineClosed();
  }

  debugRegisters(): readonly bigint[] {
    this.#open();
    const { db, dr6, dr7 } = kvm_debugregs.read(new DataView(this.#fd.getDebugRegs().buffer));
    return [...db, dr6, dr7];
  }

  xsaveArea(): Uint8Array {
    this.#open();
    return this.#fd.getXsave();
  }

  xcr0(): bigint {
    this.#open();
    return new DataView(this.#fd.getXcrs().buffer).getBigUint64(XCR_VALUE, true);
  }

  /** Reads the page's registers anew, after something other than an entry changed them. */
  reload(): void {
    this.generation++;
    this.flush();
    this.#fd.getRegs(this.#page.regs);
    this.#fd.getSregs(this.#page.sregs);
    this.#fd.getEvents(this.#page.events);
    this.#sregsFresh = this.#eventsFresh = this.#more = true;
  }

  /** Gives KVM the general registers now instead of at the next entry. */
  flush(): void {
    const { words64 } = this.#page;
    if ((words64[DIRTY] & REGS_DIRTY) === 0n) return;
    words64[DIRTY] = 0n;
    // Setting registers drops an exception that waits to be delivered: it is put back.
    const waiting = this.#exceptionWaiting() ? this.#page.events.slice() : undefined;
    this.#fd.setRegs(this.#page.regs);
    if (waiting !== undefined) this.#fd.setEvents(waiting);
  }

  /** Forgets general registers that KVM has not taken over. */
  discard(): void {
    this.#page.words64[DIRTY] = 0n;
  }

  #exceptionWaiting(): boolean {
    this.#eventsFor = ENTRIES_SYNCED;
    this.#more = true;
    if (!this.#eventsFresh) {
      this.#fd.getEvents(this.#page.events);
      this.#eventsFresh = true;
    }
    return this.#page.events[kvm_vcpu_events.offsets.exception] !== 0;
  }

  /**
   * Writes registers, group by group, with the fewest requests.
   *
   * @throws {HostError} If KVM refuses a group; those before it are written.
   */
  write(plan: WritePlan): void {
    this.generation++;
    const sregs = plan.get("sregs");
    if (sregs !== undefined) {
      this.needSregs();
      const changed = this.#page.sregs.slice();
      const view = new DataView(changed.buffer);
      for (const [name, value] of sregs) writeSregs(view, name, value);
      this.#fd.setSregs(changed);
      this.#fd.getSregs(this.#page.sregs);
    }
    const xcr0 = plan.get("xcr0");
    if (xcr0 !== undefined) {
      const xcrs = this.#fd.getXcrs();
      new DataView(xcrs.buffer).setBigUint64(XCR_VALUE, xcr0[0][1], true);
      this.#fd.setXcrs(xcrs);
    }
    const vectors = plan.get("xsave");
    if (vectors !== undefined) {
      const area = this.#fd.getXsave();
      for (const [name, value] of vectors) xsave.set(area, name as xsave.XsaveName, value);
      this.#fd.setXsave(area);
    }
    const debug = plan.get("debug");
    if (debug !== undefined) {
      const state = this.#fd.getDebugRegs();
      const view = new DataView(state.buffer);
      for (const [name, value] of debug) {
        const at = name === "dr6"
          ? DEBUG_OFFSET.dr6
          : name === "dr7"
          ? DEBUG_OFFSET.dr7
          : DEBUG_OFFSET.db + 8 * Number(name.slice(2));
        view.setBigUint64(at, value, true);
      }
      this.#fd.setDebugRegs(state);
    }
    const regs = plan.get("regs");
    if (regs !== undefined) {
      const { regs: words, words64 } = this.#page;
      for (const [name, value] of regs) {
        words[kvm_regs.offsets[name as keyof typeof kvm_regs.offsets] / 8] = name === "rflags"
          ? value | RFLAGS_ALWAYS
          : value;
      }
      words64[DIRTY] |= REGS_DIRTY;
      if (this.#exceptionWaiting()) this.flush();
    }
  }

  /**
   * Sets the whole XSAVE area.
   *
   * @throws {InputError} If it has another size than KVM's.
   * @throws {HostError} If KVM refuses it.
   */
  setXsave(area: Uint8Array): void {
    if (area.length !== kvm_xsave.size) {
      throw new InputError(`An XSAVE area has ${kvm_xsave.size} bytes here, not ${area.length}.`);
    }
    this.generation++;
    this.#fd.setXsave(new Uint8Array(area));
  }
}
