/**
 * The port of the debugger's `out` patch. Ports 0xe0..0xef are free on a PC but for 0xe9 (debug console) and 0xed (the
 * delay port of some kernels); 0x7e would be treated specially by KVM (KVM_X86_QUIRK_OUT_7E_INC_RIP).
 */
export const TRAP_PORT = 0xee;
