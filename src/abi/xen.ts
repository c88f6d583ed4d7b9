/**
 * The one table of Xen's binary interface on x86-64: the structures that its libraries write into our buffers, and
 * the constants of its headers, under their names there. tests/abi_test.ts compares all of it with libxen-dev's headers
 * (4.17); src/host/xen takes its buffer sizes from here and from nowhere else.
 */

import { array, bytes, struct, u16, u32, u64, u8 } from "./layout.ts";

/** `struct xen_domctl_getdomaininfo` (xen/domctl.h): one domain, as `xc_domain_getinfolist` lists it. */
export const xen_domctl_getdomaininfo = struct({
  domain: u16,
  pad1: u16,
  flags: u32,
  tot_pages: u64,
  max_pages: u64,
  outstanding_pages: u64,
  shr_pages: u64,
  paged_pages: u64,
  shared_info_frame: u64,
  cpu_time: u64,
  nr_online_vcpus: u32,
  max_vcpu_id: u32,
  ssidref: u32,
  handle: bytes(16),
  cpupool: u32,
  gpaddr_bits: u8,
  pad2: bytes(7),
  arch_config: bytes(8),
});

/** `struct cpu_user_regs` (xen/arch-x86/xen-x86_64.h). */
// deno-fmt-ignore: rows as in the header
export const cpu_user_regs = struct({
  r15: u64, r14: u64, r13: u64, r12: u64, rbp: u64, rbx: u64,
  r11: u64, r10: u64, r9: u64, r8: u64, rax: u64, rcx: u64, rdx: u64, rsi: u64, rdi: u64,
  error_code: u32, entry_vector: u32,
  rip: u64,
  cs: u16, _pad0: array(u16, 1), saved_upcall_mask: u8, _pad1: bytes(3),
  rflags: u64,
  rsp: u64,
  ss: u16, _pad2: array(u16, 3),
  es: u16, _pad3: array(u16, 3),
  ds: u16, _pad4: array(u16, 3),
  fs: u16, _pad5: array(u16, 3),
  gs: u16, _pad6: array(u16, 3),
});

/** `struct trap_info`: one vector of a PV guest's virtual IDT. `flags`: DPL in bits 0 and 1, 4 masks events. */
export const trap_info = struct({ vector: u8, flags: u8, cs: u16, address: u64 });

/** `struct vcpu_guest_context` (xen/arch-x86/xen.h): all of a PV vCPU, and of an HVM one what its header says. */
export const vcpu_guest_context = struct({
  fpu_ctxt: bytes(512),
  flags: u64,
  user_regs: cpu_user_regs,
  trap_ctxt: array(trap_info, 256),
  ldt_base: u64,
  ldt_ents: u64,
  gdt_frames: array(u64, 16),
  gdt_ents: u64,
  kernel_ss: u64,
  kernel_sp: u64,
  ctrlreg: array(u64, 8),
  debugreg: array(u64, 8),
  event_callback_eip: u64,
  failsafe_callback_eip: u64,
  syscall_callback_eip: u64,
  vm_assist: u64,
  fs_base: u64,
  gs_base_kernel: u64,
  gs_base_user: u64,
});

/** `struct hvm_hw_cpu` (xen/arch-x86/hvm/save.h): a vCPU of an HVM or PVH guest, save record CPU. */
// deno-fmt-ignore: rows as in the header
export const hvm_hw_cpu = struct({
  fpu_regs: bytes(512),
  rax: u64, rbx: u64, rcx: u64, rdx: u64, rbp: u64, rsi: u64, rdi: u64, rsp: u64,
  r8: u64, r9: u64, r10: u64, r11: u64, r12: u64, r13: u64, r14: u64, r15: u64,
  rip: u64, rflags: u64,
  cr0: u64, cr2: u64, cr3: u64, cr4: u64,
  dr0: u64, dr1: u64, dr2: u64, dr3: u64, dr6: u64, dr7: u64,
  cs_sel: u32, ds_sel: u32, es_sel: u32, fs_sel: u32, gs_sel: u32, ss_sel: u32, tr_sel: u32, ldtr_sel: u32,
  cs_limit: u32, ds_limit: u32, es_limit: u32, fs_limit: u32, gs_limit: u32, ss_limit: u32, tr_limit: u32,
  ldtr_limit: u32, idtr_limit: u32, gdtr_limit: u32,
  cs_base: u64, ds_base: u64, es_base: u64, fs_base: u64, gs_base: u64, ss_base: u64, tr_base: u64,
  ldtr_base: u64, idtr_base: u64, gdtr_base: u64,
  cs_arbytes: u32, ds_arbytes: u32, es_arbytes: u32, fs_arbytes: u32, gs_arbytes: u32, ss_arbytes: u32,
  tr_arbytes: u32, ldtr_arbytes: u32,
  sysenter_cs: u64, sysenter_esp: u64, sysenter_eip: u64,
  shadow_gs: u64,
  msr_flags: u64, msr_lstar: u64, msr_star: u64, msr_cstar: u64, msr_syscall_mask: u64, msr_efer: u64,
  msr_tsc_aux: u64,
  tsc: u64,
  pending_event: u32, error_code: u32,
  flags: u32, pad0: u32,
});

