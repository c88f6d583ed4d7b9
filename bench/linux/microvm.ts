/** QEMU's `microvm` on /dev/kvm, whose serial console is this process's pipe: the other side of Linux's figures. */
import { findKernel, type HostKernel } from "../../tests/lab/kernel.ts";
import { Obstacle } from "../figure.ts";

/** Options for all of them: the processor that KVM has, modern virtio as hvsh has it, nothing that is not asked for. */
export const MICROVM: readonly string[] = [
  ...["-M", "microvm", "-accel", "kvm", "-cpu", "host", "-global", "virtio-mmio.force-legacy=false"],
  ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"],
];

/** Debian's kernel that is installed here. @throws {Obstacle} If there is none. */
export function kernelHere(): HostKernel {
  try {
    return findKernel();
  } catch (cause) {
    throw new Obstacle(
      `there is no kernel to boot: ${cause instanceof Error ? cause.message : cause}`,
      "install Debian's linux-image-amd64",
    );
  }
}

/** A QEMU that runs. Disposal kills it. */
export class QemuGuest implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #output: ReadableStreamDefaultReader<string>;
  /** What it has printed since the last pattern. */
  #text = "";

  /** @throws {Obstacle} If there is no QEMU. */
  constructor(args: readonly string[]) {
    try {
      this.#child = new Deno.Command("qemu-system-x86_64", {
        args: [...args],
        stdin: "piped",
        stdout: "piped",
        stderr: "inherit",
      }).spawn();
    } catch (cause) {
      if (!(cause instanceof Deno.errors.NotFound)) throw cause;
      throw new Obstacle("there is no qemu-system-x86_64", "apt-get install qemu-system-x86");
    }
    this.#input = this.#child.stdin.getWriter();
    this.#output = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** The process. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Types on its console. */
  async send(text: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(text));
  }

  /**
   * Waits for what its guest prints.
   *
   * @returns The match; its `input` is all that was printed since the last one.
   * @throws {Obstacle} If it ends before, or takes longer than `limitMs`: it is killed then.
   */
  async until(pattern: RegExp | string, limitMs: number): Promise<RegExpMatchArray> {
    const timer = setTimeout(() => this.#kill(), limitMs);
    try {
      for (;;) {
        const match = this.#text.match(pattern);
        if (match !== null) {
          this.#text = this.#text.slice(match.index! + match[0].length);
          return match;
        }
        const { value, done } = await this.#output.read();
        if (done) break;
        this.#text += value;
      }
    } finally {
      clearTimeout(timer);
    }
    throw new Obstacle(
      `QEMU's guest did not say ${pattern} within ${limitMs / 1000} s, or QEMU ended: ${
        this.#text.slice(-300)
      }`,
      "run it by hand and see",
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#kill();
    await this.#child.status;
    await Promise.allSettled([this.#output.cancel(), this.#input.abort()]);
  }

  #kill(): void {
    try {
      this.#child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error; // it has ended
    }
  }
}
