import { ERRNO } from "../abi/errno.ts";
import { HostError } from "../host/error.ts";
import { OwnedFd } from "../host/fd.ts";
import { check, errno, libc } from "../host/libc.ts";
import { UnsupportedError } from "../vm/errors.ts";
import { CAP, FLAG, KVM, KVM_API_VERSION, kvm_cpuid2, kvm_cpuid_entry2, kvm_msr_list } from "./abi.ts";
import type { ValueOf } from "../abi/layout.ts";

/** Where Linux has KVM's device. */
export const KVM_DEVICE = "/dev/kvm";

/** One CPUID leaf as KVM tells it. */
export type CpuidEntry = ValueOf<typeof kvm_cpuid_entry2>;

/** Whether a host's KVM can be used, and what stands in the way. */
export type KvmVerdict =
  | { readonly usable: true; readonly detail: string }
  | { readonly usable: false; readonly reason: string; readonly remedy: string; readonly cause?: unknown };

/** What to do about each errno that opening the device can give. */
export function openRefused(path: string, error: HostError): KvmVerdict {
  const no = (reason: string, remedy: string): KvmVerdict => ({
    usable: false,
    reason,
    remedy,
    cause: error,
  });
  switch (error.errno) {
    case ERRNO.ENOENT:
      return no(
        `there is no ${path}`,
        "Load kvm_intel or kvm_amd (modprobe), and switch virtualization on in the firmware or in the outer hypervisor.",
      );
    case ERRNO.EACCES:
    case ERRNO.EPERM:
      return no(
        `this user may not open ${path}`,
        "Join the group that owns it (`sudo usermod -aG kvm $USER`, then log in again).",
      );
    case ERRNO.ENODEV:
    case ERRNO.ENXIO:
      return no(
        `no driver answers behind ${path}`,
        "Load kvm_intel or kvm_amd (modprobe), and switch virtualization on in the firmware or in the outer hypervisor.",
      );
    case ERRNO.EISDIR:
      return no(
        `${path} is a directory, not KVM's device`,
        "Give the path of KVM's device, normally /dev/kvm.",
      );
    default:
      return no(error.message, error.remedy ?? `Look at ${path} and at the kernel's log (dmesg).`);
  }
}

/** KVM as a whole: the descriptor of /dev/kvm. */
export class KvmSystem implements Disposable {
  readonly #file: OwnedFd;
  /** Bytes of the page group that a vCPU shares with its owner. */
  readonly vcpuMapSize: number;

  private constructor(file: OwnedFd) {
    this.#file = file;
    this.vcpuMapSize = file.ioctl("KVM_GET_VCPU_MMAP_SIZE", KVM.GET_VCPU_MMAP_SIZE);
  }

  /**
   * Opens KVM's device and makes sure that it speaks the interface hvsh knows.
   *
   * @throws {UnsupportedError} If there is none, or an unsuitable one; carries reason and remedy.
   */
  static open(path: string = KVM_DEVICE): KvmSystem {
    const system = KvmSystem.#open(path);
    if (system instanceof KvmSystem) return system;
    throw new UnsupportedError("kvm", system.usable ? "" : system.reason, system.usable ? {} : system);
  }

  /** Looks whether KVM can be used, without keeping anything open. */
  static examine(path: string = KVM_DEVICE): KvmVerdict {
    const system = KvmSystem.#open(path);
    if (!(system instanceof KvmSystem)) return system;
    using _system = system;
    return { usable: true, detail: `${path}, KVM API version ${KVM_API_VERSION}` };
  }

