import { loadersHold } from "./soak/loaders.ts";

Deno.test("loaders: hostile images are placed in RAM or refused", () => {
  loadersHold({ runs: 400, seed: 20 });
});
