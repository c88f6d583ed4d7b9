/** Files that guests print into: the only way from here to what they are at the host. */
export { PrintFile } from "../backing/print_file.ts";
