/**
 * The stop stub: code in a PV guest's kernel that its #DB and #BP vectors are pointed at. It tells dom0 by an event
 * channel, gives its time slices away until it is let go, and returns by the iret hypercall to where the exception came
 * from. A stock Xen has nothing else that stops a PV guest (its gdbsx hypercalls are compiled out).
 */

import { evtchn_send, XEN } from "../abi/xen.ts";

/** Where a vCPU in the stub stands: with its registers saved and dom0 told, or on the way in or out. */
export interface StubPlace {
  /** Byte offset of the #DB vector's entry. */
  readonly debug: number;
  /** Byte offset of the #BP vector's entry. */
  readonly breakpoint: number;
  /** From here ... */
  readonly saved: number;
  /** ... to here (exclusive) the frame lies at RSP as `FRAME` says. */
  readonly leaving: number;
}

/** What lies at RSP while a vCPU waits in the stub: what it pushed, then what Xen did (create_bounce_frame). */
// deno-fmt-ignore: a row for each who pushed it
export const FRAME = {
  release: 0, rsi: 8, rdi: 16, rax: 24,
  rcx: 32, r11: 40, rip: 48, cs: 56, rflags: 64, rsp: 72, ss: 80,
} as const;

/** Bytes of the frame. */
export const FRAME_SIZE = 88;

/** The registers that stand in the frame and not in the vCPU's context. */
export const FRAMED = ["rax", "rcx", "rsi", "rdi", "r11", "rip", "rflags", "rsp", "cs", "ss"] as const;

/** The register of the frame whose 16 bits share a word with something else: Xen keeps the event mask above CS. */
export const SELECTORS: readonly string[] = ["cs", "ss"];

const PUSHES = [0x50, 0x57, 0x56]; // push rax; push rdi; push rsi
const push = (n: number) => [0x6a, n]; // push imm8
const SYSCALL = [0x0f, 0x05];
const eax = (n: number) => [...push(n), 0x58]; // push n; pop rax

const DEBUG_ENTRY = [...PUSHES, ...push(1), 0xeb, 5]; // ...; jmp over the next five bytes
const BREAKPOINT_ENTRY = [...PUSHES, ...push(3)];
const TELL_HEAD = [...eax(XEN.__HYPERVISOR_event_channel_op), ...push(XEN.EVTCHNOP_send), 0x5f]; // ...; pop rdi
const LEA_RSI = [0x48, 0x8d, 0x35]; // lea rsi, [rip + rel32]
// sched_op(yield); cmp byte [rsp], 0; jne back
const WAIT = [...eax(XEN.__HYPERVISOR_sched_op), 0x31, 0xff, ...SYSCALL, 0x80, 0x3c, 0x24, 0, 0x75, 0xf3];
const LEAVE = [
  ...[0x5e, 0x5e, 0x5f, 0x58, 0x59, 0x41, 0x5b], // pop rsi twice; pop rdi; pop rax; pop rcx; pop r11
  ...[...push(0), 0x51, 0x41, 0x53, 0x50], // push 0; push rcx; push r11; push rax: struct iret_context
  ...eax(XEN.__HYPERVISOR_iret),
  ...SYSCALL,
];

const COMMON = DEBUG_ENTRY.length + BREAKPOINT_ENTRY.length;
const AFTER_LEA = COMMON + TELL_HEAD.length + LEA_RSI.length + 4;
const LEAVING = AFTER_LEA + SYSCALL.length + WAIT.length;
const PORT = LEAVING + LEAVE.length;

/** Offsets in the stub. */
export const PLACE: StubPlace = {
  debug: 0,
  breakpoint: DEBUG_ENTRY.length,
  saved: AFTER_LEA + SYSCALL.length,
  leaving: LEAVING,
};

/** Bytes of the stub. */
export const STUB_SIZE = PORT + evtchn_send.size;

/** The stub's bytes. @param port The guest's event channel port that dom0 is bound to. */
export function stubCode(port: number): Uint8Array<ArrayBuffer> {
  const code = Uint8Array.from([
    ...DEBUG_ENTRY,
    ...BREAKPOINT_ENTRY,
    ...TELL_HEAD,
    ...LEA_RSI,
    ...[PORT - AFTER_LEA, 0, 0, 0],
    ...SYSCALL,
    ...WAIT,
    ...LEAVE,
    ...evtchn_send.encode({ port }),
  ]);
  if (code.length !== STUB_SIZE) throw new RangeError("The stub's parts do not add up.");
  return code;
}

const INT3 = 0xcc;

/** The place of the last run of INT3 bytes that the stub fits into; -1 if there is none. Linux pads its text so. */
export function findRoom(text: Uint8Array): number {
  let run = 0;
  for (let i = text.length - 1; i >= 0; i--) {
    run = text[i] === INT3 ? run + 1 : 0;
    if (run >= STUB_SIZE) return i;
  }
  return -1;
}
