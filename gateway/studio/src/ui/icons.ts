// Line icons, 20 by 20, drawn with the colour of the text.
import { html } from "htm/preact";

const PATHS = {
  runs: "M3 15c3.5 0 3-9 6.5-9S13 12 17 5",
  start: "M10 4v12M4 10h12",
  prompt: "M4 5h12v8H9l-3 3v-3H4z",
  adapters: "M10 3l7 3.5-7 3.5-7-3.5zM3 10.5l7 3.5 7-3.5M3 14l7 3.5 7-3.5",
  models: "M4 4h12v4H4zM4 12h12v4H4zM7 6h.01M7 14h.01",
  settings: "M4 6h7M15 6h1M4 14h1M9 14h7M13 4v4M7 12v4",
  sun: "M10 6.5a3.5 3.5 0 100 7 3.5 3.5 0 000-7zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1 1M14.7 14.7l1 1M4.3 15.7l1-1M14.7 5.3l1-1",
  moon: "M16 11.5A6.5 6.5 0 018.5 4a6.5 6.5 0 107.5 7.5z",
  system: "M3 4h14v9H3zM7 17h6M10 13v4",
  play: "M6 4l10 6-10 6z",
  pause: "M6 4v12M14 4v12",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return html`<svg class="icon" viewBox="0 0 20 20" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
}
