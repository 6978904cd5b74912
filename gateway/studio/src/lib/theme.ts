// Light or dark: as the system says, or as the person chose. Drawings read their colours here and are drawn anew.
import { computed, effect, signal } from "@preact/signals";

export type Choice = "system" | "light" | "dark";

const SLOT = "ragweld-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const systemIsDark = signal(dark.matches);
dark.addEventListener("change", (event) => {
  systemIsDark.value = event.matches;
});

const stored = localStorage.getItem(SLOT);
export const choice = signal<Choice>(stored === "light" || stored === "dark" ? stored : "system");
export const theme = computed<"light" | "dark">(() =>
  choice.value === "system" ? (systemIsDark.value ? "dark" : "light") : choice.value,
);

effect(() => {
  document.documentElement.dataset["theme"] = theme.value;
  localStorage.setItem(SLOT, choice.value);
});

const calm = matchMedia("(prefers-reduced-motion: reduce)");
export const prefersCalm = signal(calm.matches);
calm.addEventListener("change", (event) => {
  prefersCalm.value = event.matches;
});

/** A colour of the style sheet, by its variable, as it is in the theme now. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
