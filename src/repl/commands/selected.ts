/** The guest, vCPU and frame that commands speak of: their registers and memory. Expressions are in values.ts. */
import type { GuestMachine, RegisterName, Registers } from "../../dsl/mod.ts";
import { linearRip } from "../../dsl/modes.ts";
import { gpa, gva, InputError } from "../../dsl/nouns.ts";
import type { Session } from "../session.ts";

/** The session's guest. @throws {InputError} If none is open. */
export function guest(session: Session): GuestMachine {
  if (session.vm === undefined) {
    throw new InputError("No guest is open", {
      remedy: "open one: open, boot FILE, or start hvsh with -bios or -kernel",
    });
  }
  return session.vm;
}

/** The vCPU that commands speak of. */
export function vcpuOf(session: Session): GuestMachine["vcpus"][number] {
  const vm = guest(session);
  return vm.vcpus[session.vcpu] ?? vm.vcpus[0];
}

/**
 * The registers of the selected frame: those of the vCPU, with RIP, RSP and RBP as they are in the frame that
 * `frame`, `up` and `down` chose.
 */
export async function registersOf(session: Session): Promise<Registers> {
  const registers = await vcpuOf(session).registers().catch((error) => {
    if (guest(session).state !== "running") throw error;
    return unread(error);
  });
  const frame = session.frame > 0 ? session.backtrace?.frames[session.frame] : undefined;
  if (frame === undefined) return registers;
  const changed: Partial<Record<RegisterName, bigint>> = {
    rip: frame.rip,
    rsp: frame.stackPointer,
    rbp: frame.framePointer,
  };
  return new Proxy(registers, {
    get: (target, name) => changed[name as RegisterName] ?? target[name as RegisterName],
  });
}

/** Registers of a guest that runs: numbers and physical addresses need none, and whatever does is refused. */
function unread(error: Error): Registers {
  return new Proxy({} as Registers, {
    get(_, name) {
      if (name === "then") return undefined; // it is no promise
      throw error;
    },
  });
}

/** "kernel_main+0x10", or undefined where no symbol is near. */
export function symbolAt(vm: GuestMachine | undefined, address: bigint): string | undefined {
  return vm?.symbols.format(address);
}

/** The linear address of the instruction at CS:RIP of the selected frame. */
export async function linearPc(session: Session): Promise<bigint> {
  return linearRip(await registersOf(session));
}

/** Bytes of memory at a place, in its space. @throws {FaultError} */
export function readPlace(
  session: Session,
  place: { space: "gpa" | "gva"; at: bigint },
  length: number,
): Promise<Uint8Array> {
  return place.space === "gpa"
    ? guest(session).memory.read(gpa(place.at), length)
    : vcpuOf(session).memory.read(gva(place.at), length);
}

/** Writes bytes at a place, in its space. @throws {FaultError} */
export function writePlace(
  session: Session,
  place: { space: "gpa" | "gva"; at: bigint },
  bytes: Uint8Array,
): Promise<void> {
  return place.space === "gpa"
    ? guest(session).memory.write(gpa(place.at), bytes)
    : vcpuOf(session).memory.write(gva(place.at), bytes);
}

/** `value` as `bytes` little-endian bytes. */
export function littleEndian(value: bigint, bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => Number(value >> BigInt(8 * i) & 0xffn));
}

/** Little-endian bytes as an unsigned number. */
export function unsigned(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = value << 8n | BigInt(bytes[i]);
  return value;
}
