/** continue, step, next, finish, until, advance, run and what else lets the guest go on. */
import type { GuestMachine, StepTarget, Stop } from "../../dsl/mod.ts";
import { gva, InputError } from "../../dsl/nouns.ts";
import { linear } from "../../dsl/modes.ts";
import type { Answer, Invocation } from "../command.ts";
import type { Session } from "../session.ts";
import { ripFor } from "./assign.ts";
import { splitLocation } from "./breakpoints.ts";
import { stoppedAt } from "./breakpoint_list.ts";
import { guestState } from "./state.ts";
import { guest, linearPc, vcpuOf } from "./selected.ts";
import { evaluateAddress, evaluateCount } from "./values.ts";

/**
 * Lets the guest go on, shows the stop, then runs what `commands` gave the breakpoint that stopped it. The frame
 * is the innermost again, and the vCPU the one that stopped.
 */
export async function go(session: Session, move: (vm: GuestMachine) => Promise<Stop>): Promise<Stop> {
  guest(session);
  session.frame = 0;
  session.backtrace = undefined;
  const stop = await session.resume(move);
  const breakpoint = "breakpoint" in stop ? stop.breakpoint : undefined;
  const vm = session.vm;
  if (vm === undefined || breakpoint === undefined) return stop;
  await stoppedAt(vm, breakpoint);
  for (const line of guestState(vm).notes.get(breakpoint.id)?.commands ?? []) {
    if (line !== "silent") await session.execute(line);
  }
  return stop;
}

/** `continue [N]`: with N, the breakpoint that stopped the guest is passed N - 1 times. */
export async function resume(session: Session, { rest }: Invocation): Promise<void> {
  const vm = guest(session);
  if (rest !== "") {
    const times = await evaluateCount(session, rest, "The count");
    const { lastStop } = vm;
    const breakpoint = lastStop !== undefined && "breakpoint" in lastStop ? lastStop.breakpoint : undefined;
    if (breakpoint === undefined || vm.breakpoints.get(breakpoint.id) === undefined) {
      session.print("Not stopped at any breakpoint; argument ignored.\n");
    } else if (times > 1) {
      breakpoint.ignore = times - 1;
      session.print(`Will ignore next ${times - 1} crossings of breakpoint ${breakpoint.id}.  Continuing.\n`);
    }
  }
  await go(session, (vm) => vm.continue());
}

/** `stop`: pauses a guest that `continue &` left running; its stop is told by that. */
export async function stop(session: Session): Promise<Answer | void> {
  const vm = guest(session);
  if (vm.state === "paused") return { text: "The guest is paused already.\n", data: { state: vm.state } };
  await session.resume(() => vm.pause());
}

/** `stepi [N]`: N instructions. `stepi/i`: pending interrupts are taken. */
export async function step(session: Session, { rest, format }: Invocation): Promise<void> {
  const count = rest === "" ? 1 : await evaluateCount(session, rest, "The count");
  if (count === 0) return;
  await go(session, (vm) => vm.step({ count, vcpu: session.vcpu, interrupts: format === "i" }));
}

/** `nexti [N]`: N instructions, calls and REP as one. */
export async function next(session: Session, { rest, format }: Invocation): Promise<void> {
  const count = rest === "" ? 1 : await evaluateCount(session, rest, "The count");
  if (count === 0) return;
  await go(session, (vm) => vm.stepOver({ count, vcpu: session.vcpu, interrupts: format === "i" }));
}

const TARGETS: Readonly<Record<string, StepTarget>> = {
  call: "call",
  ret: "return",
  jmp: "jump",
  syscall: "system",
};

/** `nextcall`, `nextret`, `nextjmp`, `nextsyscall`, and with step in place of next: to the next such instruction. */
export async function stepTo(session: Session, { name }: Invocation): Promise<void> {
  const [, how, what] = /^(next|step)(\w+)$/.exec(name) ?? [];
  await go(session, (vm) => vm.stepTo(TARGETS[what], { vcpu: session.vcpu, into: how === "step" }));
}

