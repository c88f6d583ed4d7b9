/**
 * The one table of KVM's binary interface on x86-64: structures, requests, capabilities, exit reasons and flags,
 * under their names in linux/kvm.h and asm/kvm.h. tests/abi_test.ts compares all of it with the headers.
 * What each means: Documentation/virt/kvm/api.rst of the Linux kernel.
 */

import { ioctls } from "../abi/ioctl.ts";
import { array, bytes, s32, struct, u16, u32, u64, u8, union } from "../abi/layout.ts";

/** `struct kvm_userspace_memory_region`: one memory slot. */
export const kvm_userspace_memory_region = struct({
  slot: u32,
  flags: u32,
  guest_phys_addr: u64,
  memory_size: u64,
  userspace_addr: u64,
});

/** `struct kvm_regs`: the general registers, in KVM's order. */
// deno-fmt-ignore: rows of four as in the header
export const kvm_regs = struct({
  rax: u64, rbx: u64, rcx: u64, rdx: u64,
  rsi: u64, rdi: u64, rsp: u64, rbp: u64,
  r8: u64, r9: u64, r10: u64, r11: u64,
  r12: u64, r13: u64, r14: u64, r15: u64,
  rip: u64, rflags: u64,
});

/** `struct kvm_segment`: a selector and its cached descriptor; `limit` is in bytes. */
export const kvm_segment = struct({
  base: u64,
  limit: u32,
  selector: u16,
  type: u8,
  present: u8,
  dpl: u8,
  db: u8,
  s: u8,
  l: u8,
  g: u8,
  avl: u8,
  unusable: u8,
  padding: u8,
});

/** `struct kvm_dtable`: GDTR or IDTR. */
export const kvm_dtable = struct({ base: u64, limit: u16, padding: array(u16, 3) });

/** `struct kvm_sregs`: segment and control registers. */
export const kvm_sregs = struct({
  cs: kvm_segment,
  ds: kvm_segment,
  es: kvm_segment,
  fs: kvm_segment,
  gs: kvm_segment,
  ss: kvm_segment,
  tr: kvm_segment,
  ldt: kvm_segment,
  gdt: kvm_dtable,
  idt: kvm_dtable,
  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  cr8: u64,
  efer: u64,
  apic_base: u64,
  interrupt_bitmap: array(u64, 4),
});

/** `struct kvm_vcpu_events`: what is pending or injected, and what shadows it. */
export const kvm_vcpu_events = struct({
  exception: struct({ injected: u8, nr: u8, has_error_code: u8, pending: u8, error_code: u32 }),
  interrupt: struct({ injected: u8, nr: u8, soft: u8, shadow: u8 }),
  nmi: struct({ injected: u8, pending: u8, masked: u8, pad: u8 }),
  sipi_vector: u32,
  flags: u32,
  smi: struct({ smm: u8, pending: u8, smm_inside_nmi: u8, latched_init: u8 }),
  triple_fault: struct({ pending: u8 }),
  reserved: bytes(26),
  exception_has_payload: u8,
  exception_payload: u64,
});

/** `struct kvm_debugregs`. */
export const kvm_debugregs = struct({
  db: array(u64, 4),
  dr6: u64,
  dr7: u64,
  flags: u64,
  reserved: array(u64, 9),
});

/** `struct kvm_guest_debug` with x86's part: the debugger's own DR0..DR7. */
export const kvm_guest_debug = struct({
  control: u32,
  pad: u32,
  arch: struct({ debugreg: array(u64, 8) }),
});

/** `struct kvm_debug_exit_arch`. */
export const kvm_debug_exit_arch = struct({ exception: u32, pad: u32, pc: u64, dr6: u64, dr7: u64 });

/** `struct kvm_sync_regs`: what KVM_CAP_SYNC_REGS keeps in the shared page. */
export const kvm_sync_regs = struct({ regs: kvm_regs, sregs: kvm_sregs, events: kvm_vcpu_events });

