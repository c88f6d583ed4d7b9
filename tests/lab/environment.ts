import type { LabKind } from "./qemu.ts";

/** Variables that a command in a lab gets from outside as they are. */
const PASSED = new Set([
  ...[
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "FORCE_COLOR",
    "CI",
  ],
  ...["XDG_CACHE_HOME", "DENO_DIR", "NPM_CONFIG_CACHE", "npm_config_cache", "EDITOR", "PAGER"],
]);

/** Folders every Debian root has in its PATH. */
const SYSTEM_PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/**
 * The environment of a command inside a lab: that of outside in small, since the files are the same. `HVSH_LAB` says
 * which lab it is; variables that begin with HVSH_ or LC_ are passed too. Deno's folder leads PATH, so that `deno` is
 * the running one; its caches are read through the overlay, and what is written to them dies with the lab.
 */
export function labEnvironment(
  kind: LabKind,
  outside: Record<string, string>,
  deno: string,
  xenTools?: string,
): Record<string, string> {
  const env: Record<string, string> = {
    HOME: "/root",
    USER: "root",
    LOGNAME: "root",
    TERM: "dumb",
    LANG: "C.UTF-8",
  };
  for (const [name, value] of Object.entries(outside)) {
    if (PASSED.has(name) || name.startsWith("HVSH_") || name.startsWith("LC_")) env[name] = value;
  }
  const path = [
    deno.slice(0, deno.lastIndexOf("/")),
    ...(outside.PATH ?? "").split(":").filter(Boolean),
    ...SYSTEM_PATH,
    ...(xenTools ? [xenTools] : []),
  ];
  env.PATH = [...new Set(path)].join(":");
  env.HVSH_LAB = kind;
  env.DENO_NO_UPDATE_CHECK = "1";
  return env;
}
