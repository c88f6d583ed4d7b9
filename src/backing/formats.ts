/** Image formats that are not sectors one after the other, known by how their files begin. */

const FORMATS: readonly (readonly [name: string, offset: number, signature: string])[] = [
  ["qcow2", 0, "QFI\xfb"],
  ["VMDK", 0, "KDMV"],
  ["VMDK", 0, "COWD"],
  ["VHDX", 0, "vhdxfile"],
  ["VHD", 0, "conectix"],
  ["QED", 0, "QED\0"],
  ["Parallels", 0, "WithoutFreeSpace"],
  ["Parallels", 0, "WithouFreSpacExt"],
  ["VDI", 0x40, "\x7f\x10\xda\xbe"],
  ["hvsh overlay", 0, "HVSHCOW\0"],
];

/** The format that a file's first bytes tell of, if it is one of those. */
export function foreignFormat(start: Uint8Array): string | undefined {
  return FORMATS.find(([, offset, signature]) =>
    Array.from(signature).every((c, i) => start[offset + i] === c.charCodeAt(0))
  )?.[0];
}