/** KVM_EXIT_IO's part of `struct kvm_run`. */
export const exit_io = struct({ direction: u8, size: u8, port: u16, count: u32, data_offset: u64 });
/** KVM_EXIT_MMIO's part. */
export const exit_mmio = struct({ phys_addr: u64, data: bytes(8), len: u32, is_write: u8 });
/** KVM_EXIT_FAIL_ENTRY's part. */
export const exit_fail_entry = struct({ hardware_entry_failure_reason: u64, cpu: u32 });
/** KVM_EXIT_UNKNOWN's part. */
export const exit_hw = struct({ hardware_exit_reason: u64 });
/** KVM_EXIT_INTERNAL_ERROR's part. */
export const exit_internal = struct({ suberror: u32, ndata: u32, data: array(u64, 16) });
/** KVM_EXIT_INTERNAL_ERROR's part where the suberror is KVM_INTERNAL_ERROR_EMULATION. */
export const exit_emulation_failure = struct({
  suberror: u32,
  ndata: u32,
  flags: u64,
  insn_size: u8,
  insn_bytes: bytes(15),
});
/** KVM_EXIT_SYSTEM_EVENT's part. */
export const exit_system_event = struct({ type: u32, ndata: u32, data: array(u64, 16) });
/** The part of KVM_EXIT_X86_RDMSR and KVM_EXIT_X86_WRMSR. */
export const exit_msr = struct({ error: u8, pad: bytes(7), reason: u32, index: u32, data: u64 });
/** KVM_EXIT_DEBUG's part. */
export const exit_debug = struct({ arch: kvm_debug_exit_arch });

/** `struct kvm_run`: the page that a vCPU and its owner share. */
export const kvm_run = struct({
  request_interrupt_window: u8,
  immediate_exit: u8,
  padding1: bytes(6),
  exit_reason: u32,
  ready_for_interrupt_injection: u8,
  if_flag: u8,
  flags: u16,
  cr8: u64,
  apic_base: u64,
  exit: union({
    hw: exit_hw,
    fail_entry: exit_fail_entry,
    io: exit_io,
    debug: exit_debug,
    mmio: exit_mmio,
    internal: exit_internal,
    emulation_failure: exit_emulation_failure,
    system_event: exit_system_event,
    msr: exit_msr,
    padding: array(u64, 32),
  }, { anonymous: true }),
  kvm_valid_regs: u64,
  kvm_dirty_regs: u64,
  s: union({ regs: kvm_sync_regs, padding: bytes(2048) }),
});

/** `struct kvm_cpuid_entry2`: one CPUID leaf. */
export const kvm_cpuid_entry2 = struct({
  function: u32,
  index: u32,
  flags: u32,
  eax: u32,
  ebx: u32,
  ecx: u32,
  edx: u32,
  padding: array(u32, 3),
});

/** `struct kvm_cpuid2` without its entries. */
export const kvm_cpuid2 = struct({ nent: u32, padding: u32 });

/** `struct kvm_msr_entry`. */
export const kvm_msr_entry = struct({ index: u32, reserved: u32, data: u64 });

/** `struct kvm_msrs` without its entries. */
export const kvm_msrs = struct({ nmsrs: u32, pad: u32 });

/** `struct kvm_msr_list` without its indices. */
export const kvm_msr_list = struct({ nmsrs: u32 });

/** `struct kvm_msr_filter_range`; `bitmap` is a pointer. */
export const kvm_msr_filter_range = struct({ flags: u32, nmsrs: u32, base: u32, bitmap: u64 });

/** `struct kvm_msr_filter`. */
export const kvm_msr_filter = struct({ flags: u32, ranges: array(kvm_msr_filter_range, 16) });

/** `struct kvm_signal_mask` without its set. */
export const kvm_signal_mask = struct({ len: u32 });

/** `struct kvm_lapic_state`: the LAPIC's register page. */
export const kvm_lapic_state = struct({ regs: bytes(0x400) });

/** `struct kvm_mp_state`. */
export const kvm_mp_state = struct({ mp_state: u32 });

/** `struct kvm_xsave`: the XSAVE area in standard format. */
export const kvm_xsave = struct({ region: array(u32, 1024) });

/** `struct kvm_xcr`. */
export const kvm_xcr = struct({ xcr: u32, reserved: u32, value: u64 });

