/** attach and detach: guests that others made. */
import { attach as attachTo } from "../../dsl/attach.ts";
import { InputError } from "../../dsl/nouns.ts";
import type { Answer } from "../command.ts";
import { position, showsContext } from "../render/place.ts";
import type { Session } from "../session.ts";
import { guest, registersOf } from "./selected.ts";

/** `attach xen:NAME|ID`, `attach gdb:ADDRESS`: pauses a guest that others made, and makes it the session's. */
export async function attach(session: Session, rest: string): Promise<Answer> {
  const [, kind, target] = /^(xen|gdb):(.+)$/.exec(rest) ?? [];
  if (kind === undefined) {
    throw new InputError("attach needs to be told to what", {
      remedy: "attach xen:NAME, xen:ID or gdb:HOST:PORT; `domains` lists the domains",
    });
  }
  const vm = await attachTo(
    kind === "xen" ? { backend: "xen", domain: target } : { backend: "gdb", address: target },
  );
  session.vm = vm;
  const place = await placeOf(session);
  const count = vm.vcpus.length === 1 ? "1 vCPU" : `${vm.vcpus.length} vCPUs`;
  return {
    text: `${
      vm.notices.map((notice) => `${notice}.\n`).join("")
    }Attached to ${rest}: ${count}, paused.\n${place.text}`,
    data: {
      backend: vm.backend,
      vcpus: vm.vcpus.length,
      notices: vm.notices,
      ...(place.data as object),
    },
  };
}

/** The context view for who sits at a terminal, to others the place alone, as gdb has it: the disassembler takes long to load. */
async function placeOf(session: Session): Promise<Answer> {
  if (showsContext(session)) {
    const { showPosition } = await import("../render/stop.ts");
    return await showPosition(session);
  }
  const data: Record<string, unknown> = { vcpu: session.vcpu };
  return { text: `${position(session, await registersOf(session), data)}\n`, data };
}

/** `detach`: lets a guest of others go on as it was; one of our own ends. */
export async function detach(session: Session): Promise<Answer> {
  const vm = guest(session);
  const { backend } = vm;
  await vm.close();
  session.vm = undefined;
  return { text: `Detached from the guest on ${backend}.\n`, data: { backend } };
}
