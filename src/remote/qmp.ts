/** QEMU's machine protocol, as a client (docs/interop/qmp-spec.txt): one command at a time, and events. */
import { HvshError } from "../vm/errors.ts";
import { GoneError } from "./gone.ts";
import type { Links, Stream } from "./link.ts";

/** A line longer than that is no answer to anything asked here. */
const LINE_LIMIT = 8 << 20;
/** Events kept until somebody looks at them; the oldest go first. */
const EVENT_LIMIT = 256;
const ANSWER_MS = 30_000;

/** What QEMU reports by itself. */
export interface QmpEvent {
  /** "SHUTDOWN", "STOP", ... */
  readonly event: string;
  /** What it adds. */
  readonly data: Readonly<Record<string, unknown>>;
}

/** QEMU refused a command, in its own words. */
export class QmpError extends HvshError {
  override name = "QmpError";
  /** "GenericError", "CommandNotFound", ... */
  readonly kind: string;

  constructor(command: string, kind: string, description: string) {
    super(`QEMU refuses ${command}: ${description}`, {
      remedy: "see QEMU's QMP reference for what it takes",
    });
    this.kind = kind;
  }
}

/** A connection to QEMU's monitor. */
export class QmpConnection {
  /** How many events were dropped because nobody took them. */
  dropped = 0;
  readonly #links: Links;
  readonly #stream: Stream;
  readonly #decoder = new TextDecoder();
  readonly #answerMs: number;
  readonly #events: QmpEvent[] = [];
  #partial = "";
  #answer: Record<string, unknown> | undefined;
  #greeting: Record<string, unknown> | undefined;
  #gone: string | undefined;
  #next = 1;

  /** Takes the greeting and leaves negotiation mode. @throws {GoneError} If nobody greets. */
  constructor(links: Links, stream: Stream, answerMs = ANSWER_MS) {
    this.#answerMs = answerMs;
    this.#links = links;
    this.#stream = stream;
    links.add(stream, (bytes) => this.#take(bytes), true);
    if (
      !links.until(() => this.#greeting !== undefined || this.#over, this.#answerMs, true) ||
      this.#greeting === undefined
    ) {
      throw new GoneError(this.#gone ?? "nothing that speaks QMP answers there", {
        remedy: "check the address, and whether another client has that socket: QEMU greets one at a time",
      });
    }
    this.execute("qmp_capabilities");
  }

  /** QEMU's version, such as "7.2.22". */
  get version(): string {
    const greeting = this.#greeting as { QMP?: { version?: { qemu?: Record<string, number> } } } | undefined;
    const { major, minor, micro } = greeting?.QMP?.version?.qemu ?? {};
    return `${major ?? "?"}.${minor ?? "?"}.${micro ?? "?"}`;
  }

  /**
   * Runs a command.
   *
   * @returns What QEMU returns: an object or an array for most, `{}` for those that return nothing.
   * @throws {QmpError} If QEMU refuses.
   * @throws {GoneError} If it does not answer.
   */
  execute(command: string, args?: Readonly<Record<string, unknown>>): unknown {
    if (this.#over) throw new GoneError(this.#gone ?? "QEMU closed its monitor");
    const id = this.#next++;
    this.#answer = undefined;
    const text = JSON.stringify({ execute: command, ...(args && { arguments: args }), id });
    this.#stream.send(new TextEncoder().encode(text + "\n"));
    const answer = this.#wait(id);
    if (answer === undefined) {
      this.#gone ??= `QEMU's monitor did not answer ${command} within ${this.#answerMs / 1000} s`;
      throw new GoneError(this.#stream.ended ? "QEMU closed its monitor" : this.#gone);
    }
    const { error } = answer as { error?: { class?: unknown; desc?: unknown } };
    if (error !== undefined) throw new QmpError(command, String(error.class), String(error.desc));
    return answer.return;
  }

  /** Runs a command of the human monitor, and gives what it prints. @throws {QmpError} @throws {GoneError} */
  monitor(line: string, cpu?: number): string {
    const args = { "command-line": line, ...(cpu !== undefined && { "cpu-index": cpu }) };
    return String(this.execute("human-monitor-command", args)).replaceAll("\r\n", "\n");
  }

  /** The oldest event with that name, which is taken away; undefined if none came within `timeoutMs`. */
  event(name: string, timeoutMs = 0): QmpEvent | undefined {
    const index = () => this.#events.findIndex(({ event }) => event === name);
    this.#links.until(() => index() >= 0 || this.#over, timeoutMs, true);
    const found = index();
    return found < 0 ? undefined : this.#events.splice(found, 1)[0];
  }

  /** Forgets the events that nobody took. */
  forget(): void {
    this.#events.length = 0;
  }

  /** The answer to the command with this id; one to an earlier command is dropped. */
  #wait(id: number): Record<string, unknown> | undefined {
    this.#links.until(() => this.#answer?.id === id || this.#over, this.#answerMs, true);
    return this.#answer?.id === id ? this.#answer : undefined;
  }

  get #over(): boolean {
    return this.#stream.ended || this.#gone !== undefined;
  }

  #take(bytes: Uint8Array): void {
    const text = this.#partial + this.#decoder.decode(bytes, { stream: true });
    const lines = text.split("\n");
    this.#partial = lines.pop() ?? "";
    if (this.#partial.length > LINE_LIMIT) {
      this.#gone ??= "what answers as QMP sends a line without end";
      this.#partial = "";
    }
    for (const line of lines) if (line.trim() !== "") this.#message(line);
  }

  #message(line: string): void {
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch (cause) {
      this.#gone ??= `what answers as QMP is no JSON: ${cause instanceof Error ? cause.message : cause}`;
      return;
    }
    if (typeof message !== "object" || message === null) return;
    const fields = message as Record<string, unknown>;
    if ("QMP" in fields) this.#greeting ??= fields;
    else if (typeof fields.event === "string") this.#keep(fields.event, fields.data);
    else if ("return" in fields || "error" in fields) this.#answer = fields;
  }

  #keep(event: string, data: unknown): void {
    if (this.#events.length === EVENT_LIMIT) {
      this.#events.shift();
      this.dropped++;
    }
    const fields = typeof data === "object" && data !== null ? data as Record<string, unknown> : {};
    this.#events.push({ event, data: fields });
  }
}
