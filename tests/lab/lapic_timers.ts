/** Guests with a periodic LAPIC timer that write CR8 in interrupt handlers, in a KVM lab. */
import { VcpuFd } from "../../src/kvm/vcpu_fd.ts";

/** KVM's shortest period of a periodic LAPIC timer, in microseconds. */
const SHORTEST = "/sys/module/kvm/parameters/min_timer_period_us";
/** Ten seconds; three. */
const SLOW_US = 10_000_000;
const QUICK_US = 3_000_000;

/**
 * Makes periodic LAPIC timers slow, while this process is in a KVM lab: EDK II's handlers write CR8 back at their end,
 * and the lab's QEMU ends by an assertion when an interrupt waits for a window then (docs/labs.md). That must be none
 * of the next tick: a handler takes 0.3 s there while the flash chip comes and goes, as KVM forgets its page tables.
 *
 * `quicken` makes the timers of this process's guests, which have one vCPU, as quick as is fit for a guest that is
 * typed at. Elsewhere than in a lab nothing is changed.
 */
export function slowLapicTimers(): Disposable & { quicken(): void } {
  if (Deno.env.get("HVSH_LAB") !== "kvm") return { quicken: () => {}, [Symbol.dispose]: () => {} };
  const before = Deno.readTextFileSync(SHORTEST);
  Deno.writeTextFileSync(SHORTEST, String(SLOW_US));
  return {
    quicken() {
      Deno.writeTextFileSync(SHORTEST, String(QUICK_US));
      // KVM works the period out when the timer is started; giving it its own state back starts it.
      for (const vcpu of vcpus()) vcpu.setLapic(vcpu.getLapic());
    },
    [Symbol.dispose]: () => Deno.writeTextFileSync(SHORTEST, before),
  };
}

/** The vCPUs of this process, by their descriptors, which stay their owner's. */
function vcpus(): VcpuFd[] {
  return [...Deno.readDirSync("/proc/self/fd")].flatMap(({ name }) => {
    try {
      const vcpu = Deno.readLinkSync(`/proc/self/fd/${name}`).startsWith("anon_inode:kvm-vcpu:");
      return vcpu ? [new VcpuFd(Number(name))] : [];
    } catch (error) {
      // The descriptor of the listing itself.
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  });
}
