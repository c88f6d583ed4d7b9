/** What an errno means for a disk: the kind of fault, and a sentence for the user. */
import { ERRNO, errnoMeaning, errnoName } from "../abi/errno.ts";
import type { BlockFault, BlockFaultKind } from "../vm/block.ts";

const FULL: readonly number[] = [ERRNO.ENOSPC, ERRNO.EDQUOT, ERRNO.EFBIG];
const REMEDY: Readonly<Record<BlockFaultKind, string>> = {
  "unreadable": "check the file and the disk it lies on",
  "unwritable": "check the file and the disk it lies on",
  "read-only": "open it for writing, or with an overlay that takes the changes",
  "full": "make room where it lies, or put the disk elsewhere",
  "gone": "put the file back and open the machine again",
  "shrunk": "let nothing else change the file while a guest uses it, and open the machine again",
  "range": "the guest must stay inside its disk",
  "closed": "open the machine again",
};

/** A fault of `kind`; `message` is its sentence. */
export function blockFault(kind: BlockFaultKind, message: string): BlockFault {
  return { kind, message, remedy: REMEDY[kind] };
}

/** The fault behind a negative errno that reading or writing `name` gave. */
export function faultOf(name: string, doing: "read" | "written", result: number): BlockFault {
  const errno = -result;
  const kind = FULL.includes(errno)
    ? "full"
    : errno === ERRNO.EROFS || (errno === ERRNO.EBADF && doing === "written")
    ? "read-only"
    : doing === "read"
    ? "unreadable"
    : "unwritable";
  const meaning = errnoMeaning(errno);
  return blockFault(kind, `${name} can't be ${doing}: ${errnoName(errno)}${meaning && ` (${meaning})`}`);
}
