/** Linux's TUN/TAP driver (linux/if_tun.h). */
import { ioctls } from "./ioctl.ts";

/** Makes an open /dev/net/tun an interface; takes a `struct ifreq`, though its number says int. */
export const TUNSETIFF = ioctls(0x54).IOW(202, { size: 4 });