/** `finish`: until the selected frame's function has returned. */
export async function finish(session: Session): Promise<void> {
  const vm = guest(session);
  const trace = await vm.backtrace({ vcpu: session.vcpu, limit: session.frame + 2 });
  const caller = trace.frames[session.frame + 1];
  const selected = trace.frames[session.frame];
  // Only a chain that came to its end says that nobody called: one that broke off says nothing.
  if (caller === undefined && trace.end === "outermost" && selected?.framePointer === 0n) {
    throw new InputError('"finish" not meaningful in the outermost frame.', {
      remedy: "bt shows the frames; until ADDRESS or a breakpoint stops the guest elsewhere",
    });
  }
  if (session.frame === 0) {
    await go(session, (vm) => vm.stepOut({ vcpu: session.vcpu }));
    return;
  }
  if (caller === undefined || selected === undefined) {
    throw new InputError(`Nothing is known of the caller of frame ${session.frame}`, {
      remedy: "frame 0, then finish",
    });
  }
  // A deeper call of the same function returns there too, with more on the stack.
  const { vcpu } = session;
  const back = await vm.breakpoints.add(gva(caller.address), {
    vcpu,
    once: true,
    condition: (hit) => linear(hit.registers, "ss", hit.registers.rsp) > selected.framePointer,
  });
  try {
    await go(session, (vm) => vm.continue());
  } finally {
    await back.remove();
  }
}

/** `until [LOCATION]`, `advance LOCATION`. Without a location: to the next instruction, past a loop's jump back. */
export async function until(session: Session, { rest, name }: Invocation): Promise<void> {
  const { location, tail } = splitLocation(rest);
  if (tail !== "") throw new InputError(`"${tail}" is not understood`, { remedy: `${name} LOCATION` });
  if (location === "" && name.startsWith("a")) {
    throw new InputError("Argument required (a location).", { remedy: "advance ADDRESS" });
  }
  if (location !== "") {
    const { address } = await evaluateAddress(session, location);
    await go(session, (vm) => vm.runUntil(address, { vcpu: session.vcpu }));
    return;
  }
  const vm = guest(session);
  const [instruction] = await vm.disassemble(await linearPc(session), { count: 1, vcpu: session.vcpu });
  const behind = instruction.address + BigInt(instruction.length);
  await go(session, (vm) => vm.runUntil(behind, { vcpu: session.vcpu }));
}

/** `jump LOCATION`: goes on elsewhere. */
export async function jump(session: Session, { rest }: Invocation): Promise<void> {
  const { location } = splitLocation(rest);
  if (location === "") {
    throw new InputError("Argument required (starting address).", { remedy: "jump ADDRESS" });
  }
  const vcpu = vcpuOf(session);
  const { value } = await evaluateAddress(session, location);
  await vcpu.setRegisters({ rip: ripFor(value, await vcpu.registers()) });
  await go(session, (vm) => vm.continue());
}

/** `run`: back to power-on, then go. */
export async function run(session: Session): Promise<void> {
  await restart(session);
  await go(session, (vm) => vm.continue());
}

/** `start`: back to power-on, stopped at the first instruction. */
export async function start(session: Session): Promise<Answer> {
  await restart(session);
  const { showPosition } = await import("../render/stop.ts");
  return await showPosition(session);
}

async function restart(session: Session): Promise<void> {
  session.frame = 0;
  session.backtrace = undefined;
  session.vcpu = 0;
  if (session.vm === undefined) await session.open();
  else await session.vm.reset();
}

/** `reset`: back to power-on; breakpoints stay. */
export async function reset(session: Session): Promise<Answer> {
  await guest(session).reset();
  session.frame = 0;
  session.backtrace = undefined;
  return {
    text: "The guest is at power-on, paused at its first instruction.\n",
    data: { state: guest(session).state },
  };
}

/** `kill`: closes the guest. */
export async function kill(session: Session): Promise<Answer> {
  const vm = guest(session);
  await vm.close();
  session.vm = undefined;
  session.vcpu = 0;
  session.frame = 0;
  session.backtrace = undefined;
  return { text: "The guest is closed.\n", data: { state: "closed" } };
}
