/** Networks at the host, for virtio. */
export { openTap, openUserNet, type PortForward, type UserNetOptions } from "../backing/net.ts";
export { recorded } from "../backing/pcap.ts";