/** `struct kvm_xcrs`. */
export const kvm_xcrs = struct({
  nr_xcrs: u32,
  flags: u32,
  xcrs: array(kvm_xcr, 16),
  padding: array(u64, 16),
});

/** `struct kvm_irq_level`. */
export const kvm_irq_level = struct({ irq: u32, level: u32 });

/** `struct kvm_irq_routing_irqchip`. */
export const kvm_irq_routing_irqchip = struct({ irqchip: u32, pin: u32 });

/** `struct kvm_irq_routing_entry`. */
export const kvm_irq_routing_entry = struct({
  gsi: u32,
  type: u32,
  flags: u32,
  pad: u32,
  u: union({ irqchip: kvm_irq_routing_irqchip, pad: array(u32, 8) }),
});

/** `struct kvm_irq_routing` without its entries. */
export const kvm_irq_routing = struct({ nr: u32, flags: u32 });

/** `struct kvm_interrupt`. */
export const kvm_interrupt = struct({ irq: u32 });

/** `struct kvm_pic_state`: one 8259. */
export const kvm_pic_state = struct({
  last_irr: u8,
  irr: u8,
  imr: u8,
  isr: u8,
  priority_add: u8,
  irq_base: u8,
  read_reg_select: u8,
  poll: u8,
  special_mask: u8,
  init_state: u8,
  auto_eoi: u8,
  rotate_on_auto_eoi: u8,
  special_fully_nested_mode: u8,
  init4: u8,
  elcr: u8,
  elcr_mask: u8,
});

/** `struct kvm_irqchip`: the state of one of the three interrupt controllers. */
export const kvm_irqchip = struct({
  chip_id: u32,
  pad: u32,
  chip: union({ dummy: bytes(512), words: array(u64, 64), pic: kvm_pic_state }),
});

/** `struct kvm_pit_config`. */
export const kvm_pit_config = struct({ flags: u32, pad: array(u32, 15) });

/** `struct kvm_pit_channel_state`. */
export const kvm_pit_channel_state = struct({
  count: u32,
  latched_count: u16,
  count_latched: u8,
  status_latched: u8,
  status: u8,
  read_state: u8,
  write_state: u8,
  write_latch: u8,
  rw_mode: u8,
  mode: u8,
  bcd: u8,
  gate: u8,
  count_load_time: u64,
});

/** `struct kvm_pit_state2`. */
export const kvm_pit_state2 = struct({
  channels: array(kvm_pit_channel_state, 3),
  flags: u32,
  reserved: array(u32, 9),
});

/** `struct kvm_enable_cap`. */
export const kvm_enable_cap = struct({ cap: u32, flags: u32, args: array(u64, 4), pad: bytes(64) });

/** `struct kvm_ioeventfd`. */
export const kvm_ioeventfd = struct({
  datamatch: u64,
  addr: u64,
  len: u32,
  fd: s32,
  flags: u32,
  pad: bytes(36),
});

/** `struct kvm_msi`. */
export const kvm_msi = struct({
  address_lo: u32,
  address_hi: u32,
  data: u32,
  flags: u32,
  devid: u32,
  pad: bytes(12),
});

/** Every structure, under the name that C has for it. */
export const STRUCTURES = {
  kvm_userspace_memory_region,
  kvm_regs,
  kvm_segment,
  kvm_dtable,
  kvm_sregs,
  kvm_vcpu_events,
  kvm_debugregs,
  kvm_guest_debug,
  kvm_debug_exit_arch,
  kvm_sync_regs,
  kvm_run,
  kvm_cpuid_entry2,
  kvm_cpuid2,
  kvm_msr_entry,
  kvm_msrs,
  kvm_msr_list,
  kvm_msr_filter_range,
  kvm_msr_filter,
  kvm_signal_mask,
  kvm_lapic_state,
  kvm_mp_state,
  kvm_xsave,
  kvm_xcr,
  kvm_xcrs,
  kvm_irq_level,
  kvm_irq_routing_irqchip,
  kvm_irq_routing_entry,
  kvm_irq_routing,
  kvm_interrupt,
  kvm_pic_state,
  kvm_irqchip,
  kvm_pit_config,
  kvm_pit_channel_state,
  kvm_pit_state2,
  kvm_enable_cap,
  kvm_ioeventfd,
  kvm_msi,
} as const;

