/** Which of RAM and the ROM over it a guest meets, stretch by stretch: arithmetic for backends. */
import type { Shadow } from "./backend.ts";

/** A stretch of guest-physical addresses: the first one, and the first one behind. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** How far "below" is: bit 20 of an address. */
const MEGABYTE = 0x10_0000;

/** What has been asked for; where nothing has, a ROM that lies over RAM hides it. */
export class ShadowMap {
  /** Sorted, never overlapping. */
  #stretches: (Span & { readonly how: Shadow })[] = [];

  /** Whether nothing has been asked for. */
  get empty(): boolean {
    return this.#stretches.length === 0;
  }

  /** Says what the guest meets in `span`, whatever was said of it before. */
  set(span: Span, how: Shadow): void {
    const rest = this.#stretches.flatMap((old) => [
      { ...old, to: Math.min(old.to, span.from) },
      { ...old, from: Math.max(old.from, span.to) },
    ]).filter(({ from, to }) => from < to);
    this.#stretches = [...rest, { ...span, how }].sort((a, b) => a.from - b.from);
  }

  /**
   * Cuts RAM and the ROMs over it into what the guest meets. Neighbours are not joined: a change of one stretch
   * leaves the others as they were.
   *
   * @param cut Makes the part `span` of an area; `readOnly` says whether the guest can't write it.
   * @param move Makes the same memory `by` bytes further up.
   */
  lay<Area extends Span>(
    ram: Area,
    roms: readonly Area[],
    cut: (area: Area, span: Span, readOnly: boolean) => Area,
    move: (area: Area, by: number) => Area,
  ): Area[] {
    if (roms.length === 0 && this.empty) return [ram];
    return this.#within(ram, ram, roms, cut, move);
  }

  #within<Area extends Span>(
    bounds: Span,
    ram: Area,
    roms: readonly Area[],
    cut: (area: Area, span: Span, readOnly: boolean) => Area,
    move: (area: Area, by: number) => Area,
  ): Area[] {
    const edges = [...this.#stretches, ...roms].flatMap(({ from, to }) => [from, to])
      .filter((edge) => edge > bounds.from && edge < bounds.to);
    const points = [...new Set([bounds.from, ...edges, bounds.to])].sort((a, b) => a - b);
    return points.slice(1).flatMap((to, i) => {
      const span = { from: points[i], to };
      const covers = (other: Span) => other.from <= span.from && span.to <= other.to;
      const rom = roms.find(covers);
      const how = this.#stretches.find(covers)?.how ?? (rom === undefined ? "ram" : "rom");
      if (how === "below") {
        const lower = { from: span.from - MEGABYTE, to: span.to - MEGABYTE };
        if (lower.from < ram.from) return [];
        return this.#within(lower, ram, roms, cut, move).map((area) => move(area, MEGABYTE));
      }
      if (how === "rom") return rom === undefined ? [] : [cut(rom, span, true)];
      return [cut(ram, span, how === "read-only")];
    });
  }
}
