/**
 * The time registers of the MC146818: what one second, or many, do to them. Pure functions over the RAM.
 *
 * Data sheet: Motorola MC146818A, 1984, "Time, Calendar and Alarm Locations" and "Update Cycle".
 */

/** Indices of the time registers. */
export const SECONDS = 0x00;
export const SECONDS_ALARM = 0x01;
export const MINUTES = 0x02;
export const MINUTES_ALARM = 0x03;
export const HOURS = 0x04;
export const HOURS_ALARM = 0x05;
export const DAY_OF_WEEK = 0x06;
export const DAY_OF_MONTH = 0x07;
export const MONTH = 0x08;
export const YEAR = 0x09;
export const REGISTER_B = 0x0b;
/** Not of the chip: where PC firmware keeps the century, in the format of the other registers. */
export const CENTURY = 0x32;
/** Where a PS/2 keeps it; follows the other. */
const CENTURY_PS2 = 0x37;

const B_BINARY_BIT = 0x04;
const B_24_HOURS_BIT = 0x02;
const PM_BIT = 0x80;
/** An alarm register with both bits set matches any value. */
const ALARM_ANY_MASK = 0xc0;
const DAY_SECONDS = 86_400;

type Ram = number[];

function decode(ram: Ram, value: number): number {
  return ram[REGISTER_B] & B_BINARY_BIT ? value : (value >> 4) * 10 + (value & 0x0f);
}

function encode(ram: Ram, value: number): number {
  return ram[REGISTER_B] & B_BINARY_BIT ? value : Math.floor(value / 10) % 10 << 4 | value % 10;
}

function decodeHour(ram: Ram, value: number): number {
  if (ram[REGISTER_B] & B_24_HOURS_BIT) return decode(ram, value);
  return decode(ram, value & ~PM_BIT) % 12 + (value & PM_BIT ? 12 : 0);
}

function encodeHour(ram: Ram, hour: number): number {
  if (ram[REGISTER_B] & B_24_HOURS_BIT) return encode(ram, hour);
  return encode(ram, hour % 12 || 12) | (hour >= 12 ? PM_BIT : 0);
}

/** The time in the registers, in milliseconds since 1970 in whatever zone the guest keeps; odd values carry over. */
export function readTime(ram: Ram): number {
  const century = decode(ram, ram[CENTURY]);
  const year = decode(ram, ram[YEAR]) + 100 * (century >= 19 && century <= 99 ? century : 20);
  return Date.UTC(
    year,
    decode(ram, ram[MONTH]) - 1,
    decode(ram, ram[DAY_OF_MONTH]),
    decodeHour(ram, ram[HOURS]),
    decode(ram, ram[MINUTES]),
    decode(ram, ram[SECONDS]),
  );
}

/** Puts a time into the registers, day of the week (1 is Sunday) left alone. */
function putTime(ram: Ram, milliseconds: number): void {
  const date = new Date(milliseconds);
  ram[SECONDS] = encode(ram, date.getUTCSeconds());
  ram[MINUTES] = encode(ram, date.getUTCMinutes());
  ram[HOURS] = encodeHour(ram, date.getUTCHours());
  ram[DAY_OF_MONTH] = encode(ram, date.getUTCDate());
  ram[MONTH] = encode(ram, date.getUTCMonth() + 1);
  ram[YEAR] = encode(ram, date.getUTCFullYear() % 100);
  ram[CENTURY] = ram[CENTURY_PS2] = encode(ram, Math.floor(date.getUTCFullYear() / 100) % 100);
}

/** Sets the clock, day of the week included. */
export function setTime(ram: Ram, milliseconds: number): void {
  putTime(ram, milliseconds);
  ram[DAY_OF_WEEK] = new Date(milliseconds).getUTCDay() + 1;
}

/** `seconds` update cycles. Says whether the alarm matched at one of them. */
export function advance(ram: Ram, seconds: number): boolean {
  const before = readTime(ram);
  const after = before + seconds * 1000;
  const alarm = alarmMatches(ram, before / 1000, seconds);
  const days = Math.floor(after / (DAY_SECONDS * 1000)) - Math.floor(before / (DAY_SECONDS * 1000));
  putTime(ram, after);
  // The chip counts the day of the week by itself, from whatever it was set to.
  if (days > 0) ram[DAY_OF_WEEK] = (ram[DAY_OF_WEEK] + 6 + days) % 7 + 1;
  return alarm;
}

/** Whether the alarm's time lies in the `count` seconds behind `start` (a day's worth tells it all). */
function alarmMatches(ram: Ram, start: number, count: number): boolean {
  const [seconds, minutes, hours] = [ram[SECONDS_ALARM], ram[MINUTES_ALARM], ram[HOURS_ALARM]];
  const any = (value: number) => (value & ALARM_ANY_MASK) === ALARM_ANY_MASK;
  const [second, minute, hour] = [decode(ram, seconds), decode(ram, minutes), decodeHour(ram, hours)];
  for (let i = 1; i <= Math.min(count, DAY_SECONDS); i++) {
    const at = ((start + i) % DAY_SECONDS + DAY_SECONDS) % DAY_SECONDS;
    if (
      (any(seconds) || at % 60 === second) && (any(minutes) || Math.floor(at / 60) % 60 === minute) &&
      (any(hours) || Math.floor(at / 3600) === hour)
    ) return true;
  }
  return false;
}
