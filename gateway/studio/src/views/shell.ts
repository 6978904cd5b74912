// The frame: navigation, connection, theme, the key, and the view that the address names.
import { html } from "htm/preact";
import { useEffect } from "preact/hooks";
import { connection } from "../lib/live";
import { route, to } from "../lib/route";
import { choice, type Choice } from "../lib/theme";
import { Icon, type IconName } from "../ui/icons";
import { AdaptersView } from "./adapters";
import { CompareView } from "./compare";
import { KeyDialog } from "./key";
import { ModelsView } from "./models";
import { PromptView } from "./prompt";
import { RunView } from "./run";
import { RunsView } from "./runs";
import { SettingsView } from "./settings";
import { StartView } from "./start";

const ROOMS: readonly (readonly [string, string, IconName])[] = [
  ["runs", "Runs", "runs"],
  ["start", "New run", "start"],
  ["prompt", "Debug Prompt", "prompt"],
  ["adapters", "Adapters", "adapters"],
  ["models", "Models", "models"],
  ["settings", "Settings", "settings"],
];

export function Shell() {
  const [room = "runs"] = route.value;
  const title = ROOMS.find(([name]) => name === room)?.[1] ?? "Runs";
  useEffect(() => {
    document.title = `${route.value[0] === "runs" && route.value[1] ? route.value[1] : title} · ragweld Studio`;
  });
  return html`<a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <div class="shell">
      <nav class="side" aria-label="Studio">
        <a class="brand" href="#/runs"><img src="/studio/icon.svg" alt="" width="24" height="24" /><span>ragweld</span></a>
        <ul>${ROOMS.map(([name, text, icon]) => html`<li key=${name}><a href=${to(name)} data-testid=${`nav-${name}`}
          aria-current=${name === room || (name === "runs" && room === "compare") ? "page" : undefined}><${Icon} name=${icon} /><span>${text}</span></a></li>`)}</ul>
        <div class="side-foot"><${Connection} /><${ThemeSwitch} /></div>
      </nav>
      <main id="main" tabindex="-1">${view(route.value)}</main>
    </div>
    <${KeyDialog} />`;
}

function view([room = "runs", first, second]: readonly string[]) {
  switch (room) {
    case "start":
      return html`<${StartView} />`;
    case "compare":
      return html`<${CompareView} baseline=${first ?? ""} current=${second ?? ""} />`;
    case "prompt":
      return html`<${PromptView} />`;
    case "adapters":
      return html`<${AdaptersView} />`;
    case "models":
      return html`<${ModelsView} />`;
    case "settings":
      return html`<${SettingsView} />`;
    default:
      return first ? html`<${RunView} key=${first} runId=${first} />` : html`<${RunsView} />`;
  }
}

function skip(event: Event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

const STATES = { connecting: "Connecting", live: "Live", lost: "Reconnecting" } as const;

function Connection() {
  const state = connection.value;
  return html`<span class="connection ${state}" role="status" data-testid="connection" data-state=${state}><i aria-hidden="true"></i>${STATES[state]}</span>`;
}

const NEXT: Readonly<Record<Choice, Choice>> = { system: "light", light: "dark", dark: "system" };
const ICONS: Readonly<Record<Choice, IconName>> = { system: "system", light: "sun", dark: "moon" };

function ThemeSwitch() {
  const now = choice.value;
  return html`<button type="button" class="button quiet icon-only" data-testid="theme" title=${`Theme: ${now}`}
    aria-label=${`Theme: ${now}. Change it.`} onClick=${() => (choice.value = NEXT[now])}><${Icon} name=${ICONS[now]} /></button>`;
}
