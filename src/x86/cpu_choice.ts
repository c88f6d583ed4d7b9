/** Which of the host's processor features a guest shall have: "host,-avx2,-rdrand". */
import { InputError } from "../vm/errors.ts";
import { cpuidFeatures, type CpuidLeaf, featureBit } from "./cpuid.ts";

/**
 * Takes features out of leaves, as a choice says: "host" first, then `-NAME` for each to be taken out and `+NAME` for
 * each that has to be there. Names are those of /proc/cpuinfo; nothing that rests on a feature goes with it.
 *
 * @throws {InputError} If the choice can't be read, a name is not known, or the host lacks what has to be there.
 */
export function chooseFeatures<T extends CpuidLeaf>(leaves: readonly T[], choice: string): T[] {
  const [model, ...changes] = choice.split(",").map((part) => part.trim());
  if (model !== "host") {
    throw new InputError(`there is no processor model "${model}" here: guests have the host's`, {
      remedy: 'begin with host: "host", or "host,-avx2"',
    });
  }
  const there = cpuidFeatures(leaves);
  let chosen = [...leaves];
  for (const change of changes) {
    const name = change.slice(1);
    const bit = featureBit(name);
    if (!/^[+-]/.test(change) || bit === undefined) {
      throw new InputError(`"${change}" is no change to a processor's features`, {
        remedy: 'write "-NAME" or "+NAME" with a name as in /proc/cpuinfo: -avx2',
      });
    }
    if (change[0] === "-") {
      const { leaf, index, register, mask } = bit;
      chosen = chosen.map((l) =>
        l.function === leaf && l.index === index ? { ...l, [register]: (l[register] & ~mask) >>> 0 } : l
      );
    } else if (!there.includes(name)) {
      throw new InputError(`this host's hypervisor can't give a guest ${name}`, { remedy: "leave it out" });
    }
  }
  return chosen;
}
