/** Names of the bits of PCI registers, for people. */
import type { RegisterBits } from "../../vm/register_bits.ts";

/** Command and status of every function (PCI 2.2, 6.2.2 and 6.2.3). */
export const PCI_BITS: Readonly<Record<string, RegisterBits>> = {
  command: {
    INTxDisable: 0x0400,
    SERR: 0x0100,
    parity: 0x0040,
    busMaster: 0x0004,
    memory: 0x0002,
    IO: 0x0001,
  },
  status: {
    parityError: 0x8000,
    SERR: 0x4000,
    masterAbort: 0x2000,
    targetAbort: 0x1000,
    signalledAbort: 0x0800,
    DEVSEL: 0x0600,
    masterParity: 0x0100,
    capabilities: 0x0010,
    INTx: 0x0008,
  },
};

/** CONFIG_ADDRESS (3.2.2.3.2) and the reset control register (82371SB, 2.5.5.5). */
export const HOST_BITS: Readonly<Record<string, RegisterBits>> = {
  CONFIG_ADDRESS: {
    enable: 0x8000_0000,
    bus: 0x00ff_0000,
    device: 0x0000_f800,
    function: 0x0000_0700,
    register: 0x0000_00fc,
  },
  resetControl: { RCPU: 0x04, SRST: 0x02 },
};

/** A PAM register has two areas: what is read from RAM, what writes reach RAM (82441FX, 3.2.19). */
const PAM: RegisterBits = { highWrite: 0x20, highRead: 0x10, lowWrite: 0x02, lowRead: 0x01 };

/** The host bridge: PAM registers, and SMRAM (82441FX, 3.2.20). */
export const BRIDGE_BITS: Readonly<Record<string, RegisterBits>> = {
  ...PCI_BITS,
  ...Object.fromEntries(Array.from({ length: 7 }, (_, i) => [`PAM${i}`, PAM])),
  SMRAM: { DOPEN: 0x40, DCLS: 0x20, DLCK: 0x10, SMRAME: 0x08, C_BASE: 0x07 },
};

/** Power management (82371AB, 7.2; ACPI 1.0, 4.7.3). */
export const PM_BITS: Readonly<Record<string, RegisterBits>> = {
  ...PCI_BITS,
  PM1_STS: {
    WAK: 0x8000,
    PWRBTNOR: 0x0800,
    RTC: 0x0400,
    PWRBTN: 0x0100,
    GBL: 0x0020,
    BM: 0x0010,
    TMROF: 0x0001,
  },
  PM1_EN: { RTC: 0x0400, PWRBTN: 0x0100, GBL: 0x0020, TMROF: 0x0001 },
  PM1_CNT: { SLP_TYP: 0x1c00, GBL_RLS: 0x0004, BRLD_EN: 0x0002, SCI_EN: 0x0001 },
};
