/** The parts of a value as QEMU writes them: separated by commas; a doubled comma is a comma of the part. */
export function commaList(text: string): string[] {
  return text.split(/(?<!,),(?!,)/).map((part) => part.replaceAll(",,", ","));
}