  static #open(path: string): KvmSystem | KvmVerdict {
    let file: OwnedFd;
    try {
      file = OwnedFd.open(path);
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      return openRefused(path, error);
    }
    const unsuitable = judge(path, file);
    if (unsuitable === undefined) return new KvmSystem(file);
    file.close();
    return unsuitable;
  }

  /** What KVM_CHECK_EXTENSION says of a capability: 0 means no, other numbers mean yes or how much. */
  capability(number: number): number {
    return Math.max(0, this.#file.tryIoctl(KVM.CHECK_EXTENSION, number));
  }

  /**
   * Makes an empty virtual machine.
   *
   * @throws {HostError} If KVM refuses.
   */
  createVm(): OwnedFd {
    return new OwnedFd(uninterrupted(() => this.#file.ioctl("KVM_CREATE_VM", KVM.CREATE_VM, 0)));
  }

  /**
   * The CPUID leaves that KVM can give a guest here.
   *
   * @throws {HostError} If KVM refuses.
   */
  supportedCpuid(): CpuidEntry[] {
    for (let room = 128;; room *= 2) {
      const buffer = new Uint8Array(kvm_cpuid2.size + room * kvm_cpuid_entry2.size);
      const view = new DataView(buffer.buffer);
      kvm_cpuid2.write(view, { nent: room });
      const result = libc().ioctlBuffer(this.#file.fd, KVM.GET_SUPPORTED_CPUID, buffer);
      // E2BIG: there are more leaves than room. The bound keeps a broken host from taking all memory.
      if (result < 0 && errno() === ERRNO.E2BIG && room < 65536) continue;
      check("ioctl KVM_GET_SUPPORTED_CPUID", result);
      const { nent } = kvm_cpuid2.read(view);
      return Array.from(
        { length: nent },
        (_, i) => kvm_cpuid_entry2.read(view, kvm_cpuid2.size + i * kvm_cpuid_entry2.size),
      );
    }
  }

  /**
   * Numbers of the model-specific registers that KVM can read, write and save here.
   *
   * @throws {HostError} If KVM refuses.
   */
  msrIndices(): number[] {
    for (let room = 256;; room *= 2) {
      const buffer = new Uint32Array(kvm_msr_list.size / 4 + room);
      buffer[0] = room;
      const result = libc().ioctlBuffer(this.#file.fd, KVM.GET_MSR_INDEX_LIST, buffer);
      if (result < 0 && errno() === ERRNO.E2BIG && room < 65536) continue;
      check("ioctl KVM_GET_MSR_INDEX_LIST", result);
      return Array.from(buffer.subarray(1, 1 + buffer[0]));
    }
  }

  /** Closes the device; doing it twice is harmless. */
  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** Capabilities without which hvsh does not work, and the Linux version that brought each to x86. */
const NEEDED: readonly { cap: number; name: string; since: string; bits: number }[] = [
  { cap: CAP.USER_MEMORY, name: "KVM_CAP_USER_MEMORY", since: "2.6.25", bits: 0 },
  { cap: CAP.IMMEDIATE_EXIT, name: "KVM_CAP_IMMEDIATE_EXIT", since: "4.12", bits: 0 },
  {
    cap: CAP.SYNC_REGS,
    name: "KVM_CAP_SYNC_REGS",
    since: "4.17",
    bits: FLAG.SYNC_X86_REGS | FLAG.SYNC_X86_SREGS | FLAG.SYNC_X86_EVENTS,
  },
];

/** Says why an open file is not a KVM that hvsh can use; undefined if it is. */
function judge(path: string, file: OwnedFd): KvmVerdict | undefined {
  const version = file.tryIoctl(KVM.GET_API_VERSION);
  if (version < 0) {
    return {
      usable: false,
      reason: `${path} is not KVM's device`,
      remedy: "Give the path of KVM's device, normally /dev/kvm.",
      cause: new HostError("ioctl KVM_GET_API_VERSION", errno()),
    };
  }
  return judgeAnswers(version, (cap) => file.tryIoctl(KVM.CHECK_EXTENSION, cap));
}

/** Judges what a KVM says of itself: its version, and what `check` answers for each capability. */
export function judgeAnswers(version: number, check: (cap: number) => number): KvmVerdict | undefined {
  if (version !== KVM_API_VERSION) {
    return {
      usable: false,
      reason: `KVM speaks API version ${version}, hvsh speaks ${KVM_API_VERSION}`,
      remedy: "Use Linux 4.17 or newer, or an hvsh made for this kernel.",
    };
  }
  for (const { cap, name, since, bits } of NEEDED) {
    const answer = check(cap);
    if (answer <= 0 || (answer & bits) !== bits) {
      return {
        usable: false,
        reason: `this KVM lacks ${name}`,
        remedy: `Use Linux ${since} or newer.`,
      };
    }
  }
  return undefined;
}

/** How often a call is made again that signals interrupt: a profiler sends a thousand a second. */
const INTERRUPTIONS = 100;

/**
 * Makes a call again when a signal came in between. KVM_CREATE_VM gives up then, while it waits for the locks of the
 * process's memory map (Linux, mm/mmu_notifier.c, mm_take_all_locks).
 */
export function uninterrupted<T>(call: () => T): T {
  for (let left = INTERRUPTIONS;; left--) {
    try {
      return call();
    } catch (error) {
      if (left === 0 || !(error instanceof HostError) || error.errno !== ERRNO.EINTR) throw error;
    }
  }
}
