import type { BackendVcpu } from "../vm/backend.ts";
import { InputError, StateError } from "../vm/errors.ts";
import { type GdbConnection, isError, nonsense } from "./connection.ts";
import { GoneError } from "./gone.ts";
import { parseStopReply, SIGINT, type StopReply } from "./stop_reply.ts";
import { readTargetDescription, type TargetDescription } from "./target_xml.ts";
import { fromHex, toHex } from "./packets.ts";

/** How long a guest may take to stop when it is asked to. */
const HALT_MS = 10_000;
/** Bytes of a document that are asked for at once. */
const XML_CHUNK = 0x7f0;
const XML_LIMIT = 1 << 20;
const MONITOR_MS = 10_000;
const THREAD_LIMIT = 1024;

/** `xmlRegisters=i386`: without it, gdbserver's description of x86 names no registers (E.4, `qSupported`). */
const WANTED = "multiprocess+;swbreak+;hwbreak+;qXfer:features:read+;vContSupported+;xmlRegisters=i386";

/** What a stub said of itself. */
export interface StubFeatures {
  /** The longest packet it takes, in characters. */
  readonly packetSize: number;
  /** Whether each vCPU can be resumed by itself. */
  readonly vCont: boolean;
  /** Whether memory can be read by guest-physical address: QEMU's PhyMemMode. */
  readonly physical: boolean;
  /** How a step can treat interrupts: QEMU's sstepbits, ENABLE 1, NOIRQ 2, NOTIMER 4; 0 where there are none. */
  readonly stepBits: number;
}

/** Registers that were asked for with a stop. */
interface Prefetched {
  readonly thread: string;
  /** The session's at that time: what was written since is not in the answer. */
  readonly generation: number;
  answer: Uint8Array | undefined;
}

/** A guest behind a stub: whether it runs, its threads, and what it reported last. */
export class Session {
  readonly connection: GdbConnection;
  readonly features: StubFeatures;
  readonly description: TargetDescription;
  /** Thread ids, one a vCPU. */
  readonly threads: readonly string[];
  /** Counts what changes the guest: snapshots of before are stale. */
  generation = 0;
  readonly #haltMs: number;
  #running = false;
  #closed = false;
  #selected: string | undefined;
  #stepFlags: number | undefined;
  /** A stop that came while the guest was asked to stop for another reason. */
  #kept: StopReply | undefined;
  #told: { readonly text: string; readonly reply: StopReply | undefined } | undefined;
  /** The answer to `g` of the vCPU that stopped, asked for with the stop; undefined until it comes. */
  #prefetched: Prefetched | undefined;
  readonly #beforeRunning: (() => void)[] = [];

