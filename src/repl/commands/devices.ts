/** device_add, device_del, devices, device, irq and nmi. */
import type { Device, DeviceHandle, GuestMachine } from "../../dsl/mod.ts";
import { decodeBits, InputError } from "../../dsl/nouns.ts";
import type { Answer } from "../command.ts";
import { hex, table } from "../render/text.ts";
import type { Session } from "../session.ts";
import { vcpuIndex } from "./breakpoints.ts";
import { plugByName } from "./plug.ts";
import { guest } from "./selected.ts";
import { evaluate, evaluateCount, splitExpressions } from "./values.ts";

let loads = 0;

/** `device_add FILE.ts` or `device_add EXPRESSION`: a device, a class of one, or a function that gives one. */
export async function deviceAdd(session: Session, rest: string): Promise<Answer> {
  const vm = guest(session);
  if (rest === "") {
    throw new InputError("device_add needs a file or an expression", {
      remedy:
        'device_add answer.ts, device_add {name: "answer", ports: {start: 0x777, length: 1}, read(o, d) {d[0] = 42}}',
    });
  }
  const plugged = await plugByName(vm, rest);
  if (typeof plugged === "string") return { text: `${plugged} is plugged in.\n`, data: { id: plugged } };
  if (plugged !== undefined) {
    return { text: `${plugged.name}: ${rangesOf(plugged)}\n`, data: deviceData(plugged) };
  }
  const file = /^(["']?)([^"'()]+\.[mc]?[tj]s)\1$/.exec(rest)?.[2];
  const given = file === undefined ? await fromExpression(session, rest) : await fromFile(file);
  const handle = await vm.devices.add(asDevice(given));
  return { text: `${handle.name}: ${rangesOf(handle)}\n`, data: deviceData(handle) };
}

async function fromExpression(session: Session, source: string): Promise<unknown> {
  try {
    return await session.evaluate(`(${source})`);
  } catch (cause) {
    // `device_add e1000`: QEMU's devices go by name, ours are objects.
    if (!(cause instanceof Error) || cause.name !== "ReferenceError" || !/^[\w-]+(,|$)/.test(source)) {
      throw cause;
    }
    throw new InputError(`${source} is neither a file nor a variable`, {
      cause,
      remedy:
        "devices are written in TypeScript: a file's export, or an object; docs/devices.md lists those of hvsh",
    });
  }
}

/** The default export of a module, or its export `device`. A query makes a changed file load again. */
async function fromFile(path: string): Promise<unknown> {
  const { pathToFileURL } = await import("node:url");
  const url = pathToFileURL(path);
  try {
    await Deno.stat(url);
  } catch (cause) {
    throw new InputError(`${path} can't be read`, {
      cause,
      remedy: "check the path; it counts from the current folder",
    });
  }
  const module: Record<string, unknown> = await import(`${url.href}?load=${++loads}`);
  const found = module.default ?? module.device;
  if (found !== undefined) return found;
  throw new InputError(`${path} exports no device`, {
    remedy: "export default a device object, its class, or a function that makes one",
  });
}

function asDevice(given: unknown): Device {
  let value = given;
  if (typeof value === "function") {
    const isClass = /^class\b/.test(Function.prototype.toString.call(value));
    value = isClass ? new (value as new () => unknown)() : (value as () => unknown)();
  }
  if (typeof value === "object" && value !== null && "name" in value) return value as Device;
  throw new InputError("That is not a device", {
    remedy: "a device has a name, ports or mmio, and read or write",
  });
}

/** `device_del NAME`. */
export async function deviceDel(session: Session, name: string): Promise<Answer> {
  const handle = named(session, name);
  await handle.remove();
  return { text: "", data: { removed: handle.name } };
}

function named(session: Session, name: string): DeviceHandle {
  const { devices } = guest(session);
  const found = devices.get(name);
  if (found !== undefined) return found;
  throw new InputError(name === "" ? "A device's name is missing" : `There is no device "${name}"`, {
    remedy: `devices: ${devices.list().map((d) => d.name).join(", ") || "none"}`,
  });
}

function rangesOf(handle: DeviceHandle): string {
  return handle.ranges.map((r) => {
    const start = BigInt(r.start);
    const last = start + BigInt(r.length) - 1n;
    const digits = r.space === "port" ? 4 : 8;
    return `${r.space} ${hex(start, digits)}${last > start ? `-${hex(last, digits)}` : ""}`;
  }).join(", ");
}

function deviceData(handle: DeviceHandle): Record<string, unknown> {
  return {
    name: handle.name,
    ...(handle.device.interrupts && { interrupts: handle.device.interrupts }),
    ranges: handle.ranges.map((r) => ({ space: r.space, start: BigInt(r.start), length: BigInt(r.length) })),
  };
}

/** Interrupts and state of a device, in a few words. */
function stateOf({ device }: DeviceHandle): string {
  const { interrupts = [] } = device;
  const irq = interrupts.length > 0 ? `irq ${interrupts.join(", ")}` : "";
  return [irq, device.summary?.() ?? ""].filter(Boolean).join("; ");
}

/** Why neither devices nor accesses are seen here, as a line; empty where they are. */
export function devicesElsewhere({ capabilities }: GuestMachine): string {
  const { usable, reason = "" } = capabilities.get("devices") ?? { usable: true };
  return usable ? "" : `${reason[0].toUpperCase()}${reason.slice(1)}.\n`;
}

/** `devices`: what answers where, by which interrupts it asks for the CPU, and its state. */
export function deviceList(session: Session): Answer {
  const vm = guest(session);
  const list = vm.devices.list();
  if (list.length === 0) return { text: devicesElsewhere(vm) || "No devices.\n", data: [] };
  return {
    text: table(
      list.map((d) => [session.style.symbol(d.name), [rangesOf(d), stateOf(d)].filter(Boolean).join("; ")]),
      session.width,
    ),
    data: list.map(deviceData),
  };
}

/** `device NAME`: ranges and registers. */
export function deviceShow(session: Session, name: string): Answer {
  const handle = named(session, name);
  const registers = handle.device.inspect?.();
  const head = `${session.style.heading(handle.name)}: ${rangesOf(handle)}\n`;
  if (registers === undefined) return { text: `${head}It shows no registers.\n`, data: deviceData(handle) };
  const rows = Object.entries(registers).map(([key, value]) => {
    const bits = handle.device.bits?.[key];
    const set = bits === undefined || typeof value === "string" ? "" : decodeBits(value, bits);
    const shown = typeof value === "string" ? value : hex(value);
    return [`  ${session.style.register(key)}`, set === "" ? shown : `${shown} [${set}]`];
  });
  return { text: head + table(rows, session.width), data: { ...deviceData(handle), registers } };
}

/** `irq N` pulses an interrupt input; `irq N 1` and `irq N 0` set its level. */
export async function irq(session: Session, rest: string): Promise<Answer> {
  const vm = guest(session);
  const [input, level] = splitExpressions(rest);
  if (input === undefined) {
    throw new InputError("irq needs an input's number", { remedy: "irq 4 pulses it, irq 4 1 raises it" });
  }
  const gsi = await evaluateCount(session, input, "The input", 1023n);
  if (level === undefined) await vm.interrupts.pulse(gsi);
  else await vm.interrupts.set(gsi, (await evaluate(session, level)).value !== 0n);
  return { text: "", data: { gsi, ...(level === undefined ? {} : { level }) } };
}

/** `nmi [VCPU]`. */
export async function nmi(session: Session, rest: string): Promise<Answer> {
  const vm = guest(session);
  const vcpu = rest === "" ? session.vcpu : vcpuIndex(vm, (await evaluate(session, rest)).value);
  await vm.interrupts.nmi(vcpu);
  return { text: "", data: { vcpu } };
}
