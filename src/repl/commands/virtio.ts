/** virtio: devices, what was agreed on with the driver, queues and the chains that wait in them. */
import type { Chain, GuestMachine, VirtioView } from "../../dsl/mod.ts";
import { HvshError, InputError } from "../../dsl/nouns.ts";
import type { Answer } from "../command.ts";
import { hex, table } from "../render/text.ts";
import type { Session } from "../session.ts";
import { guest } from "./selected.ts";

/** Chains shown of one queue. */
const CHAINS = 8;

/** What can be asked for. */
export function virtioNames(vm: GuestMachine): string[] {
  return [...vm.virtio.keys()];
}

/** `virtio`, `virtio NAME`. */
export function virtio(session: Session, name: string): Answer {
  const devices = guest(session).virtio;
  if (name === "") {
    if (devices.size === 0) return { text: "No virtio devices.\n", data: [] };
    const rows = [...devices].map(([name, device]) => [
      session.style.symbol(name),
      `id ${device.type.id}`,
      stateOf(device),
      `${device.setups.filter(({ ready }) => ready).length} of ${device.setups.length} queues`,
    ]);
    return {
      text: table(rows, session.width),
      data: [...devices].map(([name, device]) => dataOf(name, device)),
    };
  }
  const device = devices.get(name);
  if (device === undefined) {
    throw new InputError(`There is no virtio device "${name}"`, {
      remedy: `virtio devices: ${[...devices.keys()].join(", ") || "none"}`,
    });
  }
  const shown = device.inspect();
  const lines = [
    `${session.style.heading(name)}: id ${device.type.id}, ${stateOf(device)}`,
    `  status    ${shown.statusBits || "none"}`,
    `  features  ${shown.featureBits || "none"}`,
  ];
  for (const [index, { ready }] of device.setups.entries()) {
    if (ready) lines.push(...queueLines(device, index));
  }
  return { text: `${lines.join("\n")}\n`, data: dataOf(name, device) };
}

function stateOf(device: VirtioView): string {
  if (device.fault !== undefined) return `needs a reset: ${device.fault}`;
  return device.live ? "running" : device.status === 0 ? "no driver" : "being set up";
}

function queueLines(device: VirtioView, index: number): string[] {
  const shown = device.inspect();
  const of = (name: string) => shown[`queue${index}.${name}`];
  const chains = waiting(device, index);
  const count = typeof chains === "string"
    ? chains
    : chains.length === 0
    ? "nothing waits"
    : `${chains.length > CHAINS ? `more than ${CHAINS}` : chains.length} waiting`;
  const kind = of("availWrap") === undefined ? "split" : "packed";
  return [
    `  queue ${index}: ${kind}, ${of("size")} entries, avail ${of("avail")}, used ${of("used")}, ${count}`,
    ...(typeof chains === "string"
      ? []
      : chains.slice(0, CHAINS).map((chain) => `    ${chainText(device, chain, index)}`)),
  ];
}

/** The chains that wait, or why they can't be told. */
function waiting(device: VirtioView, index: number): readonly Chain[] | string {
  try {
    return device.waiting(index, CHAINS + 1) ?? [];
  } catch (error) {
    if (!(error instanceof HvshError)) throw error;
    return error.message;
  }
}

function chainText({ type }: VirtioView, chain: Chain, index: number): string {
  const { id, readable, writable } = chain;
  const list = (segments: Chain["readable"]) =>
    segments.map(({ at, length }) => `${hex(at)}+${length}`).join(" ");
  const parts = [
    ...(readable.length > 0 ? [`reads ${list(readable)}`] : []),
    ...(writable.length > 0 ? [`writes ${list(writable)}`] : []),
  ];
  const what = describe(type, chain, index);
  return `chain ${id}: ${what === undefined ? "" : `${what}; `}${parts.join(", ")}`;
}

/** What the device says that a chain asks for; nothing where it can't be read. */
function describe(type: VirtioView["type"], chain: Chain, index: number): string | undefined {
  try {
    const what = type.describe?.(chain, index);
    return typeof what === "function" ? what() : what;
  } catch (error) {
    if (!(error instanceof HvshError)) throw error;
    return undefined;
  }
}

function dataOf(name: string, device: VirtioView): Record<string, unknown> {
  const queues = device.setups.map(({ ready }, index) => {
    const chains = ready ? waiting(device, index) : [];
    const told = typeof chains === "string" ? { fault: chains } : {
      waiting: chains.map(({ id, readable, writable }) => ({ id, readable, writable })),
    };
    return { index, ready, ...told };
  });
  return { name, id: device.type.id, state: stateOf(device), ...device.inspect(), queues };
}
