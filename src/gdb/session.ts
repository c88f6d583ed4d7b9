/** One client's session: what each packet asks for, and the answer. It knows nothing of sockets. */
import { FaultError, HvshError, StateError, UnsupportedError } from "../vm/errors.ts";
import type { Machine, Vcpu } from "../vm/machine.ts";
import type { Stop } from "../vm/stop.ts";
import { GdbBreakpoints, type StopReason } from "./breakpoints.ts";
import { GdbMemory } from "./memory.ts";
import { type ClientFeatures, query, supported, transfer } from "./queries.ts";
import { readRegister, readRegisters, writtenRegister, writtenRegisters } from "./registers.ts";
import { type Motion, motionOf, move } from "./resume.ts";
import { remark, standing, STANDS, stopReply } from "./stop_reply.ts";
import {
  ascii,
  hexBytes,
  hexCount,
  hexNumber,
  hexText,
  latin1,
  PacketError,
  positionOf,
  textOfHex,
} from "./text.ts";
import { type ThreadChoice, threadChoice } from "./threads.ts";

/** A command of the shell, for `monitor`: its output. It throws what the command throws. */
export type Monitor = (line: string) => Promise<string>;

/** What a session works with. */
export interface SessionParts {
  readonly vm: Machine;
  /** Undefined: there are no commands here. */
  readonly monitor?: Monitor;
  /** Sends one packet; resolves when there is room for more. */
  send(payload: string | Uint8Array): Promise<void>;
  /** Sends what is a packet already, which may change later. */
  sendFrame(packet: Uint8Array): Promise<void>;
  /** Sends one packet of these bytes' hexadecimal digits. */
  sendHex(bytes: Uint8Array): Promise<void>;
  /** No more acknowledgements, from the answer on. */
  acknowledgementsOff(): void;
  /** Tells the user of the server something. */
  tell(text: string): void;
}

/** Most bytes of one line of `monitor`, and of its output; the rest is cut off. */
const MONITOR_LINE = 64 * 1024;
const MONITOR_OUTPUT = 8 * 1024 * 1024;
/** Characters of output in one packet. */
const OUTPUT_CHUNK = 16 * 1024;

/** What a packet leads to besides its answer. */
export type After = "go-on" | "leave";

