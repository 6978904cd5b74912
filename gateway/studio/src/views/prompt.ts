import { html } from "htm/preact";
export function PromptView(_: Record<string, string>) { return html`<h1>prompt</h1>`; }
