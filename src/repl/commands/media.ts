/** eject and change: CDs and floppy disks in their drives, by QEMU's words. */
import type { Drive } from "../../dsl/mod.ts";
import { InputError } from "../../dsl/nouns.ts";
import type { Answer, Invocation } from "../command.ts";
import type { Session } from "../session.ts";
import { guest } from "./selected.ts";

/** QEMU's names for drives of a PC. */
const QEMU_NAMES: Readonly<Record<string, string>> = { "ide1-cd0": "hdc", floppy0: "fda", floppy1: "fdb" };

/** A word "-f" in front, and the rest. */
function forced(words: readonly string[]): { force: boolean; rest: readonly string[] } {
  const force = words[0] === "-f";
  return { force, rest: force ? words.slice(1) : words };
}

/** `eject [-f] DRIVE`. */
export function eject(session: Session, { words }: Invocation): Answer {
  const { force, rest } = forced(words);
  const drive = changeable(session, rest[0], rest.length === 1 ? undefined : "eject hdc");
  if (drive.medium === undefined) return { text: `${drive.name} is empty.\n`, data: { drive: drive.name } };
  const { name } = drive.medium;
  drive.eject({ force });
  return { text: `${drive.name}: ${name} is out.\n`, data: { drive: drive.name, ejected: name } };
}

/** `change [-f] DRIVE FILE`. */
export function change(session: Session, { words }: Invocation): Answer {
  const { force, rest } = forced(words);
  const drive = changeable(session, rest[0], rest.length === 2 ? undefined : "change hdc FILE");
  drive.insert(rest[1], { force });
  return { text: `${drive.name}: ${rest[1]} is in.\n`, data: { drive: drive.name, inserted: rest[1] } };
}

/** A drive whose medium can be changed. */
type Removable = Drive & Required<Pick<Drive, "insert" | "eject">>;

const isRemovable = (drive: Drive): drive is Removable =>
  drive.insert !== undefined && drive.eject !== undefined;

/** The CD-ROM or floppy drive with that name. @throws {InputError} If there is none, or `usage` says what was to be written. */
function changeable(session: Session, word: string | undefined, usage: string | undefined): Removable {
  if (word === undefined || usage !== undefined) {
    throw new InputError("which drive?", { remedy: `${usage ?? "eject hdc"}; info drives lists them` });
  }
  const { drives, monitor } = guest(session);
  const drive = drives.find(({ name }) => name === (QEMU_NAMES[word] ?? word));
  if (drive !== undefined && isRemovable(drive)) return drive;
  throw new InputError(
    drive === undefined ? `there is no drive ${word}` : `${word} is a disk, which stays where it is`,
    {
      remedy: monitor === undefined
        ? "info drives lists them; -cdrom FILE and -fda FILE give drives whose media can be changed"
        : "QEMU's drives are its monitor's: monitor info block, monitor eject NAME",
    },
  );
}
