/** The console device (virtio 1.2, 5.3): a console, or several ports with names. */
import type { ConsoleEnd } from "../../vm/console.ts";
import type { DeviceHost } from "../../vm/device.ts";
import { InputError } from "../../vm/errors.ts";
import { bits, flag, list, record } from "../state.ts";
import type { Chain } from "./chain.ts";
import { readConfigBytes } from "./config_bytes.ts";
import { EVENT, MESSAGE_BYTES, MessageQueue, readMessage } from "./console_messages.ts";
import { DriverFault } from "./driver_fault.ts";
import { takeChain } from "./queue.ts";
import { DEVICE_ID } from "./spec.ts";
import type { VirtioLink, VirtioType } from "./virtio_type.ts";

/** Feature bits (5.3.3). */
const FEATURE = { SIZE: 1n << 0n, MULTIPORT: 1n << 1n, EMERG_WRITE: 1n << 2n } as const;

/** Names of the feature bits, for listings. */
const FEATURE_NAMES = new Map([[0, "SIZE"], [1, "MULTIPORT"], [2, "EMERG_WRITE"]]);

/** Offsets in configuration space (5.3.4). */
const CONFIG = { cols: 0, rows: 2, max_nr_ports: 4, emerg_wr: 8 } as const;
const CONFIG_BYTES = 12;

const CONTROL_RECEIVE = 2;
const CONTROL_TRANSMIT = 3;
const QUEUE_SIZE = 128;
const CONTROL_SIZE = 64;
/** Ports of one device at most. */
const PORTS_LIMIT = 31;
/** Most bytes of one write of the driver's: more is no console's. */
const WRITE_LIMIT = 16 << 20;
/** Bytes moved at a time. */
const PIECE_BYTES = 1 << 16;
const NAME_LIMIT = 100;

/** A port, from the host's side. */
export interface VirtioPort {
  /** What the guest finds it by (Linux: /sys/class/virtio-ports/vport0p1/name); none for a plain console. */
  readonly name?: string;
  /** Whether the guest shall take it for a console (Linux: hvc0); as the first port is, if left out. */
  readonly console?: boolean;
  /** Where its bytes go and come from; the machine's console for the first port, if left out. */
  readonly end?: ConsoleEnd;
}

/** What a console device is made of. */
export interface VirtioConsoleOptions {
  /** Unique among a machine's devices; "console0" if left out. */
  readonly name?: string;
  /** Its ports: one console, if left out. */
  readonly ports?: readonly VirtioPort[];
  /** Characters across and down; 80 and 25 if left out. */
  readonly size?: { readonly columns: number; readonly rows: number };
  /**
   * Whether a resize message tells rows before columns, as Linux before 6.17 reads it, against 5.3.6.2. Only with
   * several ports: a single console is resized by its configuration space.
   */
  readonly rowsFirst?: boolean;
}

/** A port's state. */
interface PortState {
  /** The driver has opened it, or needs not. */
  open: boolean;
  /** The driver has taken it up (PORT_READY). */
  ready: boolean;
}

/** A console, or ports. What the guest writes goes to each port's `end` at once; nothing is kept. */
export class VirtioConsole implements VirtioType {
  readonly name: string;
  readonly id: number = DEVICE_ID.console;
  readonly queues: readonly number[];
  readonly features: bigint;
  readonly featureNames: ReadonlyMap<number, string> = FEATURE_NAMES;
  readonly configBytes: number = CONFIG_BYTES;
  readonly #ports: readonly VirtioPort[];
  readonly #rowsFirst: boolean;
  #states: PortState[];
  #size: { columns: number; rows: number };
  #link: VirtioLink | undefined;
  #host: DeviceHost | undefined;
  readonly #inputs = new Map<number, Disposable>();
  readonly #messages = new MessageQueue();
  readonly #buffer = new Uint8Array(PIECE_BYTES);
  #printed = 0;
  #typed = 0;

