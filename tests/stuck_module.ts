/** A module for leaving_test.ts that never gives the event loop a turn. */
export {};
Deno.stdout.writeSync(new TextEncoder().encode("stuck"));
for (;;);
