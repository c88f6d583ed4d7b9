/** Notifications by the driver that leave the guest running, where the machine has doorbells. */
import type { DeviceHost, DoorbellPlace } from "../../vm/device.ts";
import type { VirtioDevice } from "./virtio_device.ts";

/** A transport's doorbells: one for each queue of a device that its driver has set up. */
export class Kicks {
  #host: DeviceHost | undefined;
  #hung: (Disposable | undefined)[] | undefined;

  /** The machine comes, or goes. */
  connect(host: DeviceHost | undefined): void {
    this.#host = host;
  }

  /** Hangs them up for the queues that are ready, unless they hang. A queue without one is notified by an access. */
  hang(virtio: VirtioDevice, place: (queue: number) => DoorbellPlace): void {
    if (this.#hung !== undefined || this.#host?.doorbell === undefined) return;
    this.#hung = virtio.setups.map(({ ready }, queue) =>
      ready ? this.#host!.doorbell!(place(queue), () => virtio.kicked(queue)) : undefined
    );
  }

  /** Takes them down: the driver has reset the device. */
  takeDown(): void {
    const hung = this.#hung;
    this.#hung = undefined;
    for (const bell of hung ?? []) bell?.[Symbol.dispose]();
  }
}
