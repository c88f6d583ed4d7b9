/**
 * Debian's kernel talks to Unix sockets of the host over virtio-vsock, and writes and discards a qcow2 image on
 * virtio-blk, all over PCI. Run in the KVM lab; prints JSON.
 */
import { linux, MiB, open, virtioDisk, virtioSocket } from "../../mod.ts";
import { emptyQcow2 } from "../../src/remote/qemu/empty_qcow2.ts";
import { findKernel } from "../lab/kernel.ts";
import { guestInitramfs } from "./initramfs.ts";

const TO_HOST = 1024;
const TO_GUEST = 5000;
const WRITTEN = 2 << 20;
const SCRIPT = `
chmod +x /bin/vsock
echo "REFUSED $(vsock connect 99 < /dev/null 2>&1)"
echo "ANSWER $(echo 'from the guest' | vsock connect ${TO_HOST})"
head -c 600000 /dev/urandom > /much
echo "SENT $(md5sum < /much)"
echo "BACK $(vsock connect ${TO_HOST} < /much | md5sum)"
echo 'the guest says hello' | vsock listen ${TO_GUEST} > /heard
echo "HEARD $(cat /heard)"
dd if=/dev/urandom of=/data bs=1M count=2 2>/dev/null
dd if=/data of=/dev/vda bs=1M 2>/dev/null; sync
echo 3 > /proc/sys/vm/drop_caches
[ "$(md5sum < /data)" = "$(dd if=/dev/vda bs=1M count=2 2>/dev/null | md5sum)" ] && echo "SAME yes"
echo "READY"
read go
blkdiscard /dev/vda && echo "DISCARDED $(dd if=/dev/vda bs=1M count=2 2>/dev/null | tr -d '\\0' | wc -c)"
echo "GIVEN"
read go
poweroff -f
`;
const kernel = findKernel();
const folder = await Deno.makeTempDir();
const image = `${folder}/disk.qcow2`;
await Deno.writeFile(image, emptyQcow2(8 << 20));
const program = `${folder}/vsock`;
const source = new URL("vsock.c", import.meta.url).pathname;
const { success } = await new Deno.Command("cc", { args: ["-O1", "-static", "-o", program, source] })
  .output();
if (!success) throw new Error("vsock.c can't be built");

const path = `${folder}/host.sock`;
using listener = Deno.listen({ transport: "unix", path });
/** Takes all, then gives it back. */
const serving = (async () => {
  for (let i = 0; i < 2; i++) {
    using connection = await listener.accept();
    const all = await readAll(connection);
    for (let done = 0; done < all.length;) done += await connection.write(all.subarray(done));
    await connection.closeWrite();
  }
})();
await using vm = await open({
  backend: "kvm",
  memory: MiB(256),
  boot: linux({
    kernel: kernel.image,
    initrd: await guestInitramfs(
      kernel,
      ["virtio_pci", "virtio_blk", "vmw_vsock_virtio_transport"],
      SCRIPT,
      { "bin/vsock": await Deno.readFile(program) },
    ),
    cmdline: "console=ttyS0 nokaslr mitigations=off panic=-1 quiet",
  }),
  devices: [
    virtioSocket(
      { connect: { [TO_HOST]: path }, listen: [{ path: `${folder}/guest.sock`, port: TO_GUEST }] },
      {
        cid: 7,
        transport: "pci",
      },
    ),
    virtioDisk(image, { transport: "pci" }),
  ],
});
// A lab that others keep busy takes minutes.
const LIMIT = { timeoutMs: 1_500_000 };
const running = vm.continue(LIMIT);
await vm.console.expect("LISTENING", LIMIT);
await serving;
using guest = await Deno.connect({ transport: "unix", path: `${folder}/guest.sock` });
await guest.write(new TextEncoder().encode("the host says hello\n"));
await guest.closeWrite();
const heard = new TextDecoder().decode(await readAll(guest));
await vm.console.expect("READY", LIMIT);
const grown = (await Deno.stat(image)).blocks ?? 0;
await vm.console.send("\n");
await vm.console.expect("GIVEN", LIMIT);
const shrunk = (await Deno.stat(image)).blocks ?? 0;
await vm.console.send("\n");
const stop = await running;
const told = (what: string) => new RegExp(`^${what} (.*?)\\s*$`, "m").exec(vm.console.text)?.[1];
console.error(vm.console.text, vm.virtio.get("vsock0")?.inspect(), grown, shrunk);
console.log(JSON.stringify({
  stop: stop.kind === "shutdown" ? stop.reason : stop.kind,
  refused: told("REFUSED"),
  answer: told("ANSWER"),
  much: told("SENT") === told("BACK") && told("SENT") !== undefined,
  guestHeard: told("HEARD"),
  hostHeard: heard.trim(),
  disk: told("SAME"),
  grew: grown * 512 > WRITTEN,
  left: told("DISCARDED"),
  shrank: (grown - shrunk) * 512 > WRITTEN / 2,
}));
await Deno.remove(folder, { recursive: true });

async function readAll(connection: Deno.Conn): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const into = new Uint8Array(65_536);
  for (let n = await connection.read(into); n !== null; n = await connection.read(into)) {
    parts.push(into.slice(0, n));
  }
  return new Uint8Array(await new Blob(parts as Uint8Array<ArrayBuffer>[]).arrayBuffer());
}
