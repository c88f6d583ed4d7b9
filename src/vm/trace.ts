/** One access of the guest, as the trace keeps it. */
export interface TraceEntry {
  /** Counts from 0 since the machine was opened; never repeats. */
  readonly sequence: number;
  /** Milliseconds since the machine was opened. */
  readonly time: number;
  readonly vcpu: number;
  readonly kind: "port" | "mmio" | "msr" | "other";
  /** For "other": the exit's kind. */
  readonly name: string;
  readonly write: boolean;
  /** Port or MSR number, or guest-physical address. */
  readonly address: bigint;
  /** Bytes of one access. */
  readonly size: number;
  /** How many accesses in one exit (string I/O). */
  readonly count: number;
  /** The first access's value, little-endian. */
  readonly value: bigint;
  /** RIP at the access. */
  readonly rip: bigint;
  /** The device that answered; undefined if none did. */
  readonly device?: string;
}

/** Which entries of the trace. */
export interface TraceFilter {
  readonly kind?: TraceEntry["kind"];
  readonly write?: boolean;
  /** First and last address. */
  readonly from?: bigint | number;
  readonly to?: bigint | number;
  readonly device?: string;
  readonly vcpu?: number;
  /** Only the newest so many. */
  readonly last?: number;
}

/** How often the guest was left, by kind, and by address for accesses. */
export interface ExitStatistics {
  readonly total: number;
  /** Exit kind to count. */
  readonly kinds: Readonly<Record<string, number>>;
  /** Busiest first. */
  readonly addresses: readonly {
    readonly kind: "port" | "mmio" | "msr";
    readonly address: bigint;
    readonly reads: number;
    readonly writes: number;
    readonly device?: string;
  }[];
}

/** A bounded ring of the newest accesses, always on. */
export interface Trace {
  /** How many entries are kept. */
  readonly capacity: number;
  /** The entries that are still there, oldest first. */
  entries(filter?: TraceFilter): TraceEntry[];
  /** One JSON object a line; `bigint`s as "0x..." strings. */
  toJsonLines(filter?: TraceFilter): string;
  /** The Chrome trace event format, which Perfetto reads. */
  toPerfetto(filter?: TraceFilter): string;
  statistics(): ExitStatistics;
  /** Forgets entries and counts. */
  clear(): void;
}
