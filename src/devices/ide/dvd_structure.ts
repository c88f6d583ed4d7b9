/** READ DVD STRUCTURE (MMC-3, T10/1363-D, 6.24): what the lead-in of a DVD says of it. */

/** The first sector of the data area (ECMA-267, 16.2). */
const DATA_START = 0x3_0000;
const BLOCK_BYTES = 2048;
const FORMAT = { PHYSICAL: 0x00, COPYRIGHT: 0x01, MANUFACTURER: 0x04, LIST: 0xff } as const;

function big(value: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => Math.floor(value / 2 ** (8 * (count - 1 - i))) & 0xff);
}

/** Whole structures, without their headers: one layer of 12 cm without regions or protection. */
function structure(format: number, blocks: number): number[] | undefined {
  switch (format) {
    case FORMAT.PHYSICAL: {
      const end = big(DATA_START + blocks - 1, 4);
      // DVD-ROM, version 1; 12 cm, no rate named; one layer, embossed; the densities of 0.267 and 0.74 um.
      const head = [0x01, 0x0f, 0x01, 0x00, ...big(DATA_START, 4), ...end, ...end];
      return [...head, ...new Array<number>(BLOCK_BYTES - head.length).fill(0)];
    }
    case FORMAT.COPYRIGHT:
      return [0, 0, 0, 0];
    case FORMAT.MANUFACTURER:
      return new Array<number>(BLOCK_BYTES).fill(0);
  }
  return undefined;
}

/**
 * An answer with its header; undefined if the medium has no such structure, or no such layer.
 *
 * @param blocks Of the medium.
 */
export function readDvdStructure(blocks: number, format: number, layer: number): number[] | undefined {
  const answer = (data: readonly number[]) => [...big(data.length + 2, 2), 0, 0, ...data];
  if (format === FORMAT.LIST) {
    const READABLE_BIT = 0x40;
    const { LIST: _, ...formats } = FORMAT;
    return answer(
      Object.values(formats).flatMap((
        f,
      ) => [f, READABLE_BIT, ...big((structure(f, blocks)?.length ?? 0) + 2, 2)]),
    );
  }
  const data = layer === 0 ? structure(format, blocks) : undefined;
  return data && answer(data);
}
