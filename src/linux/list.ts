/** The kernel's linked lists (struct list_head, include/linux/types.h): rings with a head that is no member. */
import { FaultError } from "../vm/errors.ts";
import type { PagedReader } from "./paged_reader.ts";

/** What a walk of a list gives besides its members. */
export interface ListEnd {
  /** Why it ended before it was round; undefined if it came round. */
  damage?: string;
}

/**
 * Walks a list from its head. What is wrong with it (it never comes back, leads nowhere, is longer than allowed)
 * ends it, and is told in `end`.
 *
 * @param head Linear address of the head.
 * @param member Bytes from a member's start to its list_head.
 * @returns Linear addresses of the members.
 */
export async function* walkList(
  memory: PagedReader,
  head: bigint,
  member: number,
  most: number,
  end: ListEnd = {},
): AsyncGenerator<bigint, void, void> {
  const seen = new Set<bigint>([head]);
  for (let at = head;;) {
    try {
      at = await memory.u64(at);
    } catch (error) {
      if (!(error instanceof FaultError)) throw error;
      end.damage = error.message;
      return;
    }
    if (at === head) return;
    if (seen.has(at)) {
      end.damage = `the list comes back to 0x${at.toString(16)} and not to its head`;
      return;
    }
    if (seen.size > most) {
      end.damage = `the list has more than ${most} members`;
      return;
    }
    seen.add(at);
    yield BigInt.asUintN(64, at - BigInt(member));
  }
}
