/** The transfer mode, as SET FEATURES sets it: ATA/ATAPI-6 (T13/1410D), 8.46.10. All modes are as fast as the host. */
import type { TransferMode } from "./identify.ts";

/** After power-on: ultra DMA mode 5, as firmware would set it. */
export const DEFAULT_MODE = 0x45;

/** Type in the high bits, mode in the low three. */
const TYPE_MASK = 0xf8;
const MODE_MASK = 0x07;
const PIO_DEFAULT = 0x00;
const PIO_FLOW_CONTROL = 0x08;
const MULTIWORD_DMA = 0x20;
const ULTRA_DMA = 0x40;
/** The highest mode of each type. */
const HIGHEST: ReadonlyMap<number, number> = new Map([
  [PIO_DEFAULT, 1],
  [PIO_FLOW_CONTROL, 4],
  [MULTIWORD_DMA, 2],
  [ULTRA_DMA, 5],
]);

/** Whether a drive takes `mode`. */
export function modeFits(mode: number): boolean {
  return (mode & MODE_MASK) <= (HIGHEST.get(mode & TYPE_MASK) ?? -1);
}

/** Which DMA mode is selected. */
export function selectedMode(mode: number): TransferMode {
  const type = mode & TYPE_MASK;
  return {
    multiword: type === MULTIWORD_DMA ? mode & MODE_MASK : undefined,
    ultra: type === ULTRA_DMA ? mode & MODE_MASK : undefined,
  };
}

/** The mode in words. */
export function modeText(mode: number): string {
  const { multiword, ultra } = selectedMode(mode);
  if (ultra !== undefined) return `ultra DMA ${ultra}`;
  return multiword !== undefined ? `multiword DMA ${multiword}` : `PIO ${mode & MODE_MASK}`;
}
