import { html } from "htm/preact";
export function ModelsView(_: Record<string, string>) { return html`<h1>models</h1>`; }
