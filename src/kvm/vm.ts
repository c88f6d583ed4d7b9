import { addressOf } from "../host/address.ts";
import { HostError } from "../host/error.ts";
import type { OwnedFd } from "../host/fd.ts";
import {
  CAP,
  FLAG,
  KVM,
  kvm_enable_cap,
  kvm_ioeventfd,
  kvm_irq_level,
  kvm_irqchip,
  kvm_msi,
  kvm_msr_filter,
  kvm_pit_config,
  kvm_pit_state2,
  kvm_userspace_memory_region,
} from "./abi.ts";
import { initialise, letTick } from "./bios_chips.ts";
import { pcRouting } from "./routing.ts";
import { picAsks } from "./pic_request.ts";
import { filterRanges } from "./msr_filter.ts";
import type { ChipsAtStart } from "../vm/backend.ts";
import { UnsupportedError } from "../vm/errors.ts";
import type { Slot } from "./slots.ts";
import type { KvmSystem } from "./system.ts";

/**
 * Three pages for the TSS of real-mode guests on Intel hosts, and one for their identity page table: they must lie
 * below 4 GiB and hold no memory of the guest's own (api.rst, KVM_SET_TSS_ADDR). The same places as in QEMU.
 */
const IDENTITY_MAP_ADDRESS = 0xfffb_c000n;
const TSS_ADDRESS = 0xfffb_d000n;

/** Where a BIOS has the vectors of the 8259s begin. */
const PIC_BASES = [0x08, 0x70] as const;
/** The interrupt controllers whose state KVM can save. */
const CHIPS = [FLAG.IRQCHIP_PIC_MASTER, FLAG.IRQCHIP_PIC_SLAVE, FLAG.IRQCHIP_IOAPIC] as const;

const NO_TIMER = "Open the guest with `pit: false`: this host has no timer for it.";

/** What a virtual machine shall have beside memory and vCPUs. */
export interface VmOptions {
  /** 8259 pair, IOAPIC and LAPICs in the kernel. */
  readonly irqchip: boolean;
  /** 8254 in the kernel; needs `irqchip`. */
  readonly pit: boolean;
  /** What they are like at the start; as at power-on if left out. */
  readonly chips?: ChipsAtStart;
}

