/** A TAP interface of Linux: frames as one reads and writes a file (Documentation/networking/tuntap.rst). */
import { ERRNO } from "../abi/errno.ts";
import { ifreq, LINUX } from "../abi/linux.ts";
import { TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ } from "../abi/tun.ts";
import { HostError } from "./error.ts";
import { OwnedFd } from "./fd.ts";
import { IoVector, MOST_PIECES } from "./io_vector.ts";
import { errno, libc } from "./libc.ts";

/** Most bytes of a frame: the largest MTU that Linux has, and a header. */
const FRAME_BYTES = 65_549;
/** struct virtio_net_hdr with its num_buffers (virtio 1.2, 5.1.6): before each frame, both ways. */
export const TAP_HEADER_BYTES = 12;

/** One queue of a TAP interface. */
export class Tap implements Disposable {
  readonly #file: OwnedFd;
  readonly #vector = new IoVector();
  readonly #into = new Uint8Array(TAP_HEADER_BYTES + FRAME_BYTES);
  /** Why nothing comes any more: the errno that reading or writing gave; 0 while all is well. */
  failed = 0;

  /**
   * Takes interface `name`; it is made, and goes again with this object, if there is none.
   *
   * @param name At most 15 bytes.
   * @throws {HostError} If it may not be taken, or is taken already.
   */
  constructor(name: string) {
    const bytes = new TextEncoder().encode(name);
    if (bytes.length < 1 || bytes.length > 15) {
      throw new HostError(`TUNSETIFF ${name}`, ERRNO.EINVAL, {
        remedy: "An interface's name has 1 to 15 bytes.",
      });
    }
    using cleanup = new DisposableStack();
    const file = cleanup.use(OwnedFd.open("/dev/net/tun", LINUX.O_RDWR | LINUX.O_NONBLOCK));
    const request = new Uint8Array(ifreq.size);
    request.set(bytes, ifreq.offsets.ifr_name);
    const flags = LINUX.IFF_TAP | LINUX.IFF_NO_PI | LINUX.IFF_VNET_HDR;
    new DataView(request.buffer).setUint16(ifreq.offsets.ifr_flags, flags, true);
    file.ioctlBuffer(
      `TUNSETIFF ${name}`,
      TUNSETIFF,
      request,
      `Make it first: ip tuntap add ${name} mode tap user $USER; ip link set ${name} up.`,
    );
    file.ioctlBuffer("TUNSETVNETHDRSZ", TUNSETVNETHDRSZ, Int32Array.of(TAP_HEADER_BYTES));
    // One that stays has what its last user set.
    file.ioctl("TUNSETOFFLOAD", TUNSETOFFLOAD, 0);
    cleanup.move();
    this.#file = file;
  }

  /** Its descriptor, which can be read when there is a frame. */
  get fd(): number {
    return this.#file.fd;
  }

  /** What frames that come may lack, which their headers say then: `TUN_F_...`; nothing at first. */
  accept(offloads: number): void {
    if (this.failed === 0 && this.#file.tryIoctl(TUNSETOFFLOAD, offloads) < 0) this.#judge(errno());
  }

  /** Sends a frame behind its header; it is lost if the interface takes none just now. */
  send(packet: Uint8Array): void {
    if (this.failed !== 0) return;
    const n = libc().write(this.#file.fd, packet as Uint8Array<ArrayBuffer>, BigInt(packet.length));
    if (n < 0) this.#judge(errno());
  }

  /** The same from pieces, one behind the other; one that has more of them than the kernel takes is lost. */
  sendv(pieces: readonly Uint8Array[]): void {
    if (this.failed !== 0 || pieces.length > MOST_PIECES) return;
    if (libc().writev(this.#file.fd, this.#vector.of(pieces), pieces.length) < 0) this.#judge(errno());
  }

  /** The next frame behind its header, or undefined. Valid until the next call. */
  receive(): Uint8Array | undefined {
    if (this.failed !== 0) return undefined;
    const n = Number(libc().read(this.#file.fd, this.#into, BigInt(this.#into.length)));
    if (n > 0) return this.#into.subarray(0, n);
    if (n < 0) this.#judge(errno());
    return undefined;
  }

  /** Lets go of the interface; doing it twice is harmless. */
  [Symbol.dispose](): void {
    this.#file.close();
  }

  /** EIO is an interface that is down, EINVAL a frame it does not take: both may pass. EBADFD: it is gone. */
  #judge(error: number): void {
    if (error === ERRNO.EBADFD || error === ERRNO.EBADF) this.failed = error;
  }
}
