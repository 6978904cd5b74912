// Where the page is, as the part of the address after `#`: `#/runs/<id>`, `#/compare/<id>/<id>`.
import { signal } from "@preact/signals";

const read = (): readonly string[] => location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);

export const route = signal<readonly string[]>(read());
addEventListener("hashchange", () => {
  route.value = read();
});

export const to = (...parts: readonly string[]): string => `#/${parts.map(encodeURIComponent).join("/")}`;

export function go(...parts: readonly string[]): void {
  location.hash = to(...parts);
}