  /** Takes over a connection. The guest is stopped by that. @throws {GoneError} @throws {InputError} */
  constructor(connection: GdbConnection, haltMs = HALT_MS) {
    this.#haltMs = haltMs;
    this.connection = connection;
    const supported = new Map(
      settled(connection, `qSupported:${WANTED}`).split(";").map((feature) => {
        const equals = feature.indexOf("=");
        return equals < 0 ? [feature, ""] : [feature.slice(0, equals), feature.slice(equals + 1)];
      }),
    );
    connection.withoutAcks(settled);
    const first = parseStopReply(connection.request("?"));
    if (first === undefined || first.kind === "ended") {
      throw new InputError(`the stub has no guest to show${first ? `: ${first.reason}` : ""}`, {
        remedy: "check that a GDB stub for x86-64 listens at that address",
      });
    }
    // A stop that was told beside the answer has come by the time this is answered.
    const resumes = settled(connection, "vCont?");
    const size = parseInt(supported.get("PacketSize") ?? "", 16);
    this.description = supported.has("qXfer:features:read+")
      ? readTargetDescription((name) => this.#document(name))
      : noDescription();
    this.threads = this.#threads();
    this.features = {
      packetSize: size >= 64 ? Math.min(size, 1 << 20) : 400,
      vCont: /^vCont(;|$)/.test(resumes),
      physical: /^[01]$/.test(connection.request("qqemu.PhyMemMode")),
      stepBits: stepBitsOf(connection.request("qqemu.sstepbits")),
    };
    if (this.features.physical) {
      connection.pipelined = true;
      this.command("Qqemu.PhyMemMode:1");
    }
  }

  /** Notes that the machine is closed: nothing is asked any more. */
  close(): void {
    this.#closed = true;
    this.#running = false;
  }

  /** @throws {StateError} If the machine is closed. */
  requireOpen(): void {
    if (this.#closed) {
      throw new StateError("the machine is closed", "closed", { remedy: "open or attach to another one" });
    }
  }

  /** Whether the guest runs. */
  get running(): boolean {
    return this.#running;
  }

  /** Calls `listener` before the guest runs on: what depends on how it stands has to be fetched now. */
  beforeRunning(listener: () => void): void {
    this.#beforeRunning.push(listener);
  }

  /** A request that is answered by OK. @throws {InputError} If it is refused. */
  command(payload: string): void {
    const answer = this.connection.request(payload);
    if (answer !== "OK") throw nonsense(payload.slice(0, 20), answer);
  }

  /**
   * Runs a command of QEMU's human monitor by the stub (qRcmd), while the guest stands still.
   *
   * @returns What it prints; undefined if the stub has no monitor.
   */
  monitor(line: string): string | undefined {
    this.halt();
    let text = "";
    this.connection.post(`qRcmd,${toHex(new TextEncoder().encode(line))}`);
    for (;;) {
      const answer = this.connection.next(MONITOR_MS);
      if (answer === undefined) throw new GoneError("the stub's monitor did not answer");
      if (answer === "OK") return text.replaceAll("\r\n", "\n");
      const said = answer[0] === "O" ? fromHex(answer.slice(1)) : undefined;
      if (said === undefined || text.length > XML_LIMIT) return undefined;
      text += new TextDecoder().decode(said);
    }
  }

  /** Lets go of a guest of others, as it was found: running, or paused. */
  leave(running: boolean): void {
    for (const payload of this.#farewell(running)) this.command(payload);
  }

  /**
   * The same where no answer can be waited for any more: a stub that was frozen obeys when it comes to it.
   *
   * @param removals The packets that take breakpoints out.
   */
  abandon(running: boolean, removals: readonly string[]): void {
    this.connection.part([...removals, ...this.#farewell(running)]);
  }

  #farewell(running: boolean): string[] {
    const last: string[] = [];
    if (this.features.physical) last.push("Qqemu.PhyMemMode:0");
    if (this.#stepFlags !== undefined) last.push(`Qqemu.sstep=${this.features.stepBits.toString(16)}`);
    // E.2, `D`: the guest runs on. A stub that is only hung up on leaves it as it stands.
    if (!running) return last;
    const processes = new Set(this.threads.map((thread) => /^p([^.]+)\./.exec(thread)?.[1]));
    return [...last, ...[...processes].map((process) => process === undefined ? "D" : `D;${process}`)];
  }

  /** Makes `g`, `p`, `P` and `G` mean one vCPU. */
  select(index: number): void {
    const thread = this.threads[index];
    if (this.#selected === thread) return;
    this.command(`Hg${thread}`);
    this.#selected = thread;
  }

  /** The answer to `g` of a vCPU of the guest that stands still, as characters. @throws {GoneError} */
  general(index: number): Uint8Array {
    const asked = this.#prefetched;
    if (asked?.thread === this.threads[index] && asked.generation === this.generation) {
      this.connection.settle();
      this.#prefetched = undefined;
      if (asked.answer !== undefined) return asked.answer;
    }
    this.select(index);
    return new TextEncoder().encode(this.connection.request("g"));
  }

  /** Lets every vCPU run. */
  resume(): void {
    this.#run(this.features.vCont ? "vCont;c" : "c");
  }

  /** Lets one vCPU run one instruction. */
  resumeStep(vcpu: BackendVcpu, interrupts: boolean): void {
    // ENABLE, NOIRQ, NOTIMER (QEMU's gdbstub): a step into a handler is not what was asked for.
    const flags = this.features.stepBits & (interrupts ? 1 : 7);
    if (flags !== 0 && this.#stepFlags !== flags) {
      this.command(`Qqemu.sstep=${flags.toString(16)}`);
      this.#stepFlags = flags;
    }
    const thread = this.threads[vcpu.index];
    if (!this.features.vCont) this.select(vcpu.index);
    this.#run(this.features.vCont ? `vCont;s:${thread}` : "s");
  }

  /** What stopped the guest; undefined if it runs on after `timeoutMs`. @throws {GoneError} */
  poll(timeoutMs: number): StopReply | undefined {
    if (!this.#running) return this.kept();
    const end = performance.now() + timeoutMs;
    for (;;) {
      const text = this.connection.next(Math.max(0, end - performance.now()));
      if (text === undefined) return undefined;
      const reply = this.#stopped(text);
      if (reply !== undefined) return reply;
    }
  }

  /** A stop that came while the guest was asked to stop for another reason; it is given once. */
  kept(): StopReply | undefined {
    const kept = this.#kept;
    this.#kept = undefined;
    return kept;
  }

  /** A stop that has come already, without a look at the links. */
  arrived(): StopReply | undefined {
    const text = this.#running ? this.connection.arrived() : undefined;
    return text === undefined ? undefined : this.#stopped(text);
  }

  /** Stops the guest if it runs. What it reports instead of being stopped is kept for the next `poll`. */
  halt(): void {
    if (!this.#running) return;
    this.connection.interrupt();
    const reply = this.poll(this.#haltMs);
    if (reply === undefined) throw new GoneError(`the guest did not stop within ${this.#haltMs / 1000} s`);
    if (reply.kind === "ended" || reply.signal !== SIGINT) this.#kept = reply;
  }

  /** Forgets a stop that nobody was told of: the guest was put somewhere else. */
  forgetStop(): void {
    this.#kept = undefined;
  }

  #run(how: string): void {
    this.#begin();
    this.connection.post(how);
  }

  #begin(): void {
    for (const listener of this.#beforeRunning) listener();
    this.generation++;
    this.#running = true;
    this.#selected = undefined;
    this.#prefetched = undefined;
  }

  #stopped(text: string): StopReply | undefined {
    // The end of one step reads like that of the one before.
    const reply = text === this.#told?.text ? this.#told.reply : parseStopReply(text);
    this.#told = { text, reply };
    // Anything else (console output of the stub, an empty answer) is no end of the run.
    if (reply === undefined) {
      if (isError(text) || text === "") {
        throw new GoneError(`the stub refuses to run the guest: ${text || "no answer"}`);
      }
      return undefined;
    }
    this.#running = false;
    if (reply.kind === "signal") this.#prefetch(reply);
    return reply;
  }

  /** Whoever hears of a stop looks at its registers: they are asked for before they are wanted. */
  #prefetch({ thread = this.threads.length === 1 ? this.threads[0] : undefined }: { thread?: string }): void {
    if (thread === undefined || !this.threads.includes(thread)) return;
    // The vCPU that stopped is the one that is meant from now on (E.3, `thread`).
    this.#selected = thread;
    const asked: Prefetched = { thread, generation: this.generation, answer: undefined };
    this.#prefetched = asked;
    this.connection.ask("g", (answer) => asked.answer = answer);
  }

  #document(name: string): string {
    let text = "";
    for (;;) {
      const answer = this.connection.request(
        `qXfer:features:read:${name}:${text.length.toString(16)},${XML_CHUNK.toString(16)}`,
      );
      if (!/^[lm]/.test(answer)) throw nonsense(`qXfer of ${name}`, answer);
      text += answer.slice(1);
      if (answer[0] === "l") return text;
      if (text.length > XML_LIMIT || answer.length === 1) throw nonsense(`qXfer of ${name}`, answer);
    }
  }

  #threads(): string[] {
    const threads: string[] = [];
    for (let answer = this.connection.request("qfThreadInfo"); answer.startsWith("m");) {
      threads.push(...answer.slice(1).split(","));
      if (threads.length > THREAD_LIMIT) throw nonsense("qfThreadInfo", answer);
      answer = this.connection.request("qsThreadInfo");
    }
    const bad = threads.find((thread) => !/^(p[0-9a-fA-F]{1,8}\.)?[0-9a-fA-F]{1,8}$/.test(thread));
    if (bad !== undefined || threads.length === 0) throw nonsense("qfThreadInfo", bad ?? "no thread");
    return threads;
  }
}

/** Asks a stub that may still tell of the stop that being connected to is to it. */
function settled(connection: GdbConnection, payload: string): string {
  let answer: string | undefined = connection.request(payload);
  while (answer !== undefined && parseStopReply(answer) !== undefined) answer = connection.next(MONITOR_MS);
  if (answer === undefined) throw new GoneError(`the stub did not answer ${payload.slice(0, 12)}`);
  return answer;
}

/** ENABLE=1,NOIRQ=2,NOTIMER=4; a QEMU that records or replays has the first alone. */
function stepBitsOf(answer: string): number {
  if (!answer.startsWith("ENABLE=")) return 0;
  return [...answer.matchAll(/=([0-9a-f]{1,2})\b/g)].reduce((bits, [, bit]) => bits | parseInt(bit, 16), 0) &
    7;
}

function noDescription(): TargetDescription {
  throw new InputError("the stub does not describe its registers (qXfer:features:read)", {
    remedy: "use a newer stub: hvsh takes no register layout for granted",
  });
}
