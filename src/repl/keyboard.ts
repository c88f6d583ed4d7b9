/** A key as node:readline tells it. */
export interface Key {
  /** What the terminal sent. */
  readonly sequence?: string;
  readonly name?: string;
  readonly ctrl?: boolean;
  readonly meta?: boolean;
}

/** The keyboard of a shell that prompts, for commands that want more than the line they were typed on. */
export interface Keyboard {
  /**
   * Hands every key to `take`, as the terminal sent it, Ctrl-C included, until it is disposed of.
   *
   * @param take First it gets what has been typed ahead.
   */
  grab(take: (bytes: string) => void): Disposable;
  /** Leaves terminal and keys to another program while `work` lasts. */
  lend<T>(work: () => Promise<T>): Promise<T>;
}
