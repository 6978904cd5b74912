import { html } from "htm/preact";
export function SettingsView(_: Record<string, string>) { return html`<h1>settings</h1>`; }
