/** The device model of an HVM or PVH domain: its vCPUs' accesses to ports and to addresses without memory come here. */

import type { DeviceModel } from "../host/xen/device_model.ts";
import type { EventChannels } from "../host/xen/event_channels.ts";
import type { ForeignMemory } from "../host/xen/foreign_memory.ts";
import type { VmExit } from "../vm/exit.ts";
import { TRAP_PORT } from "../vm/trap_port.ts";
import { CROSSING_PORT } from "./crossing.ts";
import type { Marks } from "./marks.ts";
import { type Memory, type Request, RequestSlot } from "./requests.ts";
import type { VcpuEvent } from "./strategy.ts";

/** The last port, and the last guest-physical address that any processor has. */
const LAST_PORT = 0xffffn;
const LAST_ADDRESS = (1n << 52n) - 1n;

/** Where the guest names a register of configuration space: enable, bus, function, register (PCI 2.2, 3.2.2.3.2). */
const PCI_ADDRESS = 0xcf8;
/** In the highest byte. */
const PCI_ENABLE_BIT = 0x80;

/** The debugger's patches, and what a step over an instruction that Xen finishes ends with. */
const DEBUGGER_PORTS = [BigInt(TRAP_PORT), BigInt(CROSSING_PORT)];

/** What a server needs of the domain. */
export interface ServerParts {
  readonly domain: number;
  readonly vcpus: number;
  readonly model: DeviceModel;
  readonly foreign: ForeignMemory;
  readonly channels: EventChannels;
  readonly memory: Memory;
  /** Whether everything comes here that nobody answers; if not, the debugger's own ports and what is claimed. */
  readonly everything: boolean;
  /** A vCPU's RAX now; the domain is paused. */
  rax(vcpu: number): bigint;
  /** Where it is written down what is in the domain. */
  readonly marks?: Marks;
  /** Sends a vCPU back that executed an OUT of the debugger's to `port`, where that stands no more. */
  rewind?(vcpu: number, port: number): void;
}

/**
 * Answers every access that neither Xen nor another server answers, or those alone that are claimed: Xen asks the newest
 * server first (hvm/ioreq.c, ioreq_server_select), so that a claim goes before QEMU's. A vCPU that waits for an answer
 * stands still; the others, and the domain's pause count, are left alone.
 */
export class IoreqServer {
  readonly #parts: ServerParts;
  readonly #id: number;
  readonly #slots: readonly RequestSlot[];
  readonly #ports: readonly number[];
  readonly #cleanup: DisposableStack;
  /** PCI functions of bus 0 that are claimed: device and function, as port 0xcf8 has them. */
  readonly #functions = new Set<number>();
  #living = true;

