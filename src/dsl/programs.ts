/** Programs of the host that guests run in, or rest on: QEMU, qemu-nbd. */
export { holdChildren as holdPrograms } from "../host/child.ts";