/** `struct hvm_save_descriptor`: stands before each record of an HVM context. */
export const hvm_save_descriptor = struct({ typecode: u16, instance: u16, length: u32 });

/** `struct hvm_hw_lapic` (xen/arch-x86/hvm/save.h), the record LAPIC: `disabled` has VLAPIC_HW_DISABLED and its like. */
export const hvm_hw_lapic = struct({ apic_base_msr: u64, disabled: u32, timer_divisor: u32, tdt_msr: u64 });

/** `struct xen_domctl_getvcpuinfo` (xen/domctl.h): one vCPU, as `xc_vcpu_getinfo` tells of it. */
export const xen_domctl_getvcpuinfo = struct({
  vcpu: u32,
  online: u8,
  blocked: u8,
  running: u8,
  cpu_time: u64,
  cpu: u32,
});

/**
 * `struct vm_event_regs_x86` (xen/vm_event.h), up to what hvsh reads of it. `cs` and its like: bits 0 to 19 are the limit,
 * in pages where G is set, 20 to 31 the access rights as `hvm_hw_cpu` has them.
 */
// deno-fmt-ignore: rows as in the header
export const vm_event_regs_x86 = struct({
  rax: u64, rcx: u64, rdx: u64, rbx: u64, rsp: u64, rbp: u64, rsi: u64, rdi: u64,
  r8: u64, r9: u64, r10: u64, r11: u64, r12: u64, r13: u64, r14: u64, r15: u64,
  rflags: u64, dr6: u64, dr7: u64, rip: u64, cr0: u64, cr2: u64, cr3: u64, cr4: u64,
  sysenter_cs: u64, sysenter_esp: u64, sysenter_eip: u64, msr_efer: u64, msr_star: u64, msr_lstar: u64,
  gdtr_base: u64, npt_base: u64, vmtrace_pos: u64,
  cs_base: u32, ss_base: u32, ds_base: u32, es_base: u32, fs_base: u64, gs_base: u64,
  cs: u32,
});

/** Where the parts of `vm_event_request_t` lie, and its size: a slot of the ring between Xen and a monitor. */
export const VM_EVENT = { version: 0, flags: 4, reason: 8, vcpu_id: 12, u: 24, data: 56, size: 400 } as const;

/** `struct vm_event_debug`, the part `u` of a software breakpoint or a debug exception. */
export const vm_event_debug = struct({
  gfn: u64,
  pending_dbg: u64,
  insn_length: u32,
  type: u8,
  _pad: bytes(3),
});

/** `struct vm_event_write_ctrlreg`, of a write to a control register: `index` is a VM_EVENT_X86_*. */
export const vm_event_write_ctrlreg = struct({ index: u32, _pad: u32, new_value: u64, old_value: u64 });

/** `struct vm_event_mov_to_msr`, of WRMSR. */
export const vm_event_mov_to_msr = struct({ msr: u64, new_value: u64, old_value: u64 });

/** `struct vm_event_desc_access`, of an access to a descriptor table's register: `descriptor` is a VM_EVENT_DESC_*. */
export const vm_event_desc_access = struct({ arch: bytes(16), descriptor: u8, is_write: u8, _pad: bytes(6) });

/** `struct vm_event_cpuid`. */
export const vm_event_cpuid = struct({ insn_length: u32, leaf: u32, subleaf: u32, _pad: u32 });

