// Colours of losses and steps: one perceptually even map (viridis, CC0, by S. van der Walt and N. Smith).

export const MAP = [
  "#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151", "#bddf26", "#fde725",
] as const;

/** Colours are mixed ahead, so that a frame only looks them up. */
export const SHADES = 64;

const channels = MAP.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)) as [number, number, number]);

function mix(share: number): string {
  const place = Math.min(1, Math.max(0, share)) * (channels.length - 1);
  const [from, to] = [channels[Math.floor(place)]!, channels[Math.ceil(place)]!];
  const part = place % 1;
  return `rgb(${from.map((value, i) => Math.round(value + (to[i]! - value) * part)).join(",")})`;
}

export const SHADE: readonly string[] = Array.from({ length: SHADES }, (_, i) => mix(i / (SHADES - 1)));

/** Which of the shades a share of the scale has. */
export const shadeOf = (share: number): number => Math.round(Math.min(1, Math.max(0, share)) * (SHADES - 1));

/** Round numbers for an axis, about `wanted` of them. */
export function ticks(low: number, high: number, wanted: number): number[] {
  const raw = (high - low) / Math.max(1, wanted);
  if (!(raw > 0)) return [];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 5, 10].find((one) => one * power >= raw) ?? 10) * power;
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.max(0, Math.floor(high / step) - first + 1) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** How a value becomes a share of the scale, and back. */
export interface Scale {
  readonly low: number;
  readonly high: number;
  readonly isLog: boolean;
}

/** Far apart losses are told apart by ratios, close ones by differences. */
export function scaleFor(low: number, high: number): Scale {
  return { low, high, isLog: low > 0 && high / low > 4 };
}

export function shareOf({ low, high, isLog }: Scale, value: number): number {
  return isLog ? Math.log(Math.max(value, low) / low) / Math.log(high / low) : (value - low) / (high - low);
}

export function valueAt({ low, high, isLog }: Scale, share: number): number {
  return isLog ? low * (high / low) ** share : low + share * (high - low);
}
