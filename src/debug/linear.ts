import { FaultError } from "../vm/errors.ts";
import type { MaybePromise } from "../vm/backend.ts";
import { then } from "../vm/promise.ts";
import type { Registers } from "../vm/registers.ts";
import { faultOf, type ReadPhysical, walk } from "../x86/paging.ts";

const PAGE = 4096n;
const TOP = 1n << 64n;

/**
 * The guest-physical address behind a linear one, under the paging that `registers` describe.
 *
 * @throws {FaultError} If it is not mapped; names the level.
 */
export function physical(registers: Registers, address: bigint, read: ReadPhysical): MaybePromise<bigint> {
  return then(walk(registers, address, read), (found) => {
    if (!found.ok) throw faultOf(found);
    return found.gpa;
  });
}

/**
 * Calls `body` with the guest-physical pieces, page by page, of `length` bytes at a linear address.
 *
 * @throws {FaultError} If a page is not mapped, or the range wraps.
 */
export function pieces(
  registers: Registers,
  address: bigint,
  length: number,
  read: ReadPhysical,
  body: (gpa: bigint, from: number, to: number) => MaybePromise<void>,
): MaybePromise<void> {
  if (address + BigInt(length) > TOP) {
    throw new FaultError(
      `${length} bytes at 0x${address.toString(16)} go past the end of the address space`,
      { address, space: "gva" },
      { remedy: "ask for fewer bytes" },
    );
  }
  const next = (done: number): MaybePromise<void> => {
    while (done < length) {
      const at = address + BigInt(done);
      const size = Math.min(length - done, Number(PAGE - (at & (PAGE - 1n))));
      const from = done;
      done += size;
      const result = then(physical(registers, at, read), (gpa) => body(gpa, from, from + size));
      if (result instanceof Promise) return result.then(() => next(done));
    }
  };
  return next(0);
}
