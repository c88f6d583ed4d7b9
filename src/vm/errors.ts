/** Every error of hvsh says what happened in one sentence and, where there is one, what to do about it. */
export class HvshError extends Error {
  /** The class's name: it tells errors apart where `instanceof` can't, across module copies and processes. */
  override name = "HvshError";
  /** One sentence: what the user can do. */
  readonly remedy?: string;
  /**
   * An error with its way out.
   *
   * @param message One sentence: what happened.
   * @param options `cause`, the error behind this one, and `remedy`, what the user can do.
   */
  constructor(message: string, options: { cause?: unknown; remedy?: string } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    if (options.remedy !== undefined) this.remedy = options.remedy;
  }
}

/** An address that nothing answers: outside guest memory, or not mapped by the guest's page tables. */
export class FaultError extends HvshError {
  /** "FaultError". */
  override name = "FaultError";
  /** The first byte's address that failed. */
  readonly address: bigint;
  /** Whether `address` is guest-physical or linear. */
  readonly space: "gpa" | "gva";
  /** The paging structure whose entry said no: "PML4E", "PDE", ...; undefined for a physical address. */
  readonly level?: string;
  /**
   * A fault at an address.
   *
   * @param where The first byte that failed, its space, and for linear ones the level that said no.
   */
  constructor(
    message: string,
    where: { address: bigint; space: "gpa" | "gva"; level?: string },
    options: { cause?: unknown; remedy?: string } = {},
  ) {
    super(message, options);
    this.address = where.address;
    this.space = where.space;
    if (where.level !== undefined) this.level = where.level;
  }
}

/** A call that the machine's present state does not allow: closed, running already, stale registers. */
export class StateError extends HvshError {
  /** "StateError". */
  override name = "StateError";
  /** The state that was in the way: "closed", "running", "stale", ... */
  readonly state: string;
  /**
   * A call at the wrong time.
   *
   * @param state One word: what was in the way.
   */
  constructor(message: string, state: string, options: { cause?: unknown; remedy?: string } = {}) {
    super(message, options);
    this.state = state;
  }
}

/** What this backend or host can't do, found by a probe or known by its nature. */
export class UnsupportedError extends HvshError {
  /** "UnsupportedError". */
  override name = "UnsupportedError";
  /** The capability's name, as in `vm.capabilities`. */
  readonly feature: string;
  /** Why not. */
  readonly reason: string;
  /**
   * A refusal; its message is made of both.
   *
   * @param feature The capability's name, or what was asked for.
   * @param reason Why it can't be had on this backend or host.
   */
  constructor(feature: string, reason: string, options: { cause?: unknown; remedy?: string } = {}) {
    super(`${feature} can't be had here: ${reason}`, options);
    this.feature = feature;
    this.reason = reason;
  }
}

/** An argument, file or image that makes no sense: the sentence names it and what was expected. */
export class InputError extends HvshError {
  /** "InputError". */
  override name = "InputError";
}

/** A pattern did not come on the console within its limit. A guest that runs too long is a stop instead. */
export class TimeoutError extends HvshError {
  /** "TimeoutError". */
  override name = "TimeoutError";
}
