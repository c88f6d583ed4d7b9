/** How much memory the host has at all, in bytes: RAM and swap. A guest that is larger can't be served. */
export function hostMemory(): number {
  const { total, swapTotal } = Deno.systemMemoryInfo();
  return total + swapTotal;
}
