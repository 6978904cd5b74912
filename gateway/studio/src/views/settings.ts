// Every setting: what it is, where its value comes from, when a change counts. A refusal is said at its field.
import { signal } from "@preact/signals";
import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import type { ConfigChanged, ConfigShown } from "../api";
import { call, get, Refusal, wordsOf } from "../lib/http";
import { runs } from "../lib/live";
import { typedOf, valueOf, type Property, type Schema } from "../lib/schema";
import { Field } from "../ui/field";
import { Action, Card, Note } from "../ui/parts";
import { resolved } from "./start";

const scope = signal("");

type Typed = Readonly<Record<string, string>>;
interface Known {
  readonly schema: Schema;
  readonly shown: ConfigShown;
}

async function ask(): Promise<Known> {
  const [schema, shown] = await Promise.all([get<Schema>("/api/config/schema"), get<ConfigShown>(`/api/config${scope.value ? `?scope=${encodeURIComponent(scope.value)}` : ""}`)]);
  return { schema, shown };
}

export function SettingsView() {
  const [known, setKnown] = useState<Known | null>(null);
  const [typed, setTyped] = useState<Typed>({});
  const [faults, setFaults] = useState<Typed>({});
  const [said, setSaid] = useState<ConfigChanged | null>(null);
  const [fault, setFault] = useState("");
  const again = () => ask().then(setKnown, (error) => setFault(wordsOf(error)));
  useEffect(() => void again(), [scope.value]);
  if (!known) return html`<header class="page-head"><h1>Settings</h1></header>${fault && html`<${Note} tone="bad">${fault}<//>`}`;
  const save = async () => {
    setFault("");
    setSaid(null);
    const [body, wrong] = changesOf(known, typed);
    setFaults(wrong);
    if (Object.keys(wrong).length) return;
    try {
      setSaid(await call<ConfigChanged>("PATCH", `/api/config${scope.value ? `?scope=${encodeURIComponent(scope.value)}` : ""}`, body));
      setTyped({});
      await again();
    } catch (error) {
      const at = fieldOf(error, Object.keys(body));
      if (at) setFaults({ [at]: wordsOf(error) });
      else setFault(wordsOf(error));
    }
  };
  const count = Object.keys(typed).length;
  return html`<header class="page-head"><h1>Settings</h1><div class="row"><${ScopePicker} />
      <${Action} act=${save} class="primary" testid="save-settings" disabled=${!count}>Save ${count ? `${count} change${count === 1 ? "" : "s"}` : ""}<//></div></header>
    ${fault && html`<${Note} tone="bad" testid="settings-fault">${fault}<//>`}${said && html`<${Said} said=${said} />`}
    ${Object.keys(known.shown.awaiting_restart).length > 0 && html`<${Note} tone="warn">Stored and waiting for a restart: ${Object.keys(known.shown.awaiting_restart).join(", ")}.<//>`}
    ${sectionsOf(known).map(([name, about, fields]) => html`<${Card} key=${name} id=${`section-${name}`} title=${html`${name} <span class="unit">${about}</span>`}><div class="fields">${fields.map(([key, property]) => html`<${Setting} key=${key} name=${key} property=${property} shown=${known.shown} typed=${typed[key]} fault=${faults[key]}
      type=${(text: string) => setTyped(text === valueNow(known.shown, key) ? without(typed, key) : { ...typed, [key]: text })} />`)}</div><//>`)}`;
}

function Setting(props: { name: string; property: Property; shown: ConfigShown; typed: string | undefined; fault: string | undefined; type: (text: string) => void }) {
  const source = props.shown.sources[props.name] ?? "default";
  const aside = html`<span class="tags"><span class="tag ${source === "default" ? "" : "set"}">${source}</span><span class="tag">${props.property["x-effective"] === "now" ? "counts at once" : "after a restart"}</span></span>`;
  return html`<${Field} name=${props.name} label=${(props.name.split(".")[1] ?? props.name).replace("ragweld_agent_", "").replaceAll("_", " ")} property=${props.property} typed=${props.typed ?? valueNow(props.shown, props.name)} type=${props.type} fault=${props.fault} aside=${aside} otherwise=${typedOf(props.property.default)} testid=${`setting-${props.name}`} />`;
}

function Said({ said }: { said: ConfigChanged }) {
  const parts = [
    said.effective_now.length && `Counts now: ${said.effective_now.join(", ")}.`,
    said.after_restart.length && `Counts after a restart: ${said.after_restart.join(", ")}.`,
    ...Object.entries(said.overruled).map(([key, by]) => `${key} is stored, but the ${by} overrules it.`),
  ].filter(Boolean);
  return html`<${Note} tone="good" testid="settings-said">${parts.join(" ") || "Nothing was different."}<//>`;
}

function ScopePicker() {
  const scopes = [...new Set([...runs.value.values()].map((run) => run.scope))].sort();
  return html`<label class="inline"><span>Scope</span><input class="brief wide" list="scopes" placeholder="all scopes" data-testid="settings-scope" value=${scope.value} onChange=${(event: Event) => (scope.value = (event.target as HTMLInputElement).value.trim())} />
    <datalist id="scopes">${scopes.map((name) => html`<option key=${name} value=${name}></option>`)}</datalist></label>`;
}

function sectionsOf({ schema }: Known): (readonly [string, string, readonly (readonly [string, Property])[]])[] {
  return Object.entries(schema.properties ?? {}).map(([name, property]) => {
    const section = resolved(property, schema) as Schema;
    const fields = section.properties ? Object.entries(section.properties).map(([field, one]) => [`${name}.${field}`, resolved(one, schema)] as const) : [[name, property] as const];
    return [name, property.description ?? "", fields] as const;
  });
}

function valueNow({ settings, awaiting_restart }: ConfigShown, key: string): string {
  if (key in awaiting_restart) return typedOf(awaiting_restart[key]);
  const [section = "", name] = key.split(".");
  const value = settings[section];
  return typedOf(name ? (value as Record<string, unknown>)[name] : value);
}

/** An emptied field goes back to its default. */
function changesOf(known: Known, typed: Typed): [Record<string, unknown>, Typed] {
  const properties = Object.fromEntries(sectionsOf(known).flatMap(([, , fields]) => fields));
  const changes: Record<string, unknown> = {};
  const wrong: Record<string, string> = {};
  for (const [key, text] of Object.entries(typed)) {
    try {
      changes[key] = valueOf(properties[key] ?? {}, text) ?? null;
    } catch (error) {
      wrong[key] = wordsOf(error);
    }
  }
  return [changes, wrong];
}

/** The field that a refusal is about: named by `param`, or in its words. */
function fieldOf(error: unknown, keys: readonly string[]): string | null {
  if (!(error instanceof Refusal)) return null;
  return keys.find((key) => key === error.param) ?? keys.find((key) => error.message.includes(key)) ?? null;
}

function without(typed: Typed, key: string): Typed {
  return Object.fromEntries(Object.entries(typed).filter(([name]) => name !== key));
}
