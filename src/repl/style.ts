/** Text with a role; a terminal shows colours, a file or NO_COLOR shows plain text. */
export interface Style {
  readonly color: boolean;
  address(text: string): string;
  symbol(text: string): string;
  register(text: string): string;
  changed(text: string): string;
  mnemonic(text: string): string;
  dim(text: string): string;
  error(text: string): string;
  heading(text: string): string;
  current(text: string): string;
}
