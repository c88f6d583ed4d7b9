/**
 * Opens libc when imported, instead of at the first use: for tests, whose resource sanitizer would take a library
 * that is opened in the middle of a test for a leak.
 */
import { libc } from "./libc.ts";

libc();
