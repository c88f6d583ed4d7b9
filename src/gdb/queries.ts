/** General queries: q and Q packets that ask about the target (GDB manual, E.4). */
import { addressAndLength, ascii, hexNumber, hexText, PacketError } from "./text.ts";
import { MEMORY_MAP, memoryRegion } from "./memory.ts";
import { DATA_BYTES, PACKET_BYTES } from "./sizes.ts";
import { TARGET_XML } from "./layout.ts";
import { threadChoice, threadId } from "./threads.ts";
import type { Machine } from "../vm/machine.ts";

/** What the client said it can do. */
export interface ClientFeatures {
  multiprocess: boolean;
  /** `swbreak+` or `hwbreak+`: the client wants stop replies to tell a breakpoint from other traps. */
  breakpointReasons: boolean;
  /** `error-message+`: errors may be sentences. */
  errorMessages: boolean;
}

/** The answer to `qSupported`; notes what the client said. @param reverses Whether the guest can go back. */
export function supported(text: string, features: ClientFeatures, reverses = false): string {
  const offered = text.split(/[:;]/).slice(1);
  features.multiprocess = offered.includes("multiprocess+");
  features.breakpointReasons = offered.includes("swbreak+") || offered.includes("hwbreak+");
  features.errorMessages = offered.includes("error-message+");
  return [
    `PacketSize=${PACKET_BYTES.toString(16)}`,
    "QStartNoAckMode+",
    ...(features.multiprocess ? ["multiprocess+"] : []),
    "vContSupported+",
    "swbreak+",
    "hwbreak+",
    "ConditionalBreakpoints+",
    ...(reverses ? ["ReverseStep+", "ReverseContinue+"] : []),
    "qXfer:features:read+",
    "qXfer:memory-map:read+",
    "qXfer:threads:read+",
    "binary-upload+",
  ].join(";");
}

/** `qXfer:OBJECT:read:ANNEX:OFFSET,LENGTH`: a part of a document. Undefined for an object that there is not. */
export function transfer(text: string, vm: Machine, multiprocess: boolean): Uint8Array | undefined {
  const [, object, verb, annex, range] = text.split(":");
  const document = verb === "read" ? documentOf(object, annex, vm, multiprocess) : undefined;
  if (document === undefined) return undefined;
  const { address, length } = addressAndLength(range ?? "");
  const whole = ascii(document);
  if (address > BigInt(whole.length)) throw new PacketError("that is behind the end of the document");
  const from = Number(address);
  const part = whole.subarray(from, from + Math.min(length, DATA_BYTES));
  const out = new Uint8Array(part.length + 1);
  out[0] = (from + part.length < whole.length ? "m" : "l").charCodeAt(0);
  out.set(part, 1);
  return out;
}

function documentOf(object: string, annex: string, vm: Machine, multiprocess: boolean): string | undefined {
  switch (object) {
    case "features":
      if (annex !== "target.xml") throw new PacketError(`there is no description ${annex.slice(0, 40)}`, 0);
      return TARGET_XML;
    case "memory-map":
      return MEMORY_MAP;
    case "threads": {
      const threads = vm.vcpus.map(({ index }) =>
        `<thread id="${threadId(index, multiprocess)}" core="${index}" name="vCPU ${index}"/>\n`
      );
      return `<?xml version="1.0"?>\n<threads>\n${threads.join("")}</threads>\n`;
    }
    default:
      return undefined;
  }
}

/** Queries whose answer hangs on nothing but the machine; undefined for those that it is not for. */
export function query(text: string, vm: Machine, multiprocess: boolean, current: number): string | undefined {
  const name = /^q[A-Za-z.]+/.exec(text)?.[0];
  switch (name) {
    case "qfThreadInfo":
      return `m${vm.vcpus.map(({ index }) => threadId(index, multiprocess)).join(",")}`;
    case "qsThreadInfo":
      return "l";
    case "qThreadExtraInfo": {
      const vcpu = threadChoice(text.slice(name.length + 1), vm.vcpus.length);
      const running = vm.state === "running" ? ", running" : "";
      return hexText(`${vm.backend}${typeof vcpu === "number" ? ` vCPU ${vcpu}` : ""}${running}`);
    }
    case "qC":
      return `QC${threadId(current, multiprocess)}`;
    case "qAttached":
      // A client that leaves without a word detaches: the guest is not its to kill.
      return "1";
    case "qSymbol":
      return "OK";
    case "qHostInfo":
      return `triple:${hexText("x86_64-unknown-none")};endian:little;ptrsize:8;`;
    case "qMemoryRegionInfo":
      return memoryRegion(hexNumber(text.slice(name.length + 1)));
    case "qProcessInfo":
      return `pid:1;triple:${hexText("x86_64-unknown-none")};endian:little;ptrsize:8;`;
    default:
      return undefined;
  }
}
