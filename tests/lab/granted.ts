import assert from "node:assert/strict";

/** A page of dom0's that domain `id` may map (xengnttab.h). */
export class Granted implements Disposable {
  readonly #library = Deno.dlopen("libxengnttab.so.1", {
    xengntshr_open: { parameters: ["pointer", "u32"], result: "pointer" },
    xengntshr_share_pages: { parameters: ["pointer", "u32", "i32", "buffer", "i32"], result: "pointer" },
    xengntshr_unshare: { parameters: ["pointer", "pointer", "u32"], result: "i32" },
    xengntshr_close: { parameters: ["pointer"], result: "i32" },
  });
  readonly #handle = this.#library.symbols.xengntshr_open(null, 0);
  readonly #page: Deno.PointerValue;
  /** The grant reference, for the domain's GNTTABOP_map_grant_ref. */
  readonly reference: number;

  constructor(id: number) {
    const references = new Uint32Array(1);
    this.#page = this.#library.symbols.xengntshr_share_pages(this.#handle, id, 1, references, 1);
    assert.ok(this.#page !== null, "dom0 can share a page");
    this.reference = references[0];
  }

  [Symbol.dispose](): void {
    const { xengntshr_unshare, xengntshr_close } = this.#library.symbols;
    xengntshr_unshare(this.#handle, this.#page, 1);
    xengntshr_close(this.#handle);
    this.#library.close();
  }
}
