import { errnoMeaning, errnoName } from "../abi/errno.ts";

/** What can be done about an errno, whichever call gave it. */
const REMEDIES: Readonly<Record<string, string>> = {
  ENOMEM: "Give the guest less memory, or close other guests and programs.",
  EMFILE: "Close other guests, or raise the limit with `ulimit -n`.",
  ENFILE: "Close other programs: the whole system is out of file descriptors.",
};

/** A system call or library call that failed. */
export class HostError extends Error {
  /** The errno's name (`EACCES`), or `HostError` where the call gave none. */
  override readonly name: string;
  /** What was called: `open /dev/kvm`, `ioctl KVM_CREATE_VM`. */
  readonly call: string;
  /** The errno as a number, or 0 where the call gave none. */
  readonly errno: number;
  /** One sentence: what the user can do, where that is known. */
  readonly remedy?: string;

  /**
   * Makes the error from what the call left behind.
   *
   * @param call What was called.
   * @param errno What it left in errno.
   * @param options The cause, and the remedy if it is not the errno's usual one.
   */
  constructor(call: string, errno: number, options: { cause?: unknown; remedy?: string } = {}) {
    const name = errno === 0 ? "HostError" : errnoName(errno);
    const meaning = errnoMeaning(errno);
    super(
      errno === 0 ? `${call} failed` : `${call} failed: ${name}${meaning && ` (${meaning})`}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.name = name;
    this.call = call;
    this.errno = errno;
    const remedy = options.remedy ?? REMEDIES[name];
    if (remedy !== undefined) this.remedy = remedy;
  }
}
