/** A vCPU's thread that dies: vCPU 1's at its third entry. For tests. */
import { workerData } from "node:worker_threads";
import { libc } from "../host/libc.ts";
import { KVM } from "./abi.ts";
import { serve, type VcpuOrders } from "./vcpu_worker.ts";

const orders = workerData as VcpuOrders;
let entries = 0;

serve(orders, (fd) => {
  if (orders.vcpu === 1 && ++entries === 3) throw new Error("it dies on purpose");
  return libc().ioctl(fd, KVM.RUN, 0);
});
