/** Encoding of ioctl request numbers: include/uapi/asm-generic/ioctl.h of the Linux kernel. */

/** What a request carries: a layout, or its size in bytes where C has only a flexible header. */
export type Argument = { readonly size: number };

const NUMBER_SHIFT = 0;
const TYPE_SHIFT = 8;
const SIZE_SHIFT = 16;
const DIRECTION_SHIFT = 30;
const SIZE_MASK = 0x3fff;
const WRITE = 1;
const READ = 2;

/** Makes a request number of 32 bits from its four parts. */
function encode(direction: number, type: number, number: number, size: number): number {
  if (size > SIZE_MASK) throw new RangeError(`An ioctl carries at most ${SIZE_MASK} bytes, not ${size}.`);
  return ((direction << DIRECTION_SHIFT) | (size << SIZE_SHIFT) | (type << TYPE_SHIFT) |
    (number << NUMBER_SHIFT)) >>> 0;
}

/** The four makers of request numbers for one driver. Reading and writing are seen from user space. */
export interface IoctlFamily {
  /** `_IO`: no argument, or one passed by value. */
  IO(number: number): number;
  /** `_IOR`: the kernel fills a structure. */
  IOR(number: number, argument: Argument): number;
  /** `_IOW`: the kernel reads a structure. */
  IOW(number: number, argument: Argument): number;
  /** `_IOWR`: both. */
  IOWR(number: number, argument: Argument): number;
}

/** The makers of request numbers for the driver with this type byte (KVM's is 0xae). */
export function ioctls(type: number): IoctlFamily {
  return {
    IO: (number) => encode(0, type, number, 0),
    IOR: (number, argument) => encode(READ, type, number, argument.size),
    IOW: (number, argument) => encode(WRITE, type, number, argument.size),
    IOWR: (number, argument) => encode(READ | WRITE, type, number, argument.size),
  };
}
