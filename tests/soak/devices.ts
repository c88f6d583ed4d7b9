/** Every device under random and adversarial accesses: the property tests beside the devices, with more cases. */
const FOLDERS = ["src/devices", "src/backing"].map((path) =>
  new URL(`../../${path}`, import.meta.url).pathname
);

/**
 * Runs them, and throws if one does not hold; what was found is printed by the tests.
 *
 * @param options `runs`, sequences for each device. The seeds are those of the tests.
 */
export async function devicesHold({ runs }: { runs: number }): Promise<void> {
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-q", "-A", "--no-check", ...FOLDERS],
    env: { HVSH_SOAK: String(runs) },
  }).output();
  if (!success) throw new Error("a device's property does not hold: run its tests with HVSH_SOAK set");
}