/** One virtual machine: the descriptor that KVM_CREATE_VM gives. */
export class KvmVm implements Disposable {
  readonly options: VmOptions;
  /** Whether an instruction that KVM can't emulate leaves with its bytes. */
  readonly emulationFailureBytes: boolean;
  readonly #file: OwnedFd;
  readonly #system: KvmSystem;
  readonly #slot = new Uint8Array(kvm_userspace_memory_region.size);
  readonly #slotView = new DataView(this.#slot.buffer);
  readonly #level = new Uint32Array(kvm_irq_level.size / 4);
  #msrExits = false;
  /** State of the interrupt controllers and of the timer at the start; of the timer once it is there. */
  #chips: readonly Uint8Array<ArrayBuffer>[] = [];
  /** The 8259 pair as it was last looked at. */
  readonly #pics = [FLAG.IRQCHIP_PIC_MASTER, FLAG.IRQCHIP_PIC_SLAVE].map((chip_id) =>
    kvm_irqchip.encode({ chip_id })
  );
  #wired = false;
  #timer: Uint8Array<ArrayBuffer> | undefined;

  /**
   * Makes the machine.
   *
   * @throws {HostError} If KVM refuses.
   */
  constructor(system: KvmSystem, options: VmOptions) {
    this.#system = system;
    this.options = options;
    using cleanup = new DisposableStack();
    this.#file = cleanup.use(system.createVm());
    if (system.capability(CAP.SET_IDENTITY_MAP_ADDR) > 0) {
      const address = new BigUint64Array([IDENTITY_MAP_ADDRESS]);
      this.#file.ioctlBuffer("KVM_SET_IDENTITY_MAP_ADDR", KVM.SET_IDENTITY_MAP_ADDR, address);
    }
    if (system.capability(CAP.SET_TSS_ADDR) > 0) {
      this.#file.ioctlU64("KVM_SET_TSS_ADDR", KVM.SET_TSS_ADDR, TSS_ADDRESS);
    }
    this.emulationFailureBytes = this.#tryEnable(CAP.EXIT_ON_EMULATION_FAILURE, 1n);
    cleanup.move();
  }

  /** The machine's descriptor, for a thread that sets interrupt lines by itself. */
  get fd(): number {
    return this.#file.fd;
  }

  /**
   * Makes the interrupt controllers, where the options ask for them: before any vCPU, and after the memory, for then
   * KVM need not wait until every reader of its tables is through (milliseconds).
   *
   * @throws {HostError} If KVM refuses.
   * @throws {UnsupportedError} If it has no timer and one is asked for.
   */
  createChips(): void {
    const { irqchip, pit } = this.options;
    if (irqchip) {
      this.#file.ioctl(
        "KVM_CREATE_IRQCHIP",
        KVM.CREATE_IRQCHIP,
        0,
        "Open the guest with `irqchip: false`: this host has no interrupt controllers for it.",
      );
      this.#chips = CHIPS.map((chip_id) => {
        const state = kvm_irqchip.encode({ chip_id });
        this.#file.ioctlBuffer("KVM_GET_IRQCHIP", KVM.GET_IRQCHIP, state);
        return state;
      });
      if (this.options.chips?.initialised) {
        const { masks, level } = this.options.chips.pic ?? {};
        for (const [i, chip] of this.#chips.slice(0, 2).entries()) {
          initialise(chip, PIC_BASES[i], masks?.[i], level?.[i]);
          this.#file.ioctlBuffer("KVM_SET_IRQCHIP", KVM.SET_IRQCHIP, chip);
        }
      }
    }
    if (pit && this.#system.capability(CAP.PIT2) === 0) {
      throw new UnsupportedError("pit", "this host's KVM has no KVM_CAP_PIT2", {
        remedy: NO_TIMER,
      });
    }
  }

  /**
   * Wires the interrupt controllers, and makes the timer, where the options ask for them: before the guest runs for
   * the first time. A timer that is there costs KVM more than ten milliseconds to take down (it waits for readers of
   * its tables, and so does new wiring), and a guest that is only looked at needs neither.
   *
   * @throws {HostError} If KVM refuses.
   */
  beforeFirstRun(): void {
    if (this.options.irqchip && !this.#wired) {
      this.#file.ioctlBuffer("KVM_SET_GSI_ROUTING", KVM.SET_GSI_ROUTING, pcRouting());
      this.#wired = true;
    }
    this.#createTimer();
  }

  #createTimer(): void {
    if (!this.options.pit || this.#timer !== undefined) return;
    // The dummy speaker answers port 0x61 in the kernel, as the timer's gate belongs there.
    const config = kvm_pit_config.encode({ flags: FLAG.PIT_SPEAKER_DUMMY });
    this.#file.ioctlBuffer("KVM_CREATE_PIT2", KVM.CREATE_PIT2, config, NO_TIMER);
    const state = new Uint8Array(kvm_pit_state2.size);
    this.#file.ioctlBuffer("KVM_GET_PIT2", KVM.GET_PIT2, state);
    if (this.options.chips?.ticking) {
      letTick(state);
      this.#file.ioctlBuffer("KVM_SET_PIT2", KVM.SET_PIT2, state);
    }
    this.#timer = state;
  }

  /** Switches a capability on where the host has it; true if it is on. */
  #tryEnable(cap: number, argument: bigint): boolean {
    if (this.#system.capability(cap) === 0) return false;
    this.#file.ioctlBuffer(
      "KVM_ENABLE_CAP",
      KVM.ENABLE_CAP,
      kvm_enable_cap.encode({ cap, args: [argument] }),
    );
    return true;
  }

  /**
   * Makes a vCPU.
   *
   * @returns Its descriptor, which the caller owns.
   * @throws {HostError} If KVM refuses.
   */
  createVcpu(index: number): number {
    return this.#file.ioctl("KVM_CREATE_VCPU", KVM.CREATE_VCPU, index, "Give the guest fewer vCPUs.");
  }

  /**
   * Makes, changes or (size 0) deletes a memory slot.
   *
   * @throws {HostError} If KVM refuses.
   */
  setSlot(number: number, slot: Slot): void {
    kvm_userspace_memory_region.write(this.#slotView, {
      slot: number,
      flags: slot.readOnly ? FLAG.MEM_READONLY : 0,
      guest_phys_addr: BigInt(slot.start),
      memory_size: BigInt(slot.size),
      userspace_addr: slot.hostAddress,
    });
    this.#file.ioctlBuffer(
      "KVM_SET_USER_MEMORY_REGION",
      KVM.SET_USER_MEMORY_REGION,
      this.#slot,
      "Check that the guest's memory and images do not overlap, and that there are not too many of them.",
    );
  }

  /**
   * Sets an input of the interrupt controllers.
   *
   * @throws {HostError} If there is no such input (EINVAL).
   */
  irqLine(gsi: number, level: boolean): void {
    this.#level[0] = gsi;
    this.#level[1] = level ? 1 : 0;
    this.#file.ioctlBuffer("KVM_IRQ_LINE", KVM.IRQ_LINE, this.#level);
  }

  /** Whether the 8259 pair in the kernel has an interrupt for the first vCPU. @throws {HostError} If KVM refuses. */
  interruptWaits(): boolean {
    const [master, slave] = this.#pics;
    for (const pic of [master, slave]) this.#file.ioctlBuffer("KVM_GET_IRQCHIP", KVM.GET_IRQCHIP, pic);
    return picAsks(master, slave);
  }

  /**
   * Lets writes of `length` bytes to `at` signal an eventfd instead of leaving the guest, or ends that.
   *
   * @param value Only writes of this number; any, if left out.
   * @throws {HostError} If KVM refuses: another one has the same place and number.
   */
  ioeventfd(
    fd: number,
    { at, length, value }: { readonly at: bigint; readonly length: number; readonly value?: number },
    on: boolean,
  ): void {
    const request = kvm_ioeventfd.encode({
      datamatch: BigInt(value ?? 0),
      addr: at,
      len: length,
      fd,
      flags: (value === undefined ? 0 : FLAG.IOEVENTFD_FLAG_DATAMATCH) |
        (on ? 0 : FLAG.IOEVENTFD_FLAG_DEASSIGN),
    });
    this.#file.ioctlBuffer("KVM_IOEVENTFD", KVM.IOEVENTFD, request);
  }

  /**
   * Sends a message-signalled interrupt to the LAPICs.
   *
   * @param address 0xfeexxxxx (SDM vol. 3A, 11.11.1). @param data Vector, delivery mode, trigger (11.11.2).
   * @returns False if no LAPIC takes it: there is none of that number, or it is switched off.
   */
  signalMsi(address: number, data: number): boolean {
    const message = kvm_msi.encode({ address_lo: address, data });
    try {
      return this.#file.ioctlBuffer("KVM_SIGNAL_MSI", KVM.SIGNAL_MSI, message) > 0;
    } catch (error) {
      // -1 for a message without a taker comes out as an errno.
      if (error instanceof HostError && error.name === "EPERM") return false;
      throw error;
    }
  }

  /**
   * Chooses the MSRs whose accesses leave the guest, for all vCPUs; the list replaces the one before.
   *
   * @returns False if this host can't do it.
   * @throws {InputError} If they are too scattered for KVM's filter.
   */
  filterMsrs(indices: readonly number[]): boolean {
    if (!this.#msrExits) {
      if (indices.length === 0) return true;
      if (this.#system.capability(CAP.X86_MSR_FILTER) === 0) return false;
      if (!this.#tryEnable(CAP.X86_USER_SPACE_MSR, BigInt(FLAG.MSR_EXIT_REASON_FILTER))) return false;
      this.#msrExits = true;
    }
    const ranges = filterRanges(indices);
    const filter = kvm_msr_filter.encode({
      flags: FLAG.MSR_FILTER_DEFAULT_ALLOW,
      ranges: ranges.map(({ base, count, bitmap }) => ({
        flags: FLAG.MSR_FILTER_READ | FLAG.MSR_FILTER_WRITE,
        nmsrs: count,
        base,
        bitmap: addressOf(bitmap),
      })),
    });
    this.#file.ioctlBuffer("KVM_X86_SET_MSR_FILTER", KVM.X86_SET_MSR_FILTER, filter);
    // The bitmaps are read through their addresses during the call: this use keeps them alive until after it.
    return ranges.every(({ bitmap }) => bitmap.length > 0);
  }

  /**
   * Puts the interrupt controllers and the timer back into the state of the start.
   *
   * @throws {HostError} If KVM refuses.
   */
  resetChips(): void {
    for (const chip of this.#chips) this.#file.ioctlBuffer("KVM_SET_IRQCHIP", KVM.SET_IRQCHIP, chip);
    if (this.#timer !== undefined) this.#file.ioctlBuffer("KVM_SET_PIT2", KVM.SET_PIT2, this.#timer);
  }

  /** Closes the descriptor; KVM frees the machine once its vCPUs are closed too. Doing it twice is harmless. */
  [Symbol.dispose](): void {
    this.#file.close();
  }
}