  /**
   * A console device for `virtio()`.
   *
   * @throws {InputError} If an option makes no sense.
   */
  constructor(options: VirtioConsoleOptions = {}) {
    const { name = "console0", ports = [{}], size = { columns: 80, rows: 25 }, rowsFirst = false } = options;
    if (ports.length < 1 || ports.length > PORTS_LIMIT) {
      throw new InputError(`${name}: a console device has 1 to ${PORTS_LIMIT} ports, not ${ports.length}`, {
        remedy: "leave ports out for one console",
      });
    }
    for (const [i, port] of ports.entries()) checkPort(name, port, i);
    this.name = name;
    this.#ports = ports;
    this.#rowsFirst = rowsFirst;
    this.#states = ports.map(() => ({ open: false, ready: false }));
    this.#size = checkSize(name, size);
    // One unnamed console needs no control queues, and then its size has one way to the guest.
    const multiport = ports.length > 1 || ports[0].name !== undefined || ports[0].console === false;
    this.features = FEATURE.SIZE | FEATURE.EMERG_WRITE | (multiport ? FEATURE.MULTIPORT : 0n);
    const first = [QUEUE_SIZE, QUEUE_SIZE];
    const others = ports.slice(1).flatMap(() => first);
    this.queues = multiport ? [...first, CONTROL_SIZE, CONTROL_SIZE, ...others] : first;
  }

  /** Characters across and down. */
  get size(): { readonly columns: number; readonly rows: number } {
    return this.#size;
  }

  /** Tells the guest that its consoles have another size. @throws {InputError} If one can't be so large. */
  resize(columns: number, rows: number): void {
    this.#size = checkSize(this.name, { columns, rows });
    this.#link?.configChanged();
    this.#states.forEach((_, port) => this.#tellSize(port));
    this.#deliver();
  }

  attach(host: DeviceHost): void {
    this.#host = host;
  }

  detach(): void {
    this.#host = undefined;
  }

