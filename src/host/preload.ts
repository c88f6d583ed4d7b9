/**
 * Binds libc's functions when imported, instead of each at its first use: for tests, whose resource sanitizer would take
 * what is opened in the middle of a test for a leak.
 */
import { bindAll } from "./libc.ts";

bindAll();
