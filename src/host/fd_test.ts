import "./preload.ts";
import assert from "node:assert/strict";
import { EventFd } from "./eventfd.ts";
import { HostError } from "./error.ts";
import { OwnedFd } from "./fd.ts";
import { cString } from "./libc.ts";
import { hostMemory } from "./memory_info.ts";

Deno.test("a file that is missing gives an error with call, errno and name", () => {
  assert.throws(() => OwnedFd.open("/nowhere/at/all"), (error: unknown) => {
    assert.ok(error instanceof HostError);
    assert.equal(error.call, "open /nowhere/at/all");
    assert.equal(error.errno, 2);
    assert.equal(error.name, "ENOENT");
    assert.equal(error.message, "open /nowhere/at/all failed: ENOENT (no such file or directory)");
    return true;
  });
});

Deno.test("a descriptor is closed once", () => {
  const file = OwnedFd.open("/dev/null");
  assert.ok(file.fd > 2);
  file.close();
  assert.equal(file.fd, -1);
  const other = OwnedFd.open("/dev/null");
  file.close();
  assert.equal(other.tryIoctl(0), -1);
  assert.throws(() => other.ioctl("NOTHING", 0), { name: "ENOTTY", call: "ioctl NOTHING" });
  other.close();
  assert.throws(() => other.ioctl("NOTHING", 0), { name: "EBADF" });
});

Deno.test("errors carry a remedy: the caller's, else the errno's", () => {
  assert.equal(
    new HostError("mmap", 12).remedy,
    "Give the guest less memory, or close other guests and programs.",
  );
  assert.equal(new HostError("mmap", 12, { remedy: "Wait." }).remedy, "Wait.");
  assert.equal(new HostError("ioctl X", 22).remedy, undefined);
});

Deno.test("a path with a NUL is refused instead of cut", () => {
  assert.throws(() => cString("/dev/null\0/x"), RangeError);
});

Deno.test("an eventfd counts, and taking empties it", () => {
  using event = new EventFd();
  assert.equal(event.take(), 0n);
  event.signal();
  event.signal(4n);
  assert.equal(event.take(), 5n);
  assert.equal(event.take(), 0n);
});

Deno.test("the host's memory is what the kernel says", async () => {
  const kib = Number(/MemTotal:\s+(\d+)/.exec(await Deno.readTextFile("/proc/meminfo"))![1]);
  assert.ok(hostMemory() >= kib * 1024);
});