/** The page that a vm_event ring is (DEFINE_RING_TYPES of xen/io/ring.h): indices, then slots at `ring`. */
export const VM_EVENT_RING = { req_prod: 0, req_event: 4, rsp_prod: 8, rsp_event: 12, ring: 64 } as const;

/**
 * `struct ioreq` (xen/hvm/ioreq.h): a vCPU's request to a device model. The byte `bits`, whose members have no offset in
 * C: `IOREQ_STATE_MASK` is its state, `IOREQ_DATA_IS_PTR`, `IOREQ_READ` and `IOREQ_DF` are flags.
 */
export const ioreq = struct({
  addr: u64,
  data: u64,
  count: u32,
  size: u32,
  vp_eport: u32,
  _pad0: u16,
  bits: u8,
  type: u8,
});

/** What the bit-fields of `struct ioreq` are, lowest bit first: state:4, data_is_ptr:1, dir:1, df:1. */
export const IOREQ_STATE_MASK = 15;
/** `data` is the guest-physical address of the data. */
export const IOREQ_DATA_IS_PTR = 1 << 4;
/** `dir`: the guest reads. */
export const IOREQ_DIR_READ = 1 << 5;
/** Addresses go down from one access to the next. */
export const IOREQ_DF = 1 << 6;

/** `struct evtchn_send`: the port an event is sent to. */
export const evtchn_send = struct({ port: u32 });

/** `struct evtchn_status`: one event channel of a domain; what `u` is depends on `status`. */
export const evtchn_status = struct({ dom: u16, port: u32, status: u32, vcpu: u32, u: bytes(8) });

/** `struct gnttab_query_size`: how many pages a domain's grant table has. */
export const gnttab_query_size = struct({ dom: u16, nr_frames: u32, max_nr_frames: u32, status: u16 });

/** `struct grant_entry_v1`: what a domain lets another do with one of its frames. */
export const grant_entry_v1 = struct({ flags: u16, domid: u16, frame: u32 });

/** `struct xen_domctl_vcpuextstate`: XSAVE state of a vCPU. `buffer` is the address of a buffer for hypercalls. */
export const xen_domctl_vcpuextstate = struct({ vcpu: u32, xfeature_mask: u64, size: u64, buffer: u64 });

/** `struct xen_domctl_vcpucontext`: a vCPU's registers. `ctxt` is the address of a buffer for hypercalls. */
export const xen_domctl_vcpucontext = struct({ vcpu: u32, ctxt: u64 });

/** The head of `struct xen_domctl`: what stands before the union `u` of all commands, and the size of the whole. */
export const XEN_DOMCTL = { cmd: 0, interface_version: 4, domain: 8, u: 16, size: 144 } as const;

