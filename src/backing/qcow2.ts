/** qcow2 images, by Debian's qemu-storage-daemon or qemu-nbd: it reads the format, and we read it by NBD. */
import { findProgram, HostChild } from "../host/child.ts";
import { HostError } from "../host/error.ts";
import type { BlockBacking, BlockFault } from "../vm/block.ts";
import { InputError } from "../vm/errors.ts";
import { NbdDisk } from "./nbd.ts";

/** Header fields (QEMU, docs/interop/qcow2.txt); numbers are big-endian. */
const VERSION = 4;
const BACKING_FILE_OFFSET = 8;
const BACKING_FILE_SIZE = 16;
const INCOMPATIBLE_FEATURES = 72;
const EXTERNAL_DATA_BIT = 1n << 2n;
const HEADER_BYTES = 104;

/** How long the program may take to listen. */
const START_MS = 30_000;
const LOOK_MS = 5;

/** What was found to read the format. */
const PROGRAMS:
  readonly (readonly [name: string, args: (path: string, socket: string, write: boolean) => string[]])[] = [
    ["qemu-storage-daemon", (path, socket, write) => {
      const readOnly = { "read-only": !write, "auto-read-only": false };
      const file = { driver: "file", "node-name": "file", filename: path, discard: "unmap", ...readOnly };
      // No other file is opened, whatever the image says.
      const disk = {
        driver: "qcow2",
        "node-name": "disk",
        file: "file",
        backing: null,
        discard: "unmap",
        ...readOnly,
      };
      const server = { addr: { type: "unix", path: socket }, "max-connections": 1 };
      const exported = { type: "nbd", id: "disk", "node-name": "disk", name: "", writable: write };
      return [
        ...["--blockdev", JSON.stringify(file), "--blockdev", JSON.stringify(disk)],
        ...["--nbd-server", JSON.stringify(server), "--export", JSON.stringify(exported)],
      ];
    }],
    ["qemu-nbd", (path, socket, write) => [
      ...["--format=qcow2", `--socket=${socket}`, "--persistent", "--discard=unmap"],
      ...(write ? [] : ["--read-only"]),
      path,
    ]],
  ];

/** A qcow2 image, open through a program that ends with it. */
export class Qcow2Disk implements BlockBacking, Disposable {
  readonly name: string;
  readonly size: number;
  readonly readOnly: boolean;
  readonly notes: readonly string[];
  readonly #disk: NbdDisk;
  readonly #owned: DisposableStack;

  /**
   * Starts the program and connects to it.
   *
   * @throws {InputError} If the image refers to other files, no program is installed, or it refuses the image.
   */
  constructor(path: string, options: { readonly write: boolean }) {
    refuseOtherFiles(path);
    const found = PROGRAMS.flatMap(([name, args]) => {
      const program = findProgram(name);
      return program === undefined ? [] : [{ program, args }];
    })[0];
    if (found === undefined) {
      throw new InputError(`${path} is a qcow2 image, and there is no program here that reads them`, {
        remedy: "install Debian's qemu-utils, or `qemu-img convert -O raw` it elsewhere",
      });
    }
    using cleanup = new DisposableStack();
    // Nobody else is let into the folder, and so to the socket.
    const folder = Deno.makeTempDirSync({ prefix: "hvsh-disk-" });
    cleanup.defer(() => Deno.removeSync(folder, { recursive: true }));
    const socket = `${folder}/nbd`;
    const child = new HostChild(found.program, found.args(path, socket, options.write));
    cleanup.defer(() => child.terminate());
    const disk = this.#disk = cleanup.use(connect(path, socket, options.write, child));
    this.name = path;
    this.size = disk.size;
    this.readOnly = disk.readOnly;
    this.notes = disk.notes;
    this.#owned = cleanup.move();
  }

  /** Fills `into` from `at`. */
  read(at: number, into: Uint8Array): BlockFault | undefined {
    return this.#disk.read(at, into);
  }

  /** Stores `bytes` from `at`. */
  write(at: number, bytes: Uint8Array): BlockFault | undefined {
    return this.#disk.write(at, bytes);
  }

  /** Gives clusters back to the image. */
  discard(at: number, length: number): BlockFault | undefined {
    return this.#disk.discard(at, length);
  }

  /** The program takes what was written to stable storage. */
  flush(): BlockFault | undefined {
    return this.#disk.flush();
  }

  /** Takes everything to stable storage, and ends the program. */
  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}

/** An image may name files of the host's: a base, a file of data. Whoever made it does not choose what is opened. */
function refuseOtherFiles(path: string): void {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES));
  using file = Deno.openSync(path);
  file.readSync(new Uint8Array(view.buffer));
  const length = view.getUint32(BACKING_FILE_SIZE);
  const external = view.getUint32(VERSION) >= 3 &&
    (view.getBigUint64(INCOMPATIBLE_FEATURES) & EXTERNAL_DATA_BIT) !== 0n;
  if (view.getBigUint64(BACKING_FILE_OFFSET) === 0n && length === 0 && !external) return;
  throw new InputError(
    `${path} has ${external ? "its data in another file" : "a backing file"}, which is not opened`,
    {
      remedy: `make one image of both: \`qemu-img convert -O qcow2 ${path} whole.qcow2\``,
    },
  );
}

/** Connects as soon as the program listens. */
function connect(path: string, socket: string, write: boolean, child: HostChild): NbdDisk {
  const nap = new Int32Array(new SharedArrayBuffer(4));
  for (const end = Date.now() + START_MS;;) {
    try {
      return new NbdDisk({ socket, name: path, write });
    } catch (cause) {
      if (!(cause instanceof HostError)) throw cause;
      if (Date.now() > end || !child.alive) {
        const said = child.alive ? "it does not listen" : "it ended at once";
        throw new InputError(`${path} can't be opened by the program that reads qcow2 images: ${said}`, {
          cause,
          remedy: "see what `qemu-img check` says of it, and whether somebody else has it open",
        });
      }
      Atomics.wait(nap, 0, 0, LOOK_MS);
    }
  }
}
