export * from "./nouns.ts";
export type {
  BackendName,
  BackendOptions,
  ChipsAtStart,
  CpuidEntry,
  MemoryRegion,
  Rom,
  Shadow,
  VcpuEvents,
} from "../vm/backend.ts";
export { type BlockBacking, type BlockFault, type BlockFaultKind, SECTOR_BYTES } from "../vm/block.ts";
export type * from "../vm/breakpoint.ts";
export type {
  AccessPoint,
  CausePlace,
  Device,
  DeviceHost,
  DeviceRange,
  DeviceRequest,
  DeviceTime,
  DoorbellPlace,
  InterruptAcknowledge,
  InterruptCauses,
  InterruptController,
  InterruptLine,
  LentMemory,
  TakenRequest,
} from "../vm/device.ts";
export type * from "../vm/machine.ts";
export type { Picture } from "../vm/picture.ts";
export type * from "../vm/stop.ts";
export type * from "../vm/trace.ts";
export type { Autopsy } from "../debug/autopsy.ts";
export type { Backtrace, BacktraceEnd, Frame } from "../debug/backtrace.ts";
export type { DisassembleOptions } from "../debug/code_view.ts";
export type { Syntax } from "../debug/disassembly.ts";
export type { Flow, Instruction, MemoryUse, OperandAccess } from "../debug/instruction.ts";
export type { KernelSymbol } from "../linux/kallsyms.ts";
export type { LogRecord } from "../linux/log.ts";
export type { KernelModule, ModuleList, ModuleRange } from "../linux/modules.ts";
export type { KernelTask, TaskList } from "../linux/tasks.ts";
export type { KernelBacktrace, KernelFrame } from "../linux/unwind.ts";
export { type LinuxHost, type LinuxInfo, LinuxView, type ModuleSymbol } from "./linux.ts";
export {
  type NearestSymbol,
  type ProgramSymbol,
  type SymbolKind,
  Symbols,
  type SymbolTableInfo,
} from "../debug/symbols.ts";
export type { GdbServer, GdbServerOptions } from "../gdb/server.ts";
export type { Monitor } from "../gdb/session.ts";
export type { Cancel, Timebase } from "../devices/device_clock.ts";
export type { BalloonStatistics } from "../devices/virtio/balloon_statistics.ts";
export type { Chain, Segment } from "../devices/virtio/chain.ts";
export type { QueueProgress, VirtQueue } from "../devices/virtio/queue.ts";
export type { VirtioRequest } from "../devices/virtio/virtio_device.ts";
export type { VirtioLink, VirtioType, VirtioView } from "../devices/virtio/virtio_type.ts";
export type { ElfProtocol } from "../x86/boot/elf_image.ts";
export type { BootImage, BootProtocol, BootWrite } from "../x86/boot/image.ts";
export type { Bitness } from "../x86/mode.ts";
export {
  bootSector,
  type BootSpec,
  type DriveOptions,
  type DriveSource,
  elf,
  type ElfBoot,
  type FileOrBytes,
  firmware,
  type FirmwareBoot,
  flat,
  type FlatBoot,
  type HandedKernel,
  linux,
  type LinuxBoot,
} from "./boot.ts";
export type { CoreDump } from "./core_dump.ts";
export { type ConsoleEnd, type ConsoleInput, GuestConsole } from "./console.ts";
export {
  type FrameOffloads,
  type NetBacking,
  type PortForward,
  type SocketBacking,
  type SocketStream,
  type UnfinishedFrames,
  type UnixSocketsOptions,
  type UserNetOptions,
  virtio,
  VirtioBalloon,
  virtioBalloon,
  type VirtioBalloonOptions,
  type VirtioCardOptions,
  VirtioConsole,
  virtioConsole,
  type VirtioConsoleOptions,
  virtioDisk,
  type VirtioDiskOptions,
  type VirtioMmioOptions,
  VirtioNet,
  virtioNet,
  type VirtioNetOptions,
  type VirtioOptions,
  type VirtioPciOptions,
  type VirtioPlaceOptions,
  type VirtioPort,
  virtioRng,
  VirtioSocket,
  virtioSocket,
  type VirtioSocketOptions,
} from "./virtio.ts";
export type { Drive, DriveChanges, DriveName, FloppyName, IdeName } from "./drives.ts";
export type { Keyboard } from "./keyboard.ts";
export type { Mouse, MouseButton } from "./mouse.ts";
export type { Sound, Tone } from "../devices/speaker.ts";
export { Screen } from "./screen.ts";
export { ByteDevice } from "../devices/byte_device.ts";
export { ParallelPort, type ParallelPortOptions, type Printer } from "../devices/parallel_port.ts";
export { parallelPort } from "./parallel.ts";
export { PcTestdev } from "../devices/pc_testdev.ts";
export { IoApic, type IoApicOptions } from "../devices/ioapic.ts";
export { Uart16550, type Uart16550Options } from "../devices/uart16550.ts";
export type { Host } from "./hosts.ts";
export type { DiskPlug, HypervisorMonitor, NetworkPlug } from "../vm/hypervisor.ts";
export { GuestMachine } from "./machine.ts";
export { compareFiles, compareMachines, traceLines, type Verdict } from "./traces.ts";
export type { MachineHistory } from "../vm/history.ts";
export type { Difference } from "../debug/comparison.ts";
export { type Disk, type DiskMode, type DiskOptions, type DiskOverlay, openDisk } from "./disks.ts";
export {
  attach,
  type AttachOptions,
  cleanDomains,
  type Domain,
  type DomainDetails,
  type DomainKind,
  domains,
  type DomainState,
  type EventChannel,
  type Grant,
  hypervisorLog,
  inspectDomain,
  type PvState,
  repairDomains,
  type StoreEntry,
} from "./attach.ts";
export { HostError, hosts, open, type OpenOptions } from "./open.ts";
export { dealWithSignals } from "./signals.ts";