/** Answers packets, one at a time. */
export class GdbSession {
  readonly #parts: SessionParts;
  readonly #breakpoints: GdbBreakpoints;
  readonly #memory: GdbMemory;
  readonly #features: ClientFeatures = {
    multiprocess: false,
    breakpointReasons: false,
    errorMessages: false,
  };
  /** vCPU of register and memory packets (`Hg`), and of `c` and `s` (`Hc`). */
  #general: ThreadChoice = "any";
  #resumed: ThreadChoice = "all";
  #foundRunning = false;
  /** For how many packets, the one that is being answered included, a Ctrl-C has come that their runs end by. */
  #interrupted = 0;
  #answering = false;
  /** Whether the client is `target extended-remote` (E.2, packet `!`). */
  #extended = false;
  #outside = 0;
  /** Whether `x` answers without its `b`: what lldb expects that asked for it by `x0,0`. */
  #bareBinary = false;
  /** The vCont before. */
  #asked: { readonly text: string; readonly current: number; readonly motion: Motion } | undefined;

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.#breakpoints = new GdbBreakpoints(parts.vm);
    this.#memory = new GdbMemory(parts.vm);
  }

  /** A client has come: the guest stands still for it. */
  async begin(): Promise<void> {
    const { vm } = this.#parts;
    if (vm.state !== "running") return;
    this.#foundRunning = true;
    await vm.pause();
  }

  /** The client is gone: its breakpoints are taken out, the guest stays as it is. */
  async end(): Promise<void> {
    if (this.#parts.vm.state !== "closed") await this.#breakpoints.clear();
  }

  /** Whether an answer waits for the guest or for a command, which may take for ever. */
  get outside(): boolean {
    return this.#outside > 0;
  }

  /** A Ctrl-C. @param waiting How many packets came before it whose turn has not come. */
  interrupt(waiting: number): void {
    const { vm, tell } = this.#parts;
    this.#interrupted = waiting + (this.#answering ? 1 : 0);
    if (vm.state === "running") vm.pause().catch((error) => tell(`gdb: Ctrl-C failed: ${messageOf(error)}`));
  }

  /** Answers one packet. It never throws for what the packet says. */
  async answer(packet: Uint8Array): Promise<After> {
    let after: After = "go-on";
    this.#answering = true;
    try {
      const answer = await this.#answer(packet);
      if (answer === LEAVE) after = "leave";
      else if (answer !== SILENT) await this.#parts.send(answer);
    } catch (error) {
      await this.#parts.send(this.#error(error));
    } finally {
      this.#answering = false;
      if (this.#interrupted > 0) this.#interrupted--;
    }
    return after;
  }

  /** What makes the guest run goes the shortest way: a client that steps waits for nothing else. */
  #answer(packet: Uint8Array): Promise<Answer> {
    const letter = String.fromCharCode(packet[0] ?? 0);
    if (/[cCsS]/.test(letter)) return this.#resume(latin1(packet));
    if (letter !== "v") return this.#other(letter, packet);
    const text = latin1(packet);
    return text.startsWith("vCont;") ? this.#run(this.#motion(text)) : this.#verbose(text);
  }

  async #other(letter: string, packet: Uint8Array): Promise<Answer> {
    const { vm } = this.#parts;
    const text = () => latin1(packet.subarray(1));
    switch (letter) {
      case "?":
        return await this.#sent(await this.#standing());
      case "g":
        return readRegisters(await this.#vcpu.registers());
      case "G": {
        const vcpu = this.#vcpu;
        await vcpu.setRegisters(writtenRegisters(await vcpu.registers(), hexBytes(packet.subarray(1))));
        return "OK";
      }
      case "p":
        return readRegister(await this.#vcpu.registers(), hexCount(text()));
      case "P": {
        const [number, value] = text().split("=");
        const vcpu = this.#vcpu;
        await vcpu.setRegisters(
          writtenRegister(await vcpu.registers(), hexCount(number), hexBytes(value ?? "")),
        );
        return "OK";
      }
      case "m":
        await this.#parts.sendHex(await this.#memory.read(this.#vcpu.index, text()));
        return SILENT;
      case "x":
        return await this.#binaryRead(text());
      case "M":
      case "X":
        await this.#memory.write(this.#vcpu.index, packet.subarray(1), packet[0] === 0x58);
        return "OK";
      case "Z":
        // x86 can't watch reads alone. Told so, gdb watches accesses, and leaves out those that changed the value.
        if (packet[1] === READ_WATCHPOINT) return "";
        await this.#breakpoints.insert(text());
        return "OK";
      case "z":
        await this.#breakpoints.remove(text());
        return "OK";
      case "b":
        return await this.#back(text());
      case "H":
        return this.#choose(text());
      case "T":
        threadChoice(text(), vm.vcpus.length);
        return "OK";
      case "q":
      case "Q":
        return await this.#query(packet);
      case "D":
        return await this.#detach();
      case "k":
        // Closing it closes this connection too, which waits for nothing that is outside.
        await this.#waiting(vm.close());
        return LEAVE;
      case "!":
        this.#extended = true;
        return "OK";
      case "R":
        await vm.reset();
        // It has no answer (E.2).
        return SILENT;
      default:
        // An empty answer: a packet that is not known (E.1).
        return "";
    }
  }

  /** An answer that is a packet already. */
  async #sent(frame: Uint8Array): Promise<Answer> {
    await this.#parts.sendFrame(frame);
    return SILENT;
  }

  get #vcpu(): Vcpu {
    return this.#parts.vm.vcpus[typeof this.#general === "number" ? this.#general : this.#current];
  }

  get #current(): number {
    return this.#parts.vm.lastStop?.vcpu.index ?? 0;
  }

  #choose(text: string): string {
    const choice = threadChoice(text.slice(1), this.#parts.vm.vcpus.length);
    if (text[0] === "g") this.#general = choice;
    else if (text[0] === "c") this.#resumed = choice;
    else throw new PacketError(`H${text[0] ?? ""} is not known`);
    return "OK";
  }

  async #standing(): Promise<Uint8Array> {
    const { vm } = this.#parts;
    const registers = await vm.vcpus[this.#current].registers();
    this.#general = "any";
    return standing(this.#current, STANDS, registers, this.#features);
  }

  async #binaryRead(text: string): Promise<Uint8Array> {
    if (/^0+,0+$/.test(text)) {
      // lldb before gdb had the packet: it asks so whether there is one, and wants the bytes alone.
      this.#bareBinary = true;
      return ascii("OK");
    }
    const bytes = await this.#memory.read(this.#vcpu.index, text);
    if (this.#bareBinary) return bytes;
    const out = new Uint8Array(bytes.length + 1);
    out[0] = "b".charCodeAt(0);
    out.set(bytes, 1);
    return out;
  }

  #resume(text: string): Promise<Answer> {
    const chosen = typeof this.#resumed === "number" ? this.#resumed : undefined;
    const motion: Motion = /[sS]/.test(text[0])
      ? { kind: "step", vcpu: chosen ?? this.#current, others: "hold" }
      : chosen !== undefined && this.#parts.vm.vcpus.length > 1
      ? { kind: "some", vcpus: [chosen] }
      : { kind: "continue" };
    const address = /^[cs]/.test(text) ? text.slice(1) : text.split(";")[1] ?? "";
    return address === "" ? this.#run(motion) : this.#runFrom(hexNumber(address), motion);
  }

  async #runFrom(rip: bigint, motion: Motion): Promise<Answer> {
    await this.#vcpu.setRegisters({ rip });
    return await this.#run(motion);
  }

  async #verbose(text: string): Promise<Answer> {
    const { vm } = this.#parts;
    if (text === "vCont?") return "vCont;c;C;s;S;r";
    if (text.startsWith("vKill;")) {
      if (this.#extended) {
        // The connection outlives what is killed, which `run` starts again.
        await this.#breakpoints.clear();
        await vm.reset();
        return "OK";
      }
      await this.#parts.send("OK");
      await this.#waiting(vm.close());
      return LEAVE;
    }
    if (text.startsWith("vAttach;")) return await this.#sent(await this.#standing());
    if (text.startsWith("vRun;")) {
      await vm.reset();
      return await this.#sent(await this.#standing());
    }
    return "";
  }

  /** What a vCont asks for. A client that steps sends the same one again and again: it is read once. */
  #motion(text: string): Motion {
    const current = this.#current;
    if (text !== this.#asked?.text || current !== this.#asked.current) {
      this.#asked = { text, current, motion: motionOf(text, this.#parts.vm.vcpus.length, current) };
    }
    return this.#asked.motion;
  }

  async #run(motion: Motion): Promise<Answer> {
    const { vm, sendFrame } = this.#parts;
    const moving = move(vm, motion);
    if (this.#interrupted > 0 && vm.state === "running") await vm.pause();
    let stop: Stop;
    this.#outside++;
    try {
      stop = await moving;
    } finally {
      this.#outside--;
    }
    this.#general = "any";
    const line = remark(stop);
    if (line !== undefined) await this.#parts.send(`O${hexText(line)}`);
    await sendFrame(stopReply(stop, this.#features, this.#reasonOf(stop)));
    return SILENT;
  }

  /** `bc` and `bs`: back in a recorded run, where there is one. */
  async #back(how: string): Promise<Answer> {
    const { history } = this.#parts.vm;
    if (history.usable !== true || !/^[cs]$/.test(how)) return "";
    const stop = await this.#waiting(how === "s" ? history.stepBack() : history.continueBack());
    this.#general = "any";
    await this.#parts.sendFrame(stopReply(stop, this.#features, this.#backReason(stop)));
    return SILENT;
  }

  #backReason(stop: Stop): StopReason | undefined {
    const { position, start } = this.#parts.vm.history;
    return position === start && stop.kind === "step" ? "replaylog:begin" : this.#reasonOf(stop);
  }

  async #waiting<T>(promise: Promise<T>): Promise<T> {
    this.#outside++;
    try {
      return await promise;
    } finally {
      this.#outside--;
    }
  }

  #reasonOf(stop: Stop): StopReason | undefined {
    return "breakpoint" in stop && stop.breakpoint !== undefined
      ? this.#breakpoints.reasonOf(stop.breakpoint)
      : undefined;
  }

  async #query(packet: Uint8Array): Promise<string | Uint8Array> {
    const { vm, acknowledgementsOff } = this.#parts;
    const text = latin1(packet);
    const name = /^[qQ][A-Za-z.]+/.exec(text)?.[0];
    switch (name) {
      case "qSupported":
        return supported(text, this.#features, vm.history.usable === true);
      case "QStartNoAckMode":
        acknowledgementsOff();
        return "OK";
      case "qXfer":
        return transfer(text, vm, this.#features.multiprocess) ?? "";
      case "qRcmd":
        return await this.#monitor(text.slice(positionOf(packet, ",") + 1));
      case "QNonStop":
        if (text !== "QNonStop:0") {
          throw new PacketError("a guest stops as a whole: there is no non-stop mode");
        }
        return "OK";
      // QEMU's extension, docs/system/gdb.rst "Using 'physical memory mode'".
      case "qqemu.PhyMemMode":
        return this.#memory.physical ? "1" : "0";
      case "Qqemu.PhyMemMode":
        this.#memory.physical = text.endsWith(":1");
        return "OK";
      default:
        return query(text, vm, this.#features.multiprocess, this.#current) ?? "";
    }
  }

  async #monitor(digits: string): Promise<string> {
    const { monitor, send } = this.#parts;
    if (digits.length > 2 * MONITOR_LINE) throw new PacketError("the command is too long");
    const line = textOfHex(digits);
    let output: string;
    try {
      output = monitor === undefined
        ? "There are no commands here: hvsh's `gdbserver` serves a guest with them.\n"
        : await this.#waiting(monitor(line));
    } catch (error) {
      output = `${messageOf(error)}\n`;
    }
    if (output !== "" && !output.endsWith("\n")) output += "\n";
    if (output.length > MONITOR_OUTPUT) {
      output = `${output.slice(0, MONITOR_OUTPUT)}\n(the rest is cut off)\n`;
    }
    for (let at = 0; at < output.length; at += OUTPUT_CHUNK) {
      await send(`O${hexText(output.slice(at, at + OUTPUT_CHUNK))}`);
    }
    return "OK";
  }

  /** What the client found running goes on, without its breakpoints. */
  async #detach(): Promise<typeof LEAVE> {
    const { vm, send, tell } = this.#parts;
    await this.#breakpoints.clear();
    await send("OK");
    if (this.#foundRunning && vm.state === "paused") {
      vm.continue().catch((error) => tell(`gdb: the guest does not go on: ${messageOf(error)}`));
    }
    return LEAVE;
  }

  #error(error: unknown): string {
    const code = error instanceof PacketError ? error.code : error instanceof FaultError
      ? 14 // EFAULT
      : error instanceof StateError
      ? 16 // EBUSY
      : error instanceof UnsupportedError
      ? 95 // EOPNOTSUPP, which gdb shows as a number
      : error instanceof HvshError || error instanceof RangeError
      ? 22 // EINVAL
      : undefined;
    if (code === undefined) this.#parts.tell(`gdb: a packet failed: ${messageOf(error)}`);
    if (this.#features.errorMessages) return `E.${messageOf(error).replace(/[^\x20-\x7e]/g, "?")}`;
    return `E${(code ?? 5).toString(16).padStart(2, "0")}`;
  }
}

/** "3": the type of a watchpoint for reads (E.2, packets Z and z). */
const READ_WATCHPOINT = 0x33;

/** The client leaves: there is no (further) answer. */
const LEAVE = Symbol("leave");

/** A packet without an answer, or that has been answered. */
const SILENT = Symbol("silent");

type Answer = string | Uint8Array | typeof LEAVE | typeof SILENT;

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { remedy } = error as { remedy?: string };
  return remedy === undefined ? error.message : `${error.message}; ${remedy}`;
}
