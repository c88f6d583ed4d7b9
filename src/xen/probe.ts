/** What stops an HVM guest on this processor, tried with a guest of our own. */

import type { HardwareTrap } from "../vm/backend.ts";
import type { Capabilities, Capability, CapabilityName } from "../vm/capabilities.ts";
import { HvshError } from "../vm/errors.ts";
import type { VmExit } from "../vm/exit.ts";
import { AttachedDomain } from "./attached.ts";
import { configFiles, configLines } from "./config.ts";
import { ENTRY, pvhElf } from "./tiny_guest.ts";
import { createPaused, destroy, NAME_PREFIX } from "./xl.ts";

/** How long a guest of a few instructions is given, in milliseconds. */
const LIMIT_MS = 3000;

/** nop; nop; inc [0x8000]; 1: jmp 1b; int3 */
const CODE = [0x90, 0x90, 0xff, 0x05, 0x00, 0x80, 0x00, 0x00, 0xeb, 0xfe, 0xcc];
const NOP = BigInt(ENTRY) + 1n;
const INC = BigInt(ENTRY) + 2n;
const INT3 = BigInt(ENTRY) + 10n;
const WRITTEN = 0x8000n;

/** One thing to try: what is armed, and the exit that shows that it works. */
interface Trial {
  readonly name: CapabilityName;
  readonly hardware: readonly HardwareTrap[];
  readonly int3: boolean;
  /** Where the guest starts. */
  readonly from: bigint;
  readonly how: string;
  readonly touches: readonly string[];
  fired(exit: VmExit): boolean;
}

const debug = (exit: VmExit, vector: number) => exit.kind === "debug" && exit.exception === vector;

/** Last what may end the guest. */
const TRIALS: readonly Trial[] = [
  {
    name: "breakpoint-hardware",
    hardware: [{ address: NOP, access: "execute", size: 1 }],
    int3: false,
    from: BigInt(ENTRY),
    how: "probe: DR0 stopped a PVH guest before an instruction",
    touches: ["DR0..DR3, DR6, DR7"],
    fired: (exit) => debug(exit, 1) && exit.kind === "debug" && exit.pc === NOP,
  },
  {
    name: "watchpoint-hardware",
    hardware: [{ address: WRITTEN, access: "write", size: 4 }],
    int3: false,
    from: INC,
    how: "probe: DR0 stopped a PVH guest behind a write",
    touches: ["DR0..DR3, DR6, DR7"],
    fired: (exit) => debug(exit, 1) && exit.kind === "debug" && (exit.dr6 & 1n) !== 0n,
  },
  {
    name: "breakpoint-int3",
    hardware: [],
    int3: true,
    from: INT3,
    how: "probe: vm_event reported the INT3 of a PVH guest",
    touches: ["guest memory"],
    fired: (exit) => debug(exit, 3) && exit.kind === "debug" && exit.pc === INT3,
  },
];

/** Tries each, in one guest as long as that lives: Xen's toolstack takes a second and more to make one. */
export function probeHvm(): Capabilities {
  using place = new Place();
  return new Map(TRIALS.map((trial) => [trial.name, tryOne(trial, place)]));
}

function tryOne(trial: Trial, place: Place): Capability {
  const { how, touches } = trial;
  const no = (reason: string, remedy: string): Capability => ({
    usable: false,
    how,
    touches,
    reason,
    remedy,
  });
  try {
    const last = run(place.guest(), trial);
    if (trial.fired(last)) return { usable: true, how, touches };
    if (last.kind === "slice") {
      return no("in the probe's PVH guest it never fired", "use single steps, or a watchpoint that steps");
    }
    place.clear();
    return no(
      `the probe's PVH guest ended with it (${last.kind}${"event" in last ? `: ${last.event}` : ""})`,
      "use single steps, or a watchpoint that steps",
    );
  } catch (error) {
    if (!(error instanceof HvshError)) throw error;
    place.clear();
    return no(`it could not be tried: ${error.message}`, error.remedy ?? "see `xl dmesg`");
  }
}

/** Where it is tried: a guest that is made when it is needed, and made anew after it ended. */
class Place implements Disposable {
  #count = 0;
  #name: string | undefined;
  #guest: AttachedDomain | undefined;

  /** @throws {HvshError} If xl fails, with what it said. */
  guest(): AttachedDomain {
    if (this.#guest !== undefined) return this.#guest;
    const name = `${NAME_PREFIX}probe-${Deno.pid}-${this.#count++}`;
    const guest = { kind: "pvh", memory: 16 << 20, cpus: 1, kernel: { image: pvhElf(CODE) } } as const;
    createPaused(name, configLines(guest), configFiles(guest));
    this.#name = name;
    return this.#guest = new AttachedDomain(name, { capabilities: () => new Map(), adopt: true });
  }

  /** Destroys it. */
  clear(): void {
    const name = this.#name;
    const guest = this.#guest;
    this.#guest = this.#name = undefined;
    try {
      guest?.close();
    } finally {
      if (name !== undefined) destroy(name);
    }
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}

/** Lets the guest go until something other than the end of a slice comes, or its time is over. */
function run({ vcpus: [vcpu] }: AttachedDomain, trial: Trial): VmExit {
  vcpu.setRegisters({ rip: trial.from });
  vcpu.setTraps({ hardware: trial.hardware, int3: trial.int3 });
  const end = performance.now() + LIMIT_MS;
  for (;;) {
    const exit = vcpu.run();
    // With something armed a local backend answers at once.
    if (exit instanceof Promise) throw new HvshError("the probe's guest has nothing armed");
    if (exit.kind !== "slice" || performance.now() > end) return exit;
  }
}
