/** Names of the bits of the IDE function's registers, for people. */
import type { RegisterBits } from "../../vm/register_bits.ts";
import { PCI_BITS } from "../pci/pci_bits.ts";
import * as a from "./ata.ts";

/** ATA/ATAPI-6, 7.15. */
const STATUS: RegisterBits = {
  BSY: a.STATUS_BSY_BIT,
  DRDY: a.STATUS_DRDY_BIT,
  DF: a.STATUS_DF_BIT,
  DSC: a.STATUS_DSC_BIT,
  DRQ: a.STATUS_DRQ_BIT,
  ERR: a.STATUS_ERR_BIT,
};
/** 7.9.6 and the error outputs of the commands. */
const DISK_ERROR: RegisterBits = { UNC: a.ERROR_UNC_BIT, IDNF: a.ERROR_IDNF_BIT, ABRT: a.ERROR_ABRT_BIT };
/** Of PACKET: a sense key in the high half (8.23.6). */
const PACKET_ERROR: RegisterBits = { sense: 0xf0, ABRT: a.ERROR_ABRT_BIT, EOM: 0x02, ILI: 0x01 };
const DEVICE: RegisterBits = { LBA: a.DEVICE_LBA_BIT, DEV: a.DEVICE_DEV_BIT, head: a.DEVICE_HEAD_MASK };
const CONTROL: RegisterBits = { HOB: a.CONTROL_HOB_BIT, SRST: a.CONTROL_SRST_BIT, nIEN: a.CONTROL_NIEN_BIT };
/** Of PACKET: the interrupt reason in the sector count register (8.23.5). */
const REASON: RegisterBits = { REL: 0x04, IO: a.REASON_IO_BIT, CD: a.REASON_CD_BIT };
/** Bus Master IDE 1.0, 2.1 and 2.2; simplex and what the BIOS says of its drives. */
const BMICOM: RegisterBits = { RWCON: 0x08, SSBM: 0x01 };
const BMISTA: RegisterBits = { simplex: 0x80, DMA1: 0x40, DMA0: 0x20, INT: 0x04, ERR: 0x02, ACT: 0x01 };

/** Bits by register, for the drives that there are. `packet` says of a drive's place whether it is a CD's. */
export function ideBits(
  channels: readonly { readonly name: string; readonly packet: readonly boolean[] }[],
): Readonly<Record<string, RegisterBits>> {
  const all: Record<string, RegisterBits> = { ...PCI_BITS };
  for (const { name, packet } of channels) {
    Object.assign(all, {
      [`${name}.control`]: CONTROL,
      [`${name}.BMICOM`]: BMICOM,
      [`${name}.BMISTA`]: BMISTA,
    });
    packet.forEach((cd, i) => {
      const place = `${name}.${i === 0 ? "master" : "slave"}`;
      all[`${place}.status`] = STATUS;
      all[`${place}.error`] = cd ? PACKET_ERROR : DISK_ERROR;
      all[`${place}.device`] = DEVICE;
      if (cd) all[`${place}.sectorCount`] = REASON;
    });
  }
  return all;
}
