// Start a run: every setting that a start may name, from the schema, with what counts when none is given; and the data first.
import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import type { ConfigShown, Profile, RunRequest, Started } from "../api";
import { get, post, Refusal, wordsOf } from "../lib/http";
import { go } from "../lib/route";
import { typedOf, valueOf, type Property, type Schema } from "../lib/schema";
import { Field } from "../ui/field";
import { Action, Card, Note } from "../ui/parts";
import { DataCheck } from "./data_check";

/** Groups of settings; what is in none comes last, so that a new setting is never missing. */
const GROUPS: readonly (readonly [string, readonly string[]])[] = [
  ["What is learned", ["scope", "dataset_path", "validation_path", "base", "seed", "max_length", "overlong"]],
  ["How long and how fast", ["epochs", "batch_size", "grad_accum_steps", "lr", "warmup_ratio", "lr_schedule"]],
  ["The adapter", ["lora_rank", "lora_alpha", "lora_dropout", "lora_target_modules"]],
  ["How it steps", ["optimizer", "weight_decay", "max_grad_norm", "grad_checkpoint", "max_skipped_steps"]],
  ["How it is watched", ["telemetry_interval_steps", "eval_interval_steps", "early_stopping_patience"]],
  ["When it is promoted", ["promote_if_improves", "promote_epsilon"]],
];
const MOST_DEFECTS = 8;
const CHECKED = ["scope", "dataset_path", "base", "seed", "max_length", "overlong"];

type Typed = Readonly<Record<string, string>>;

export function StartView() {
  const [schema, setSchema] = useState<Schema | null>(null);
  const [typed, setTyped] = useState<Typed>({});
  const [faults, setFaults] = useState<Typed>({});
  const [fault, setFault] = useState("");
  const defaults = useDefaults(typed);
  useEffect(() => void get<Schema>("/api/agent/train/schema").then(setSchema, (error) => setFault(wordsOf(error))), []);
  if (!schema) return html`<header class="page-head"><h1>New run</h1></header>${fault && html`<${Note} tone="bad">${fault}<//>`}`;
  const properties = schema.properties ?? {};
  const start = async () => {
    const [request, wrong] = requestOf(properties, typed);
    setFaults(wrong);
    setFault("");
    if (Object.keys(wrong).length) return;
    try {
      const started = await post<Started>("/api/agent/train/start", request);
      go("runs", started.run_id);
    } catch (error) {
      const { param, defects } = error instanceof Refusal ? error : { param: null, defects: [] };
      const field = param?.split(".")[0] ?? "";
      if (field in properties && !defects.length) setFaults({ [field]: wordsOf(error) });
      else setFault([wordsOf(error), ...defects.slice(0, MOST_DEFECTS)].join("\n"));
    }
  };
  const type = (name: string) => (text: string) => setTyped({ ...typed, [name]: text });
  return html`<header class="page-head"><h1>New run</h1><${Action} act=${start} class="primary" testid="start">Start the run<//></header>
    ${fault && html`<${Note} tone="bad" testid="start-fault"><span class="lines">${fault}</span><//>`}
    ${defaults.reason && html`<${Note} testid="profile-reason">Recommended here: ${defaults.reason} An empty field takes the value shown in it.<//>`}
    <div class="start-grid"><form class="groups" onSubmit=${(event: Event) => event.preventDefault()}>${grouped(properties).map(([title, names]) => html`<${Card} key=${title} title=${title} id=${`group-${title.split(" ")[0]!.toLowerCase()}`}><div class="fields">
      ${names.map((name) => html`<${Field} key=${name} name=${name} property=${resolved(properties[name]!, schema)} typed=${typed[name] ?? ""} type=${type(name)} otherwise=${defaults.values[name] ?? typedOf(properties[name]!.default)} fault=${faults[name]} testid=${`field-${name}`} />`)}</div><//>`)}</form>
      <${DataCheck} request=${() => requestOf(Object.fromEntries(CHECKED.flatMap((name) => (properties[name] ? [[name, properties[name]]] : []))), typed)[0]} /></div>`;
}

function grouped(properties: Readonly<Record<string, Property>>): (readonly [string, readonly string[]])[] {
  const known = new Set(GROUPS.flatMap(([, names]) => names));
  const rest = Object.keys(properties).filter((name) => !known.has(name));
  const present = GROUPS.map(([title, names]) => [title, names.filter((name) => name in properties)] as const);
  return rest.length ? [...present, ["More settings", rest] as const] : present;
}

export function resolved(property: Property, schema: Schema): Property {
  const name = property.$ref?.split("/").at(-1);
  return name ? { ...schema.$defs?.[name], ...property } : property;
}

/** What was typed as the body of a start, and what is wrong with it by field. */
function requestOf(properties: Readonly<Record<string, Property>>, typed: Typed): [RunRequest, Typed] {
  const request: Record<string, unknown> = {};
  const wrong: Record<string, string> = {};
  for (const [name, property] of Object.entries(properties)) {
    try {
      const value = valueOf(property, typed[name] ?? "");
      if (value !== undefined) request[name] = value;
    } catch (error) {
      wrong[name] = wordsOf(error);
    }
  }
  return [request as RunRequest, wrong];
}

/** What an empty field means: the profile's recommendation for this dataset and base, else the scope's settings. */
function useDefaults(typed: Typed): { values: Typed; reason: string } {
  const [found, setFound] = useState<{ values: Typed; reason: string }>({ values: {}, reason: "" });
  const [scope, dataset, base] = [typed["scope"] ?? "", typed["dataset_path"] ?? "", typed["base"] ?? ""];
  useEffect(() => {
    let isOver = false;
    const timer = window.setTimeout(() => void askDefaults(scope, dataset, base).then((made) => !isOver && setFound(made)), 250);
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [scope, dataset, base]);
  return found;
}

async function askDefaults(scope: string, dataset: string, base: string): Promise<{ values: Typed; reason: string }> {
  const named = Object.entries({ scope, dataset_path: dataset, base }).filter(([, value]) => value.trim());
  const [profile, config] = await Promise.allSettled([
    get<Profile>(`/api/agent/train/profile?${new URLSearchParams(named)}`),
    get<ConfigShown>(`/api/config?${new URLSearchParams(scope.trim() ? { scope } : {})}`),
  ]);
  const values: Record<string, string> = { seed: "0" };
  if (config.status === "fulfilled") Object.assign(values, ofSettings(config.value));
  if (profile.status === "rejected") return { values, reason: "" };
  for (const [name, value] of Object.entries(profile.value)) values[name] = typedOf(value);
  return { values, reason: profile.value.reason };
}

function ofSettings({ settings }: ConfigShown): Typed {
  const training = settings["training"] as Record<string, unknown>;
  return Object.fromEntries(Object.entries(training).map(([name, value]) => [
    name.replace("ragweld_agent_", ""), name.endsWith("promote_if_improves") ? String(Boolean(value)) : typedOf(value),
  ]));
}
