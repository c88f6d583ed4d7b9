import type { BackendName } from "../vm/backend.ts";

/** Whether guests can be opened through a backend on this host. */
export type Host =
  | { readonly backend: BackendName; readonly usable: true; readonly detail: string }
  | {
    readonly backend: BackendName;
    readonly usable: false;
    readonly reason: string;
    readonly remedy: string;
  };
