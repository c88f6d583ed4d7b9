/** Compares every structure, request and constant that hvsh types in with what the system's C headers say. */

import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { type Member, members } from "../src/abi/layout.ts";
import { ERRNO } from "../src/abi/errno.ts";
import * as linux from "../src/abi/linux.ts";
import { SlirpConfig } from "../src/abi/slirp.ts";
import { TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ } from "../src/abi/tun.ts";
import {
  EVTCHNSTAT,
  GTF,
  HVM_SAVE,
  ioreq,
  VM_EVENT,
  vm_event_regs_x86,
  VM_EVENT_RING,
  XEN,
  XEN_DOMCTL,
  XEN_STRUCTURES,
} from "../src/abi/xen.ts";
import { CAP, EXIT, FLAG, KVM, KVM_API_VERSION, STRUCTURES } from "../src/kvm/abi.ts";

const decoder = new TextDecoder();

/** What C is asked: an expression, and the number that the tables hold for it. */
interface Question {
  expression: string;
  ours: number;
}

/** Questions about one structure: its size, and offset and size of every member at every depth. */
function structure(
  name: string,
  layout: { size: number } & Parameters<typeof members>[0],
  rename = (m: Member) => m.path,
): Question[] {
  const questions = [{ expression: `sizeof(struct ${name})`, ours: layout.size }];
  for (const member of members(layout)) {
    const path = rename(member);
    questions.push({ expression: `offsetof(struct ${name}, ${path})`, ours: member.offset });
    questions.push({ expression: `sizeof(((struct ${name} *)0)->${path})`, ours: member.size });
  }
  return questions;
}

