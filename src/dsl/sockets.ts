/** Sockets at the host, for virtio. */
export { openUnixSockets, type UnixSocketsOptions } from "../backing/sockets.ts";
