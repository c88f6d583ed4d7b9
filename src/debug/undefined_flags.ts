/** Status flags that an instruction leaves undefined (SDM vol. 1, appendix A, and each instruction's own page). */

const CF = 1 << 0;
const PF = 1 << 2;
const AF = 1 << 4;
const ZF = 1 << 6;
const SF = 1 << 7;
const OF = 1 << 11;
const ALL = CF | PF | AF | ZF | SF | OF;

const ROWS: readonly (readonly [RegExp, number])[] = [
  [/^(and|or|xor|test)$/, AF],
  [/^(mul|imul)$/, SF | ZF | AF | PF],
  [/^(div|idiv)$/, ALL],
  // OF is defined for shifts by one alone; CF is not for counts beyond the operand.
  [/^(shl|sal|shr|sar|shld|shrd)$/, AF | OF | CF],
  [/^(rol|ror|rcl|rcr)$/, OF | CF],
  [/^(bsf|bsr)$/, CF | OF | SF | AF | PF],
  [/^(bt|bts|btr|btc)$/, OF | SF | AF | PF],
  [/^(tzcnt|lzcnt)$/, OF | SF | AF | PF],
  [/^(aaa|aas)$/, OF | SF | ZF | PF],
  [/^(aad|aam)$/, OF | AF | CF],
  [/^(daa|das)$/, OF],
];

/** The mask of flags that are not defined behind an instruction. */
export function undefinedFlags(mnemonic: string): bigint {
  return BigInt(ROWS.find(([pattern]) => pattern.test(mnemonic))?.[1] ?? 0);
}

const BITS: Readonly<Record<string, number>> = { CF, PF, AF, ZF, SF, OF, DF: 1 << 10, IF: 1 << 9 };

/** The mask of flags with these names. */
export function flagMask(names: readonly string[]): bigint {
  return BigInt(names.reduce((mask, name) => mask | (BITS[name] ?? 0), 0));
}
