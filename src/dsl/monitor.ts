/** The hypervisor's monitor, as a machine has it. */
import type { RunControl } from "../debug/control.ts";
import type { HypervisorMonitor } from "../vm/hypervisor.ts";

/** The hypervisor's monitor, for a machine: what changes the guest needs it to stand still. */
export function monitorOf(control: RunControl, monitor: HypervisorMonitor): HypervisorMonitor {
  const open = <T>(body: () => T): T => {
    control.requireOpen("monitor");
    return body();
  };
  return {
    execute: (command, args) => open(() => monitor.execute(command, args)),
    command: (line) => open(() => monitor.command(line)),
    save: async (name) => {
      control.requirePaused("save");
      await monitor.save(name);
    },
    load: async (name) => {
      control.requirePaused("load");
      await monitor.load(name);
      control.forget();
    },
    addDisk: (path, options) => open(() => monitor.addDisk(path, options)),
    addNetwork: (options) => open(() => monitor.addNetwork(options)),
    removeDevice: (id) => open(() => monitor.removeDevice(id)),
  };
}