  readConfig(offset: number, data: Uint8Array): void {
    readConfigBytes(CONFIG_BYTES, offset, data, (config) => {
      config.setUint16(CONFIG.cols, this.#size.columns, true);
      config.setUint16(CONFIG.rows, this.#size.rows, true);
      config.setUint32(CONFIG.max_nr_ports, this.#ports.length, true);
    });
  }

  /** An emergency write is printed at once, whether a driver is there or not (5.3.5). */
  writeConfig(offset: number, data: Uint8Array): void {
    if (offset === CONFIG.emerg_wr && data.length === 4) this.#end(0)?.print(data.slice(0, 1));
  }

  start(link: VirtioLink): void {
    this.#link = link;
    if (!this.#multiport) this.#open(0, true);
    // After a restore, ports are open already.
    this.#states.forEach(({ open }, port) => open && this.#connect(port));
  }

  stop(): void {
    this.#link = undefined;
    this.#messages.clear();
    this.#states.forEach((state, port) => {
      this.#open(port, false);
      state.ready = false;
    });
  }

  request(chain: Chain, index: number): void | "wait" {
    const control = this.queues.length > 2 && (index === CONTROL_RECEIVE || index === CONTROL_TRANSMIT);
    if (index % 2 === 0) {
      const waiting = control ? this.#messages.take() : undefined;
      if (waiting === undefined) return "wait";
      chain.write(0, waiting);
    } else if (control) {
      if (this.#multiport) this.#control(chain.readAll(MESSAGE_BYTES));
      this.#deliver();
    } else this.#print(index < CONTROL_RECEIVE ? 0 : (index >> 1) - 1, chain);
  }

  save(): unknown {
    return { ports: this.#states.map((s) => ({ ...s })), size: this.#size, messages: this.#messages.save() };
  }

  restore(saved: unknown): void {
    const byte = bits(8);
    const state = record({
      ports: list(record<PortState>({ open: flag, ready: flag }), this.#ports.length, this.#ports.length),
      size: record({ columns: bits(16), rows: bits(16) }),
      messages: list(list(byte, MESSAGE_BYTES, MESSAGE_BYTES + NAME_LIMIT), 0, 8 * PORTS_LIMIT),
    })(saved, this.name);
    this.stop();
    this.#states = state.ports;
    this.#size = state.size;
    this.#messages.restore(state.messages);
  }

  inspect(): Record<string, number | string> {
    const open = this.#ports.flatMap(({ name }, i) => this.#states[i].open ? [name ?? `port${i}`] : []);
    return {
      size: `${this.#size.columns}x${this.#size.rows}`,
      open: open.join(" "),
      bytesPrinted: this.#printed,
      bytesTyped: this.#typed,
    };
  }

  get #multiport(): boolean {
    return ((this.#link?.features ?? 0n) & FEATURE.MULTIPORT) !== 0n;
  }

  /** The other side of a port; none while the device is no part of a machine. */
  #end(port: number): ConsoleEnd | undefined {
    return this.#ports[port]?.end ?? (port === 0 ? this.#host?.console : undefined);
  }

  #print(port: number, chain: Chain): void {
    const { readableBytes } = chain;
    if (readableBytes > WRITE_LIMIT) {
      throw new DriverFault(
        `${readableBytes} bytes were written to a port at once, more than ${WRITE_LIMIT}`,
      );
    }
    const end = this.#end(port);
    for (let done = 0; done < readableBytes;) {
      const got = chain.read(done, this.#buffer);
      end?.print(this.#buffer.slice(0, got));
      done += got;
    }
    this.#printed += readableBytes;
  }

  /** Puts typed bytes into the driver's buffers; gives how many they took. */
  #type(port: number, bytes: Uint8Array): number {
    const index = port === 0 ? 0 : 2 * port + 2;
    let done = 0;
    this.#link?.work(() => {
      while (done < bytes.length) {
        const queue = this.#link?.queue(index);
        const chain = queue && takeChain(queue);
        if (chain === undefined) return;
        // A buffer without room would never end.
        if (chain.writableBytes === 0) throw new DriverFault("a buffer for what is typed has no room");
        done += chain.write(0, bytes.subarray(done));
        this.#link?.complete(index, chain);
      }
    });
    this.#typed += done;
    return done;
  }

  /** What the driver said (5.3.6.2); what is unknown or of no port of ours is ignored. */
  #control(bytes: Uint8Array): void {
    const read = readMessage(bytes);
    if (read === undefined) return;
    const { id, event, value } = read;
    if (event === EVENT.DEVICE_READY) {
      if (value === 1) this.#ports.forEach((_, port) => this.#messages.add(port, EVENT.DEVICE_ADD, 1));
      return;
    }
    const state = this.#states[id];
    if (state === undefined) return;
    if (event === EVENT.PORT_READY && value === 1) {
      state.ready = true;
      const { name, console = id === 0 } = this.#ports[id];
      if (console) this.#messages.add(id, EVENT.CONSOLE_PORT, 1);
      if (name !== undefined) this.#messages.add(id, EVENT.PORT_NAME, 1, new TextEncoder().encode(name));
      this.#messages.add(id, EVENT.PORT_OPEN, 1);
      this.#tellSize(id);
    } else if (event === EVENT.PORT_OPEN) this.#open(id, value === 1);
  }

  #tellSize(port: number): void {
    const { console = port === 0 } = this.#ports[port];
    if (!this.#multiport || !this.#states[port].ready || !console) return;
    const { columns, rows } = this.#size;
    const size = this.#rowsFirst ? [rows, columns] : [columns, rows];
    const more = Uint8Array.from(size.flatMap((n) => [n & 0xff, n >> 8]));
    this.#messages.add(port, EVENT.RESIZE, 0, more);
  }

  /** Gives the driver what it has buffers for. */
  #deliver(): void {
    this.#link?.work(() => {
      while (this.#messages.length > 0) {
        const queue = this.#link?.queue(CONTROL_RECEIVE);
        const chain = queue && takeChain(queue);
        if (chain === undefined) return;
        chain.write(0, this.#messages.take()!);
        this.#link?.complete(CONTROL_RECEIVE, chain);
      }
    });
  }

  #open(port: number, open: boolean): void {
    this.#states[port].open = open;
    if (open) return this.#connect(port);
    this.#inputs.get(port)?.[Symbol.dispose]();
    this.#inputs.delete(port);
  }

  #connect(port: number): void {
    if (this.#inputs.has(port)) return;
    const input = this.#end(port)?.connect((bytes) => this.#type(port, bytes));
    if (input !== undefined) this.#inputs.set(port, input);
  }
}

function checkPort(device: string, { name }: VirtioPort, index: number): void {
  const bytes = name === undefined ? 1 : new TextEncoder().encode(name).length;
  if (bytes >= 1 && bytes <= NAME_LIMIT) return;
  throw new InputError(`${device}: the name of port ${index} has ${bytes} bytes`, {
    remedy: `give one of 1 to ${NAME_LIMIT}, or none`,
  });
}

function checkSize(
  device: string,
  { columns, rows }: { columns: number; rows: number },
): { columns: number; rows: number } {
  for (const n of [columns, rows]) {
    if (!Number.isInteger(n) || n < 1 || n > 0xffff) {
      throw new InputError(`${device}: a console can't have ${columns} columns and ${rows} rows`, {
        remedy: "give 1 to 65535 of each",
      });
    }
  }
  return { columns, rows };
}
