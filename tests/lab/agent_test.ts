import assert from "node:assert/strict";
import { type Port, serve } from "./guest/agent.ts";
import { encodeLine, type FromAgent, LineReader, type RunRequest, type ToAgent } from "./guest/protocol.ts";

/** Bytes in one direction; null is a hang-up. */
class Pipe {
  readonly #waiting: (Uint8Array | null)[] = [];
  #wake = () => {};

  put(bytes: Uint8Array | null): void {
    this.#waiting.push(bytes);
    this.#wake();
  }

  async take(): Promise<Uint8Array | null> {
    while (this.#waiting.length === 0) await new Promise<void>((resolve) => this.#wake = resolve);
    return this.#waiting.shift() ?? null;
  }
}

type Heard = FromAgent | { kind: "text"; stream: string; text: string };

/** The agent, run in this process on pipes in place of a lab's ports. */
class Client {
  readonly #toAgent = new Pipe();
  readonly #fromAgent = new Pipe();
  readonly #reader = new LineReader(() => this.#fromAgent.take());
  readonly served: Promise<void>;
  #clients: number;
  freshened = 0;

  constructor(clients = 1) {
    this.#clients = clients;
    const port: Port = {
      read: () => this.#toAgent.take(),
      write: (bytes) => Promise.resolve(this.#fromAgent.put(bytes.slice())),
    };
    this.served = serve(port, {
      ready: () => Promise.resolve(),
      freshen: () => void this.freshened++,
      sync: () => Promise.resolve(),
      waitForNextClient: () => Promise.resolve(--this.#clients > 0),
      folder: "/tmp",
    });
  }

  send(message: ToAgent): void {
    this.#toAgent.put(encodeLine(message));
  }

  raw(text: string): void {
    this.#toAgent.put(new TextEncoder().encode(text));
  }

  hello(nonce = "n"): void {
    this.raw("\n");
    this.send({ kind: "hello", nonce });
  }

  run(argv: string[], more: Partial<RunRequest> = {}): void {
    const env = { PATH: Deno.env.get("PATH") ?? "", GREETING: "hi" };
    this.send({ kind: "run", run: { argv, cwd: "/", env, stdin: false, ...more } });
  }

  async next(): Promise<Heard> {
    const message = JSON.parse(await this.#reader.line() ?? "null") as FromAgent;
    if (message.kind !== "data") return message;
    let text = "";
    const decoder = new TextDecoder();
    await this.#reader.bytes(
      message.bytes,
      (piece) => void (text += decoder.decode(piece, { stream: true })),
    );
    return { kind: "text", stream: message.stream, text };
  }

  /** Everything up to the command's end. */
  async rest(): Promise<{ stdout: string; stderr: string; end: FromAgent }> {
    const heard = { stdout: "", stderr: "" };
    while (true) {
      const message = await this.next();
      if (message.kind === "text") heard[message.stream as "stdout" | "stderr"] += message.text;
      if (message.kind === "exit" || message.kind === "refused") return { ...heard, end: message };
    }
  }

  async close(): Promise<void> {
    this.#toAgent.put(null);
    await this.served;
  }
}

Deno.test("the agent runs a command in its folder and environment, and gives back streams and exit code", async () => {
  const client = new Client();
  client.hello();
  assert.deepEqual(await client.next(), { kind: "hello", nonce: "n" });
  client.run(["sh", "-c", 'pwd; printf "%s" "$GREETING" >&2; exit 7'], { cwd: "/usr" });
  const { stdout, stderr, end } = await client.rest();
  assert.deepEqual([stdout, stderr, end], ["/usr\n", "hi", { kind: "exit", code: 7, signal: null }]);
  assert.equal(client.freshened, 1);
  await client.close();
});

Deno.test("the agent refuses what can't be run as a shell would: 127, 126, and a folder that is not there", async () => {
  const client = new Client();
  client.hello();
  const cases: [string[], Partial<RunRequest>, number, RegExp][] = [
    [["no-such-program"], {}, 127, /no-such-program/],
    [["/etc/passwd"], {}, 126, /Permission denied/],
    [["true"], { cwd: "/no/such/folder" }, 126, /no folder \/no\/such\/folder/],
  ];
  for (const [argv, more, code, message] of cases) {
    client.run(argv, more);
    const { end } = await client.rest();
    assert.ok(end.kind === "refused" && end.code === code && message.test(end.message), JSON.stringify(end));
  }
  await client.close();
});

Deno.test("standard input reaches the command, is counted, and ends", async () => {
  const client = new Client();
  client.hello();
  client.run(["wc", "-c"], { stdin: true });
  client.send({ kind: "stdin", data: new Uint8Array(1000).toBase64() });
  client.send({ kind: "stdin", data: new Uint8Array(234).toBase64() });
  client.send({ kind: "stdin-end" });
  let taken = 0, text = "";
  for (let message = await client.next(); message.kind !== "exit"; message = await client.next()) {
    if (message.kind === "taken") taken += message.bytes;
    if (message.kind === "text") text += message.text;
  }
  assert.equal(text.trim(), "1234");
  assert.equal(taken, 1234);
  await client.close();
});

Deno.test("a signal reaches the whole process group, and its number is in the exit code", async () => {
  const client = new Client();
  client.hello();
  client.run(["sh", "-c", "echo up; sleep 100 | sleep 100; echo not reached"]);
  while ((await client.next()).kind !== "text");
  client.send({ kind: "signal", name: "SIGTERM" });
  const { stdout, end } = await client.rest();
  assert.deepEqual([stdout, end], ["", { kind: "exit", code: 143, signal: "SIGTERM" }]);
  await client.close();
});

Deno.test("what is left running in the background does not hold up the exit", async () => {
  const client = new Client();
  client.hello();
  client.run(["sh", "-c", "sleep 60 & echo $!"]);
  const { stdout, end } = await client.rest();
  assert.equal(end.kind === "exit" && end.code, 0);
  Deno.kill(Number(stdout), "SIGKILL"); // throws if it is gone; its end closes the pipe, which the sanitizer watches
  await client.close();
});

Deno.test("a client that leaves in mid-line leaves nothing to the next, neither its line nor its command", async () => {
  const client = new Client();
  client.hello("first");
  client.run(["yes"]);
  while ((await client.next()).kind !== "text");
  client.raw('{"kind":"stdin","data":"AAAA'); // cut off
  client.hello("second");
  let message = await client.next();
  while (message.kind !== "hello" || message.nonce !== "second") message = await client.next();
  client.run(["echo", "clean"]);
  const { stdout, end } = await client.rest();
  assert.deepEqual([stdout, end.kind], ["clean\n", "exit"]);
  await client.close();
});

Deno.test("on a terminal a command sees one, of the size asked for, and of a new size later", async () => {
  const client = new Client();
  client.hello();
  client.run(["sh", "-c", "test -t 0 && test -t 1 && stty size; read line; stty size"], {
    stdin: true,
    terminal: { columns: 91, rows: 17 },
  });
  let text = "";
  while (!text.includes("17 91")) {
    const message = await client.next();
    if (message.kind === "text") text += message.text;
    assert.notEqual(message.kind, "exit", text);
  }
  client.send({ kind: "resize", size: { columns: 55, rows: 44 } });
  client.send({ kind: "stdin", data: new TextEncoder().encode("go\n").toBase64() });
  const { stdout, end } = await client.rest();
  assert.match(stdout, /44 55/);
  assert.equal(end.kind === "exit" && end.code, 0);
  await client.close();
});
