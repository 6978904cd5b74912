// Every model that can be asked now, as the catalog lists them; there is no other list.
import { signal } from "@preact/signals";
import { html } from "htm/preact";
import type { ChatModels, OpenAIModel, OpenAIModels } from "../api";
import { get } from "../lib/http";

export const models = signal<readonly OpenAIModel[]>([]);
/** Who provides a model that another server answers for. */
const providers = signal<ReadonlyMap<string, string>>(new Map());

export async function askModels(): Promise<void> {
  const [listed, chat] = await Promise.all([get<OpenAIModels>("/v1/models"), get<ChatModels>("/api/chat/models")]);
  models.value = listed.data;
  providers.value = new Map(chat.models.map((model) => [model.id, model.provider]));
}

export function ModelPicker(props: { now: string; pick: (id: string) => void; label: string; testid: string }) {
  const known = models.value;
  const groups = Map.groupBy(known, groupOf);
  return html`<label class="inline grow"><span class="sr">${props.label}</span><select class="mono grow" data-testid=${props.testid} value=${props.now} onChange=${(event: Event) => props.pick((event.target as HTMLSelectElement).value)}>
    ${!known.some((model) => model.id === props.now) && html`<option value=${props.now}>${props.now || "choose a model"}</option>`}
    ${[...groups].map(([name, listed]) => html`<optgroup key=${name} label=${name}>${listed.map((model) => html`<option key=${model.id} value=${model.id}>${model.id}</option>`)}</optgroup>`)}</select></label>`;
}

function groupOf(model: OpenAIModel): string {
  if (model.owned_by !== "ragweld") return providers.value.get(model.id) ?? model.owned_by;
  return model.parent ? "Adapters" : "Bases";
}
