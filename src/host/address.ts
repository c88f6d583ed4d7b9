/**
 * Where a buffer of JavaScript's lies, for structures that hold a pointer to another.
 *
 * Make the buffer as `new Uint8Array(new ArrayBuffer(n))`. The number is good only while `buffer` is referenced and not detached: keep it in a variable that is used after
 * the call, and give the number to nothing that keeps it.
 */
export function addressOf(buffer: Uint8Array<ArrayBuffer>): bigint {
  // SAFETY: V8 does not move the backing store of an ArrayBuffer that was made as such (only small typed arrays made
  // from a length lie on the moving heap); the caller keeps it alive over the one call that reads through the pointer.
  const pointer = Deno.UnsafePointer.of(buffer);
  return pointer === null ? 0n : Deno.UnsafePointer.value(pointer);
}
