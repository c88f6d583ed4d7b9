/** Xen's libraries by the names that hvsh knows them under, the best first. libxenctrl and libxenguest carry Xen's release. */

/** Releases of Xen whose binary interface abi/xen.ts describes. */
export const RELEASES = ["4.17"] as const;

export const SONAMES = {
  libxenctrl: RELEASES.map((release) => `libxenctrl.so.${release}`),
  libxenguest: RELEASES.map((release) => `libxenguest.so.${release}`),
  libxencall: ["libxencall.so.1"],
  libxendevicemodel: ["libxendevicemodel.so.1"],
  libxenevtchn: ["libxenevtchn.so.1"],
  libxenforeignmemory: ["libxenforeignmemory.so.1"],
  libxenstore: ["libxenstore.so.4", "libxenstore.so.3.0"],
  libxentoollog: ["libxentoollog.so.1"],
} as const;
