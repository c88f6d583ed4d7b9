/** What looks at a Linux guest, together: `vm.linux` loads it at its first use. */
export { entryCode, findKernel, stillThere } from "./kernel.ts";
export { readLog } from "./log.ts";
export { readModules, readModuleSymbols } from "./modules.ts";
export { Orc } from "./orc.ts";
export { currentTask, readTasks } from "./tasks.ts";
export { KernelTypes } from "./types.ts";
export { sleepingRegisters, unwind } from "./unwind.ts";
