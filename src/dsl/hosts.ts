import type { BackendName } from "../vm/backend.ts";

/** Whether guests can be opened through a backend on this host. */
export type Host =
  | {
    /** As `open()` takes it. */
    readonly backend: BackendName;
    readonly usable: true;
    /** One line: version, and what is special about it here. */
    readonly detail: string;
  }
  | {
    /** As `open()` would take it. */
    readonly backend: BackendName;
    readonly usable: false;
    /** Why not. */
    readonly reason: string;
    /** What the user can do about it. */
    readonly remedy: string;
  };
