import { checkTimeout } from "../vm/check.ts";
import { StateError, TimeoutError, UnsupportedError } from "../vm/errors.ts";
import type { Device } from "../vm/device.ts";
import type { Picture } from "../vm/picture.ts";
import type { Vga } from "../devices/vga/vga.ts";
import { unwritable } from "./file_error.ts";
import { find, searching } from "./pattern.ts";
import { encodePng } from "./png.ts";

const DEFAULT_TIMEOUT_MS = 30_000;
/** How often a screen that somebody waits for is looked at. */
const LOOK_MS = 20;

/** What the screen works with. */
export interface ScreenParts {
  /** The machine's devices. */
  readonly devices: () => readonly Device[];
  /** A picture of the hypervisor's own screen, if it has one. */
  readonly picture?: () => Promise<Picture>;
  /** Whether the machine is closed. */
  readonly closed: () => boolean;
}

/** The guest's screen: that of its VGA. */
export class Screen {
  readonly #parts: ScreenParts;

  /** Made by the machine. */
  constructor(parts: ScreenParts) {
    this.#parts = parts;
  }

  /**
   * What a text mode shows: its rows, blanks at their ends left out, with a line feed after each. Characters are those
   * of code page 437, whatever font is loaded. Empty in graphics modes.
   *
   * @throws {UnsupportedError} If the guest has no VGA of hvsh's.
   */
  get text(): string {
    return this.#vga().rows().map((row) => `${row}\n`).join("");
  }

  /**
   * The dots that are on the screen now. Lines and dots that a VGA only doubles come once; the cursor and what blinks
   * are shown.
   *
   * @throws {UnsupportedError} If the guest has no screen.
   */
  async picture(): Promise<Picture> {
    return await this.#parts.picture?.() ?? this.#vga().picture();
  }

  /**
   * The same as a PNG file.
   *
   * @throws {UnsupportedError} If the guest has no screen.
   * @example
   * ```ts
   * import { bootSector, open } from "hvsh";
   * import assert from "node:assert/strict";
   *
   * // mov ax, 0xb800; mov es, ax; mov word [es:0], 0x0741; cli; hlt
   * const code = Uint8Array.of(0xb8, 0, 0xb8, 0x8e, 0xc0, 0x26, 0xc7, 6, 0, 0, 0x41, 7, 0xfa, 0xf4);
   * await using vm = await open({ backend: "fake", boot: bootSector(code) });
   * await vm.continue({ timeoutMs: 5000 });
   * assert.equal(vm.screen.text.trim(), "A");
   * const png = await vm.screen.png(); // await Deno.writeFile("screen.png", png)
   * assert.equal(new TextDecoder().decode(png.subarray(1, 4)), "PNG");
   * ```
   */
  async png(): Promise<Uint8Array<ArrayBuffer>> {
    return await encodePng(await this.picture());
  }

  /**
   * Waits until the text on the screen matches. It never resumes the guest: call `continue()` beside.
   *
   * @param pattern A string is looked for as it stands; `text` is what is looked at, so `^` and `$` want the flag m.
   * @param options `signal` ends the wait: it is then rejected with the signal's reason.
   * @returns The match.
   * @throws {TimeoutError} After `timeoutMs` (default 30 s); shows the screen.
   * @throws {StateError} When the machine is closed.
   * @throws {UnsupportedError} If the guest has no VGA of hvsh's.
   */
  async expect(
    pattern: RegExp | string,
    options: { timeoutMs?: number; signal?: AbortSignal } = {},
  ): Promise<RegExpMatchArray> {
    const { timeoutMs = DEFAULT_TIMEOUT_MS, signal } = options;
    checkTimeout(timeoutMs);
    const regexp = searching(pattern);
    const end = performance.now() + timeoutMs;
    let looked: string | undefined;
    for (;;) {
      signal?.throwIfAborted();
      if (this.#parts.closed()) {
        throw new StateError(`the machine was closed before its screen showed ${pattern}`, "closed");
      }
      const { text } = this;
      regexp.lastIndex = 0;
      const match = text === looked ? undefined : find(regexp, text);
      if (match !== undefined) return match;
      looked = text;
      const left = end - performance.now();
      if (left <= 0) throw missing(pattern, timeoutMs, text);
      await new Promise((resolve) => setTimeout(resolve, Math.min(LOOK_MS, left)));
    }
  }

  #vga(): Vga {
    if (this.#parts.closed()) throw new StateError("the machine is closed, and its screen with it", "closed");
    const vga = this.#parts.devices().find(isVga);
    if (vga !== undefined) return vga;
    throw new UnsupportedError("screen", "the guest has no VGA of hvsh's", {
      remedy: this.#parts.picture !== undefined
        ? "screenshot FILE.png keeps its dots (screen.png())"
        : "open it with vga: true (-vga std) and the default devices, on kvm",
    });
  }
}

function missing(pattern: RegExp | string, timeoutMs: number, text: string): TimeoutError {
  const rows = text.split("\n").filter((row) => row !== "").map((row) => `\n  | ${row}`).join("");
  return new TimeoutError(
    `the screen did not show ${pattern} within ${timeoutMs} ms; it shows:${rows || " no text"}`,
    { remedy: "check that the guest runs: expect() does not resume it, call continue() beside it" },
  );
}

/**
 * Writes a PNG file of the screen.
 *
 * @throws {InputError} If it can't be written there.
 */
export async function writePng(screen: Screen, path: string): Promise<Picture> {
  const picture = await screen.picture();
  const png = await encodePng(picture);
  try {
    await Deno.writeFile(path, png);
  } catch (cause) {
    throw unwritable(path, cause);
  }
  return picture;
}

/** Whether a device is a VGA: told by what it can, so that guests without one need not load it. */
function isVga(device: Device): device is Vga {
  return "rows" in device && "picture" in device;
}