/** Compiles and runs a program that prints every answer; undefined with a reason if there is no compiler or header. */
async function ask(headers: string[], questions: Question[]): Promise<number[] | string> {
  const dir = await Deno.makeTempDir();
  try {
    const rows = questions.map((q) =>
      `  { ${JSON.stringify(q.expression)}, (unsigned long long)(${q.expression}) },`
    );
    const source = [
      "#define _GNU_SOURCE",
      "#include <stddef.h>",
      "#include <stdio.h>",
      ...headers.map((header) => `#include <${header}>`),
      "static const struct { const char *what; unsigned long long value; } rows[] = {",
      ...rows,
      "};",
      'int main(void) { for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) printf("%llu\\n", rows[i].value); }',
    ].join("\n");
    await Deno.writeTextFile(`${dir}/ask.c`, source);
    const build = await new Deno.Command("cc", {
      args: ["-o", `${dir}/ask`, `${dir}/ask.c`],
      stderr: "piped",
    })
      .output().catch((error: Error) => error.message);
    if (typeof build === "string") return `no C compiler: ${build}`;
    const complaints = decoder.decode(build.stderr);
    if (!build.success) {
      const missing = complaints.match(/fatal error: (\S+): No such file/);
      if (missing) return `no header ${missing[1]}`;
      throw new Error(`the headers do not know what the tables name:\n${complaints}`);
    }
    const run = await new Deno.Command(`${dir}/ask`).output();
    return decoder.decode(run.stdout).trim().split("\n").map(Number);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** Asks, compares, and names each difference. */
async function compare(headers: string[], questions: Question[]): Promise<void> {
  const answers = await ask(headers, questions);
  if (typeof answers === "string") {
    console.log(`skipped: ${answers}`);
    return;
  }
  assert.equal(answers.length, questions.length);
  const wrong = questions.flatMap((q, i) =>
    q.ours === answers[i] ? [] : [`${q.expression}: ours ${q.ours}, C ${answers[i]}`]
  );
  assert.deepEqual(wrong, []);
}

const KVM_HEADERS = ["linux/kvm.h"];

/** Constants of a table under a prefix. */
function constants(table: Readonly<Record<string, number>>, prefix = ""): Question[] {
  return Object.entries(table).map(([name, ours]) => ({ expression: prefix + name, ours }));
}

Deno.test("KVM's structures lie as the headers say", async () => {
  const ours = { irqchip: "words" };
  const questions = Object.entries(STRUCTURES).flatMap(([name, layout]) => structure(name, layout));
  // chip.words is the state of an interrupt controller as 64-bit words; C has a member per chip instead.
  await compare(KVM_HEADERS, questions.filter((q) => !q.expression.includes(`chip.${ours.irqchip}`)));
});

Deno.test("KVM's requests, capabilities, exit reasons and flags have the headers' numbers", async () => {
  await compare(KVM_HEADERS, [
    ...constants(KVM, "KVM_"),
    ...constants(CAP, "KVM_CAP_"),
    ...constants(EXIT, "KVM_EXIT_"),
    ...constants(FLAG, "KVM_"),
    { expression: "KVM_API_VERSION", ours: KVM_API_VERSION },
  ]);
});

Deno.test("Linux's structures and constants are those of the headers", async () => {
  const { timespec, itimerspec, sigevent, statx, LINUX, sigset, KERNEL_SIGSET_BYTES } = linux;
  const { epoll_event, ifreq, pollfd, sockaddr_in, sockaddr_un } = linux;
  await compare(
    [
      "errno.h",
      "fcntl.h",
      "signal.h",
      "time.h",
      "unistd.h",
      "sys/epoll.h",
      "sys/eventfd.h",
      "sys/mman.h",
      "sys/stat.h",
      "sys/socket.h",
      "sys/un.h",
      "netinet/in.h",
      "netinet/tcp.h",
      "poll.h",
      "net/if.h",
      "sys/ioctl.h",
      "linux/if_tun.h",
    ],
    [
      ...structure("timespec", timespec),
      ...structure("itimerspec", itimerspec),
      ...structure("sigevent", sigevent).filter((q) => !q.expression.includes("_pad")),
      ...structure("statx", statx).filter((q) => !/_rest|__spare/.test(q.expression)),
      ...structure("pollfd", pollfd),
      ...structure("epoll_event", epoll_event).filter((q) => !q.expression.includes("_pad")),
      ...structure("sockaddr_un", sockaddr_un),
      ...structure("sockaddr_in", sockaddr_in),
      ...structure("ifreq", ifreq).filter((q) => !q.expression.includes("_rest")),
      { expression: "TUNSETIFF", ours: TUNSETIFF },
      { expression: "TUNSETOFFLOAD", ours: TUNSETOFFLOAD },
      { expression: "TUNSETVNETHDRSZ", ours: TUNSETVNETHDRSZ },
      { expression: "sizeof(sigset_t)", ours: sigset.size },
      { expression: "(_NSIG - 1) / 8", ours: KERNEL_SIGSET_BYTES },
      ...constants(LINUX),
      ...constants(ERRNO),
    ],
  );
});

Deno.test("libslirp's configuration is that of its header", async () => {
  // Later versions of it are longer: our version number says where ours ends.
  const ours = structure("SlirpConfig", SlirpConfig).filter(({ expression }) =>
    !/_pad|sizeof\(struct SlirpConfig\)/.test(expression)
  );
  await compare(["slirp/libslirp.h"], ours);
});

Deno.test("Xen's structures and constants are those of libxen-dev's headers", async () => {
  const { size, ...event } = VM_EVENT;
  const { size: domctl, ...head } = XEN_DOMCTL;
  const offsets = (of: string, table: Readonly<Record<string, number>>): Question[] =>
    Object.entries(table).map(([name, ours]) => ({ expression: `offsetof(${of}, ${name})`, ours }));
  const headers = [
    "xenctrl.h",
    "xen/vm_event.h",
    "xen/hvm/save.h",
    "xen/event_channel.h",
    "xen/hvm/ioreq.h",
    "xen/hvm/params.h",
  ];
  await compare(headers, [
    ...Object.entries(XEN_STRUCTURES).flatMap(([name, layout]) => structure(name, layout)),
    // hvsh reads the front of it only.
    ...structure("vm_event_regs_x86", vm_event_regs_x86).filter((q) =>
      q.expression !== "sizeof(struct vm_event_regs_x86)"
    ),
    // Bit-fields have no offset.
    ...structure("ioreq", ioreq).filter((q) => !q.expression.includes("bits")),
    // It is a function of a number there.
    ...constants(XEN).filter((q) => !q.expression.includes("frame_ioreq0")),
    {
      expression: "XENMEM_resource_ioreq_server_frame_ioreq(0)",
      ours: XEN.XENMEM_resource_ioreq_server_frame_ioreq0,
    },
    ...Object.entries(EVTCHNSTAT).map(([name, ours]) => ({ expression: `EVTCHNSTAT_${name}`, ours })),
    ...Object.entries(GTF).map(([name, ours]) => ({ expression: `GTF_${name}`, ours })),
    ...offsets("vm_event_request_t", event),
    { expression: "sizeof(vm_event_request_t)", ours: size },
    ...offsets("struct vm_event_sring", VM_EVENT_RING),
    ...offsets("struct xen_domctl", head),
    { expression: "sizeof(struct xen_domctl)", ours: domctl },
    ...Object.entries(HVM_SAVE).flatMap(([name, { code, length }]) => [
      { expression: `HVM_SAVE_CODE(${name})`, ours: code },
      { expression: `HVM_SAVE_LENGTH(${name})`, ours: length },
    ]),
  ]);
});
