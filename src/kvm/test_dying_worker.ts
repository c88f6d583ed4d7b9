/** A vCPU's thread that dies at its third entry: vCPU 1's, or that of `?vcpu=` in the program's address. For tests. */
import { workerData } from "node:worker_threads";
import { libc } from "../host/libc.ts";
import { KVM } from "./abi.ts";
import { serve, type VcpuOrders } from "./vcpu_worker.ts";

const orders = workerData as VcpuOrders;
const doomed = Number(new URL(orders.program).searchParams.get("vcpu") ?? 1);
let entries = 0;

serve(orders, (fd) => {
  if (orders.vcpu === doomed && ++entries === 3) throw new Error("it dies on purpose");
  return libc().ioctl(fd, KVM.RUN, 0);
});
