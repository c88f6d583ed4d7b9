/** eject and change: CDs in CD-ROM drives, by QEMU's words. */
import { type Drive, InputError } from "../../dsl/mod.ts";
import type { Answer, Invocation } from "../command.ts";
import type { Session } from "../session.ts";
import { guest } from "./values.ts";

/** QEMU's name for the CD-ROM drive of a PC. */
const QEMU_CD = "ide1-cd0";

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
  return { text: `${drive.name}: ${name ?? "the CD"} is out.\n`, data: { drive: drive.name, ejected: name } };
}

/** `change [-f] DRIVE FILE`. */
export function change(session: Session, { words }: Invocation): Answer {
  const { force, rest } = forced(words);
  const drive = changeable(session, rest[0], rest.length === 2 ? undefined : "change hdc FILE");
  drive.insert(rest[1], { force });
  return { text: `${drive.name}: ${rest[1]} is in.\n`, data: { drive: drive.name, inserted: rest[1] } };
}

/** A drive whose medium can be changed. */
type CdRomDrive = Drive & Required<Pick<Drive, "insert" | "eject">>;

const isCdRom = (drive: Drive): drive is CdRomDrive =>
  drive.insert !== undefined && drive.eject !== undefined;

/** The CD-ROM drive with that name. @throws {InputError} If there is none, or `usage` says what was to be written. */
function changeable(session: Session, word: string | undefined, usage: string | undefined): CdRomDrive {
  if (word === undefined || usage !== undefined) {
    throw new InputError("which drive?", { remedy: `${usage ?? "eject hdc"}; info drives lists them` });
  }
  const { drives, monitor } = guest(session);
  const drive = drives.find(({ name }) => name === (word === QEMU_CD ? "hdc" : word));
  if (drive !== undefined && isCdRom(drive)) return drive;
  throw new InputError(
    drive === undefined ? `there is no drive ${word}` : `${word} is a disk, which stays where it is`,
    {
      remedy: monitor === undefined
        ? "info drives lists them; a CD-ROM drive comes with -cdrom FILE"
        : "QEMU's drives are its monitor's: monitor info block, monitor eject NAME",
    },
  );
}