  /**
   * @param left The number of one whose process is no more: it is taken over, with what waits for an answer of its.
   * @throws {HostError} If Xen refuses.
   */
  constructor(parts: ServerParts, left?: number) {
    this.#parts = parts;
    const { domain, vcpus, model, foreign, channels, marks } = parts;
    using cleanup = new DisposableStack();
    const id = this.#id = left ?? model.createServer(domain);
    marks?.deviceModel(id);
    cleanup.defer(() => this.#leave());
    if (left !== undefined) {
      // It has what it needs.
    } else if (parts.everything) {
      model.claim(domain, id, "port", 0n, LAST_PORT);
      model.claim(domain, id, "mmio", 0n, LAST_ADDRESS);
    } else for (const port of DEBUGGER_PORTS) model.claim(domain, id, "port", port, port);
    const { view } = cleanup.use(foreign.mapRequests(domain, id));
    model.enableServer(domain, id, true);
    this.#slots = Array.from({ length: vcpus }, (_, vcpu) => new RequestSlot(view, vcpu, parts.memory));
    if (left !== undefined) { for (const slot of this.#slots) slot.giveBack(); }
    this.#ports = this.#slots.map((slot) => channels.bind(domain, slot.remotePort));
    this.#cleanup = cleanup.move();
  }

  /** Makes accesses to a range come here. @throws {HostError} If Xen refuses. */
  claim(space: "port" | "mmio", first: bigint, last: bigint): void {
    this.#parts.model.claim(this.#parts.domain, this.#id, space, first, last);
  }

  /** Takes back what `claim` did. */
  unclaim(space: "port" | "mmio", first: bigint, last: bigint): void {
    this.#parts.model.unclaim(this.#parts.domain, this.#id, space, first, last);
  }

  /** Makes accesses to the configuration space of a PCI function of bus 0 come here. @throws {HostError} If Xen refuses. */
  claimFunction(slot: number, number: number): void {
    this.#parts.model.claimFunction(this.#parts.domain, this.#id, slot, number);
  }

  /** Takes back what `claimFunction` did. */
  unclaimFunction(slot: number, number: number): void {
    this.#parts.model.unclaimFunction(this.#parts.domain, this.#id, slot, number);
  }

  /** Whether there is an access that was not taken. */
  get ready(): boolean {
    for (const slot of this.#slots) if (slot.ready) return true;
    return false;
  }

  /** The next access; undefined if none waits. Nothing is called once it is taken: see step_burst.ts. */
  take(): VcpuEvent | undefined {
    for (let vcpu = 0; vcpu < this.#slots.length; vcpu++) {
      const slot = this.#slots[vcpu];
      if (!slot.ready) continue;
      const request = slot.take();
      if (request !== undefined) return { vcpu, exit: request.exit };
      this.#parts.channels.notify(this.#ports[vcpu]);
    }
    return undefined;
  }

  /** Has every vCPU look for an answer; once too often is harmless. */
  tell(): void {
    for (const port of this.#ports) this.#parts.channels.notify(port);
  }

  /** The request that a vCPU waits for. */
  request(vcpu: number): Request | undefined {
    return this.#slots[vcpu].request;
  }

  /** Takes the answer to a vCPU's last access; gives the next one of the same instruction. */
  advance(vcpu: number): VmExit | undefined {
    return this.#slots[vcpu].advance();
  }

  /**
   * For the debugger's eyes: RAX as it will be once the vCPU goes on. From now on it is RAX that tells Xen the answer.
   * Undefined where RAX stays.
   */
  settle(vcpu: number): ((rax: bigint) => bigint) | undefined {
    const slot = this.#slots[vcpu];
    const { request } = slot;
    if (request === undefined || !request.simple || request.settled) return undefined;
    request.settled = true;
    if (!request.read) return undefined;
    const { width, answer } = slot;
    const bits = BigInt(8 * width);
    // A write of 32 bits clears the rest (SDM vol. 1, 3.4.1.1).
    return (rax) => width === 4 ? answer : BigInt.asUintN(64, rax >> bits << bits) | answer;
  }

  /** Answers a vCPU: it goes on. */
  answer(vcpu: number): void {
    const slot = this.#slots[vcpu];
    const { request } = slot;
    if (request === undefined) return;
    if (this.#parts.everything) this.#claimNamed(request.exit);
    if (request.settled && request.read) slot.setAnswer(this.#parts.rax(vcpu));
    slot.post();
    this.#parts.channels.notify(this.#ports[vcpu]);
  }

  /**
   * Xen sends accesses to configuration space to who has claimed the function, and never to who has the ports
   * (hvm/ioreq.c, arch_ioreq_server_get_type_addr): each is claimed when the guest first names it at port 0xcf8.
   */
  #claimNamed(exit: VmExit): void {
    if (exit.kind !== "io-out" || exit.port !== PCI_ADDRESS || exit.data.length !== 4) return;
    const [, place, bus, enable] = exit.data;
    if (bus !== 0 || (enable & PCI_ENABLE_BIT) === 0 || this.#functions.has(place)) return;
    this.#functions.add(place);
    this.claimFunction(place >> 3, place & 7);
  }

  /** Answers every vCPU that waits but for those in `kept`. */
  release(kept: ReadonlySet<number>): void {
    for (const vcpu of this.#slots.keys()) if (!kept.has(vcpu)) this.answer(vcpu);
  }

  /**
   * Ends it. What still waits for an answer is given the one it has so far.
   *
   * @param living Whether there is a domain still. What is left of one that was destroyed stays in Xen for as long as the
   *   page is mapped here.
   */
  close(living: boolean): void {
    if (this.#cleanup.disposed) return;
    this.#living = living;
    if (living) {
      for (let event = this.take(); event !== undefined; event = this.take());
      this.#rewind();
      this.release(new Set());
    }
    this.#cleanup.dispose();
  }

  /** Breakpoints that were hit and that nobody has heard of: the guest's own instruction there was not run yet. */
  #rewind(): void {
    for (const [vcpu, { request }] of this.#slots.entries()) {
      if (request === undefined || request.moved || request.exit.kind !== "io-out") continue;
      const { port } = request.exit;
      if (DEBUGGER_PORTS.includes(BigInt(port))) this.#parts.rewind?.(vcpu, port);
    }
  }

  #leave(): void {
    if (!this.#living) return;
    this.#parts.model.destroyServer(this.#parts.domain, this.#id);
    this.#parts.marks?.deviceModel(undefined);
  }
}
