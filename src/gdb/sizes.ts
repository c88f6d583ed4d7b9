/** How long packets may be. */

/** Largest packet in either direction, framing included; told to the client in `qSupported`. */
export const PACKET_BYTES = 0x40000;
/** Most bytes of one answer's data. */
export const DATA_BYTES = PACKET_BYTES - 64;