const { IO, IOR, IOW, IOWR } = ioctls(0xae);

/** Request numbers. */
export const KVM = {
  GET_API_VERSION: IO(0x00),
  CREATE_VM: IO(0x01),
  GET_MSR_INDEX_LIST: IOWR(0x02, kvm_msr_list),
  CHECK_EXTENSION: IO(0x03),
  GET_VCPU_MMAP_SIZE: IO(0x04),
  GET_SUPPORTED_CPUID: IOWR(0x05, kvm_cpuid2),
  CREATE_VCPU: IO(0x41),
  SET_USER_MEMORY_REGION: IOW(0x46, kvm_userspace_memory_region),
  SET_TSS_ADDR: IO(0x47),
  SET_IDENTITY_MAP_ADDR: IOW(0x48, u64),
  CREATE_IRQCHIP: IO(0x60),
  IRQ_LINE: IOW(0x61, kvm_irq_level),
  GET_IRQCHIP: IOWR(0x62, kvm_irqchip),
  SET_IRQCHIP: IOR(0x63, kvm_irqchip),
  SET_GSI_ROUTING: IOW(0x6a, kvm_irq_routing),
  CREATE_PIT2: IOW(0x77, kvm_pit_config),
  GET_PIT2: IOR(0x9f, kvm_pit_state2),
  SET_PIT2: IOW(0xa0, kvm_pit_state2),
  IOEVENTFD: IOW(0x79, kvm_ioeventfd),
  SIGNAL_MSI: IOW(0xa5, kvm_msi),
  RUN: IO(0x80),
  GET_REGS: IOR(0x81, kvm_regs),
  SET_REGS: IOW(0x82, kvm_regs),
  GET_SREGS: IOR(0x83, kvm_sregs),
  SET_SREGS: IOW(0x84, kvm_sregs),
  INTERRUPT: IOW(0x86, kvm_interrupt),
  GET_MSRS: IOWR(0x88, kvm_msrs),
  SET_MSRS: IOW(0x89, kvm_msrs),
  SET_SIGNAL_MASK: IOW(0x8b, kvm_signal_mask),
  GET_LAPIC: IOR(0x8e, kvm_lapic_state),
  SET_LAPIC: IOW(0x8f, kvm_lapic_state),
  SET_CPUID2: IOW(0x90, kvm_cpuid2),
  GET_MP_STATE: IOR(0x98, kvm_mp_state),
  SET_MP_STATE: IOW(0x99, kvm_mp_state),
  NMI: IO(0x9a),
  SET_GUEST_DEBUG: IOW(0x9b, kvm_guest_debug),
  GET_VCPU_EVENTS: IOR(0x9f, kvm_vcpu_events),
  SET_VCPU_EVENTS: IOW(0xa0, kvm_vcpu_events),
  GET_DEBUGREGS: IOR(0xa1, kvm_debugregs),
  SET_DEBUGREGS: IOW(0xa2, kvm_debugregs),
  ENABLE_CAP: IOW(0xa3, kvm_enable_cap),
  GET_XSAVE: IOR(0xa4, kvm_xsave),
  SET_XSAVE: IOW(0xa5, kvm_xsave),
  GET_XCRS: IOR(0xa6, kvm_xcrs),
  SET_XCRS: IOW(0xa7, kvm_xcrs),
  X86_SET_MSR_FILTER: IOW(0xc6, kvm_msr_filter),
} as const;

/** The version of the interface that hvsh speaks: the only one there has been since Linux 2.6.22. */
export const KVM_API_VERSION = 12;

/** Numbers of capabilities, for KVM_CHECK_EXTENSION and KVM_ENABLE_CAP. */
export const CAP = {
  IRQCHIP: 0,
  USER_MEMORY: 3,
  SET_TSS_ADDR: 4,
  EXT_CPUID: 7,
  NR_MEMSLOTS: 10,
  MP_STATE: 14,
  USER_NMI: 22,
  SET_GUEST_DEBUG: 23,
  PIT2: 33,
  PIT_STATE2: 35,
  IOEVENTFD: 36,
  SET_IDENTITY_MAP_ADDR: 37,
  VCPU_EVENTS: 41,
  DEBUGREGS: 50,
  XSAVE: 55,
  XCRS: 56,
  MAX_VCPUS: 66,
  SYNC_REGS: 74,
  SIGNAL_MSI: 77,
  READONLY_MEM: 81,
  IMMEDIATE_EXIT: 136,
  X86_USER_SPACE_MSR: 188,
  X86_MSR_FILTER: 189,
  SET_GUEST_DEBUG2: 195,
  EXIT_ON_EMULATION_FAILURE: 204,
} as const;

