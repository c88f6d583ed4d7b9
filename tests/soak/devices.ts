/** Every device under random and adversarial accesses: the property tests beside the devices, with more cases. */
import { readdirSync, readFileSync } from "node:fs";

const FOLDERS = ["src/devices", "src/backing"].map((path) =>
  new URL(`../../${path}/`, import.meta.url).pathname
);

/** The test files that take their number of cases from `HVSH_SOAK`, by themselves or through `device_contract.ts`. */
function propertyTests(): string[] {
  return FOLDERS.flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith("_test.ts"))
      .map((name) => folder + name)
      .filter((path) => /device_contract|HVSH_SOAK/.test(readFileSync(path, "utf8")))
  ).sort();
}

/**
 * Runs them, file by file, and throws if one does not hold, after its output.
 *
 * @param options `runs`, sequences for each device. The seeds are those of the tests.
 */
export async function devicesHold({ runs }: { runs: number }): Promise<void> {
  for (const path of propertyTests()) {
    const start = performance.now();
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "-q", "-A", "--no-check", path],
      env: { HVSH_SOAK: String(runs) },
    }).output();
    const seconds = Math.round((performance.now() - start) / 1000);
    console.log(`  ${path.split("/src/").at(-1)}: ${success ? "held" : "did not hold"}, ${seconds} s`);
    if (success) continue;
    for (const printed of [stdout, stderr]) console.error(new TextDecoder().decode(printed));
    throw new Error(`a device's property does not hold: run ${path} with HVSH_SOAK=${runs}`);
  }
}
