import { html } from "htm/preact";
export function AdaptersView(_: Record<string, string>) { return html`<h1>adapters</h1>`; }
