// One setting as a labelled input, made from its schema, with its sentence, its bounds and what is wrong with it.
import { html } from "htm/preact";
import { useId } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { words } from "../lib/format";
import { boundsOf, inner, kindOf, type Property } from "../lib/schema";

export interface FieldProps {
  readonly name: string;
  readonly property: Property;
  readonly typed: string;
  readonly type: (typed: string) => void;
  /** What counts when nothing is typed. */
  readonly otherwise?: string;
  readonly fault?: string | undefined;
  readonly label?: string;
  readonly aside?: ComponentChildren;
  readonly testid: string;
}

export function Field(props: FieldProps) {
  const id = useId();
  const bounds = boundsOf(props.property);
  const hint = [props.property.description, bounds && `(${bounds})`].filter(Boolean).join(" ");
  return html`<div class="field ${props.fault ? "faulty" : ""}"><div class="field-head"><label for=${id}>${props.label ?? words(props.name)}</label>${props.aside}</div>
    <${Input} ...${props} id=${id} />
    ${props.fault && html`<p class="fault" id=${`${id}-fault`} role="alert" data-testid=${`${props.testid}-fault`}>${props.fault}</p>`}
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}</div>`;
}

function Input({ id, property, typed, type, otherwise = "", fault, testid }: FieldProps & { id: string }) {
  const kind = kindOf(property);
  const take = (event: Event) => type((event.target as HTMLInputElement).value);
  const shared = { id, "data-testid": testid, "aria-describedby": `${fault ? `${id}-fault ` : ""}${id}-hint`, "aria-invalid": fault ? "true" : undefined };
  if (kind === "choice" || kind === "flag") {
    const real = inner(property);
    const options = kind === "flag" ? ["true", "false"] : (real.enum ?? [real.const]).map(String);
    return html`<select ...${shared} value=${typed} onChange=${take}><option value="">${otherwise ? `default (${otherwise})` : "default"}</option>
      ${options.map((option) => html`<option key=${option} value=${option}>${option}</option>`)}</select>`;
  }
  if (kind === "json") return html`<textarea ...${shared} rows="6" spellcheck="false" value=${typed} onInput=${take}></textarea>`;
  return html`<input ...${shared} type="text" inputmode=${kind === "integer" ? "numeric" : kind === "number" ? "decimal" : undefined}
    autocomplete="off" spellcheck="false" placeholder=${otherwise} value=${typed} onInput=${take} />`;
}
