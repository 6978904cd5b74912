// Numbers and times as people read them. Absent is a dash, never a zero.

export const DASH = "–";

export function num(value: number | null | undefined, digits = 4): string {
  if (value == null || !Number.isFinite(value)) return DASH;
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e9)) return value.toExponential(2).replace("e+", "e");
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return size >= 1000 ? value.toLocaleString("en", { maximumFractionDigits: 0 }) : String(Number(value.toPrecision(digits)));
}

export const signed = (value: number | null | undefined): string =>
  value == null ? DASH : `${value > 0 ? "+" : value < 0 ? "−" : "±"}${num(Math.abs(value))}`;

export const percent = (share: number | null | undefined, digits = 0): string =>
  share == null ? DASH : `${(100 * share).toFixed(digits)} %`;

export function duration(seconds: number | null | undefined): string {
  if (seconds == null || !Number.isFinite(seconds) || seconds < 0) return DASH;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  return h ? `${h} h ${m} min` : `${m} min ${s} s`;
}

export function bytes(value: number | null | undefined): string {
  if (value == null) return DASH;
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = value < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(value) / 3));
  return `${Number((value / 1000 ** power).toPrecision(3))} ${units[power]}`;
}

export const seconds = (stamp: string | null | undefined): number | null => (stamp ? Date.parse(stamp) / 1000 : null);

export function clock(stamp: string): string {
  return new Date(stamp).toLocaleTimeString("en-GB", { hour12: false });
}

export function moment(stamp: string | null | undefined): string {
  return stamp ? new Date(stamp).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" }) : DASH;
}

export function ago(stamp: string, now: number): string {
  const past = (now - Date.parse(stamp)) / 1000;
  if (past < 60) return "just now";
  if (past < 3600) return `${Math.floor(past / 60)} min ago`;
  if (past < 86400) return `${Math.floor(past / 3600)} h ago`;
  return new Date(stamp).toLocaleDateString("en-GB", { dateStyle: "medium" });
}

export const short = (id: string | null | undefined): string => (id ? id.slice(0, 12) : "base");
export const words = (name: string): string => name.replaceAll("_", " ");
