import { html } from "htm/preact";
export function CompareView(_: Record<string, string>) { return html`<h1>compare</h1>`; }