/** Values of `kvm_run.exit_reason`. */
export const EXIT = {
  UNKNOWN: 0,
  EXCEPTION: 1,
  IO: 2,
  HYPERCALL: 3,
  DEBUG: 4,
  HLT: 5,
  MMIO: 6,
  IRQ_WINDOW_OPEN: 7,
  SHUTDOWN: 8,
  FAIL_ENTRY: 9,
  INTR: 10,
  SET_TPR: 11,
  TPR_ACCESS: 12,
  NMI: 16,
  INTERNAL_ERROR: 17,
  WATCHDOG: 21,
  SYSTEM_EVENT: 24,
  IOAPIC_EOI: 26,
  HYPERV: 27,
  X86_RDMSR: 29,
  X86_WRMSR: 30,
  DIRTY_RING_FULL: 31,
  AP_RESET_HOLD: 32,
  X86_BUS_LOCK: 33,
  XEN: 34,
  NOTIFY: 37,
} as const;

/** Flags and small numbers, under the header's names without their `KVM_`. */
export const FLAG = {
  MEM_LOG_DIRTY_PAGES: 1,
  MEM_READONLY: 2,
  GUESTDBG_ENABLE: 1,
  GUESTDBG_SINGLESTEP: 2,
  GUESTDBG_USE_SW_BP: 0x10000,
  GUESTDBG_USE_HW_BP: 0x20000,
  GUESTDBG_BLOCKIRQ: 0x100000,
  SYNC_X86_REGS: 1,
  SYNC_X86_SREGS: 2,
  SYNC_X86_EVENTS: 4,
  EXIT_IO_IN: 0,
  EXIT_IO_OUT: 1,
  MSR_EXIT_REASON_INVAL: 1,
  MSR_EXIT_REASON_UNKNOWN: 2,
  MSR_EXIT_REASON_FILTER: 4,
  MSR_FILTER_READ: 1,
  MSR_FILTER_WRITE: 2,
  MSR_FILTER_DEFAULT_ALLOW: 0,
  MSR_FILTER_MAX_RANGES: 16,
  MSR_FILTER_MAX_BITMAP_SIZE: 0x600,
  VCPUEVENT_VALID_NMI_PENDING: 1,
  VCPUEVENT_VALID_SIPI_VECTOR: 2,
  VCPUEVENT_VALID_SHADOW: 4,
  VCPUEVENT_VALID_SMM: 8,
  MP_STATE_RUNNABLE: 0,
  MP_STATE_UNINITIALIZED: 1,
  MP_STATE_INIT_RECEIVED: 2,
  MP_STATE_HALTED: 3,
  MP_STATE_SIPI_RECEIVED: 4,
  INTERNAL_ERROR_EMULATION: 1,
  INTERNAL_ERROR_SIMUL_EX: 2,
  INTERNAL_ERROR_DELIVERY_EV: 3,
  INTERNAL_ERROR_UNEXPECTED_EXIT_REASON: 4,
  INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES: 1,
  SYSTEM_EVENT_SHUTDOWN: 1,
  SYSTEM_EVENT_RESET: 2,
  SYSTEM_EVENT_CRASH: 3,
  IOEVENTFD_FLAG_DATAMATCH: 1,
  IOEVENTFD_FLAG_DEASSIGN: 4,
  PIT_SPEAKER_DUMMY: 1,
  IRQ_ROUTING_IRQCHIP: 1,
  IRQCHIP_PIC_MASTER: 0,
  IRQCHIP_PIC_SLAVE: 1,
  IRQCHIP_IOAPIC: 2,
  CPUID_FLAG_SIGNIFCANT_INDEX: 1,
} as const;