/** Numbers that have a name in Xen's headers; each is compared with it. */
export const XEN = {
  XEN_DOMCTL_INTERFACE_VERSION: 0x15,
  XEN_DOMCTL_getvcpucontext: 13,
  XEN_DOMCTL_resumedomain: 27,
  XEN_DOMCTL_setvcpuextstate: 62,
  XEN_DOMCTL_getvcpuextstate: 63,
  XEN_DOMCTL_gdbsx_domstatus: 1003,
  XEN_DOMCTL_PFINFO_XTAB: 0xf000_0000,
  XEN_DOMINF_dying: 1,
  XEN_DOMINF_hvm_guest: 2,
  XEN_DOMINF_shutdown: 4,
  XEN_DOMINF_paused: 8,
  XEN_DOMINF_blocked: 16,
  XEN_DOMINF_running: 32,
  XEN_DOMINF_debugged: 64,
  XEN_DOMINF_xs_domain: 128,
  XEN_DOMINF_hap: 256,
  XEN_DOMINF_shutdownmask: 255,
  XEN_DOMINF_shutdownshift: 16,
  SHUTDOWN_poweroff: 0,
  SHUTDOWN_reboot: 1,
  SHUTDOWN_suspend: 2,
  SHUTDOWN_crash: 3,
  SHUTDOWN_watchdog: 4,
  SHUTDOWN_soft_reset: 5,
  VM_EVENT_INTERFACE_VERSION: 7,
  VM_EVENT_FLAG_VCPU_PAUSED: 1,
  VM_EVENT_FLAG_EMULATE: 4,
  VM_EVENT_FLAG_SET_REGISTERS: 0x100,
  VM_EVENT_REASON_WRITE_CTRLREG: 4,
  VM_EVENT_REASON_MOV_TO_MSR: 5,
  VM_EVENT_REASON_SOFTWARE_BREAKPOINT: 6,
  VM_EVENT_REASON_SINGLESTEP: 7,
  VM_EVENT_REASON_GUEST_REQUEST: 8,
  VM_EVENT_REASON_DEBUG_EXCEPTION: 9,
  VM_EVENT_REASON_CPUID: 10,
  VM_EVENT_REASON_DESCRIPTOR_ACCESS: 13,
  VM_EVENT_X86_CR0: 0,
  VM_EVENT_X86_CR3: 1,
  VM_EVENT_X86_CR4: 2,
  VM_EVENT_X86_XCR0: 3,
  VM_EVENT_DESC_IDTR: 1,
  VM_EVENT_DESC_GDTR: 2,
  VM_EVENT_DESC_LDTR: 3,
  VM_EVENT_DESC_TR: 4,
  XEN_DOMCTL_MONITOR_EVENT_WRITE_CTRLREG: 0,
  XEN_DOMCTL_MONITOR_EVENT_MOV_TO_MSR: 1,
  XEN_DOMCTL_MONITOR_EVENT_GUEST_REQUEST: 4,
  XEN_DOMCTL_MONITOR_EVENT_CPUID: 6,
  XEN_DOMCTL_MONITOR_EVENT_DESC_ACCESS: 9,
  VGCF_I387_VALID: 1,
  VGCF_in_kernel: 4,
  VGCF_online: 32,
  FLAT_KERNEL_CS64: 0xe033,
  __HYPERVISOR_domctl: 36,
  __HYPERVISOR_iret: 23,
  __HYPERVISOR_sched_op: 29,
  __HYPERVISOR_event_channel_op: 32,
  SCHEDOP_yield: 0,
  XENMEM_resource_ioreq_server: 0,
  XENMEM_resource_ioreq_server_frame_ioreq0: 1,
  XENMEM_resource_grant_table: 1,
  XENMEM_resource_grant_table_id_shared: 0,
  STATE_IOREQ_NONE: 0,
  STATE_IOREQ_READY: 1,
  STATE_IOREQ_INPROCESS: 2,
  STATE_IORESP_READY: 3,
  HVM_PARAM_TRIPLE_FAULT_REASON: 31,
  IOREQ_TYPE_PIO: 0,
  IOREQ_TYPE_COPY: 1,
  IOREQ_TYPE_PCI_CONFIG: 2,
  EVTCHNOP_send: 4,
} as const;

/** EVTCHNSTAT_*: what an event channel is. */
export const EVTCHNSTAT = { closed: 0, unbound: 1, interdomain: 2, pirq: 3, virq: 4, ipi: 5 } as const;

/** GTF_*: `flags` of a grant. Xen sets `reading` and `writing` while the frame is mapped. */
export const GTF = {
  type_mask: 3,
  invalid: 0,
  permit_access: 1,
  accept_transfer: 2,
  transitive: 3,
  readonly: 4,
  reading: 8,
  writing: 16,
} as const;

/** HVM_SAVE_CODE and HVM_SAVE_LENGTH of the save records that hvsh looks at. */
export const HVM_SAVE = {
  END: { code: 0, length: 0 },
  CPU: { code: 2, length: 1032 },
  LAPIC: { code: 5, length: 24 },
  LAPIC_REGS: { code: 6, length: 1024 },
} as const;

/** The structures that the test asks C for by their names here. */
export const XEN_STRUCTURES = {
  xen_domctl_getdomaininfo,
  cpu_user_regs,
  trap_info,
  vcpu_guest_context,
  hvm_hw_cpu,
  hvm_save_descriptor,
  hvm_hw_lapic,
  xen_domctl_getvcpuinfo,
  vm_event_debug,
  vm_event_write_ctrlreg,
  vm_event_mov_to_msr,
  vm_event_desc_access,
  vm_event_cpuid,
  evtchn_send,
  evtchn_status,
  gnttab_query_size,
  grant_entry_v1,
  xen_domctl_vcpuextstate,
  xen_domctl_vcpucontext,
} as const;
