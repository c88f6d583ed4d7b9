/** What makes the vCPUs of an HVM or PVH domain stop: debug exceptions by vm_event, accesses by an ioreq server. */

import type { EventChannels } from "../host/xen/event_channels.ts";
import type { ReportRange, Traps } from "../vm/backend.ts";
import type { VmExit } from "../vm/exit.ts";
import { Spin } from "../vm/spin.ts";
import type { IoreqServer } from "./ioreq_server.ts";
import type { Monitor } from "./monitor.ts";
import type { QuickSteps, StopStrategy, VcpuEvent } from "./strategy.ts";

/** How they are made, when they are first needed. */
export interface HvmStopperParts {
  readonly channels: EventChannels;
  /** Whether the domain has one vCPU. */
  readonly alone: boolean;
  /** The vm_event listener: for what has to be stepped or trapped. */
  monitor(): Monitor;
  /** The device model, where hvsh is one. */
  readonly server?: IoreqServer;
}

/** Both of them, as one strategy. */
export class HvmStopper implements StopStrategy {
  readonly #parts: HvmStopperParts;
  #monitor: Monitor | undefined;
  #quick: QuickSteps | undefined;
  readonly #spin = new Spin();
  readonly #come = () => this.#reported;

  constructor(parts: HvmStopperParts) {
    this.#parts = parts;
  }

  /** The listener, if something made it necessary. */
  get monitor(): Monitor | undefined {
    return this.#monitor;
  }

  /** The device model, where hvsh is one. */
  get server(): IoreqServer | undefined {
    return this.#parts.server;
  }

  wait(ms: number): boolean {
    if (this.#reported || this.#spin.until(this.#come)) return true;
    const begin = performance.now();
    // An event may be told of what was taken already: then it is waited for again.
    for (let left = ms;; left = Math.max(0, Math.ceil(begin + ms - performance.now()))) {
      if (this.#parts.channels.wait(left) !== undefined && !this.#reported) continue;
      this.#spin.slept(performance.now() - begin);
      return this.#reported;
    }
  }

  /** By the monitor alone: what comes to the device model is left to a pause. */
  get quick(): QuickSteps | undefined {
    if (!this.#parts.alone) return undefined;
    const monitor = this.#ready;
    const { channels } = this.#parts;
    return this.#quick ??= {
      release: (vcpu) => monitor.answer(vcpu),
      tell: () => monitor.tell(),
      wait: (ms) => this.wait(ms),
      take: () => monitor.take()?.exit,
      mend: () => {
        channels.unmask();
        monitor.tell();
      },
    };
  }

  access(): VcpuEvent | undefined {
    return this.#monitor?.reported ? undefined : this.server?.take();
  }

  advance(vcpu: number): VmExit | undefined {
    return this.server?.advance(vcpu);
  }

  mend(): void {
    this.#parts.channels.unmask();
    this.server?.tell();
  }

  answer(vcpu: number): void {
    this.server?.answer(vcpu);
  }

  gather(): VcpuEvent[] {
    const events = this.#monitor?.gather() ?? [];
    for (let event = this.server?.take(); event !== undefined; event = this.server?.take()) {
      events.push(event);
    }
    return events;
  }

  release(kept: ReadonlySet<number>): void {
    this.#monitor?.release(kept);
    this.server?.release(kept);
  }

  refresh(): void {
    // What was set up is Xen's, and no guest can undo it; but a vCPU may have been started.
    this.#monitor?.refresh();
  }

  setStepping(vcpu: number, on: boolean, execute?: boolean): void {
    this.#ready.setStepping(vcpu, on, execute);
  }

  setTraps(traps: Traps): void {
    const armed = traps.int3 || traps.hardware.some((trap) => trap !== undefined);
    if (armed || this.#monitor !== undefined) this.#ready.setTraps(traps);
  }

  /** What else shall be reported. The domain is paused. */
  setReports(wanted: readonly ReportRange[]): void {
    if (wanted.length > 0 || this.#monitor !== undefined) this.#ready.reports.set(wanted);
  }

  close(living: boolean): void {
    this.#monitor?.close(living);
    this.server?.close(living);
    this.#parts.channels[Symbol.dispose]();
  }

  get #ready(): Monitor {
    return this.#monitor ??= this.#parts.monitor();
  }

  get #reported(): boolean {
    return (this.#monitor?.reported ?? false) || (this.server?.ready ?? false);
  }
}
