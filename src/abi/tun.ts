/** Linux's TUN/TAP driver (linux/if_tun.h). */
import { ioctls } from "./ioctl.ts";

/** Makes an open /dev/net/tun an interface; takes a `struct ifreq`, though its number says int. */
export const TUNSETIFF = ioctls(0x54).IOW(202, { size: 4 });

/** Which unfinished frames may be read from it: a number, by value. */
export const TUNSETOFFLOAD = ioctls(0x54).IOW(208, { size: 4 });

/** How long the header before each frame is: a pointer to an int. */
export const TUNSETVNETHDRSZ = ioctls(0x54).IOW(216, { size: 4 });
