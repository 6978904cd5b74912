// One question to one model, as it is answered.
import { signal } from "@preact/signals";
import { duration, num } from "../lib/format";
import { headers, reach, wordsOf } from "../lib/http";
import { eventsOf } from "../lib/sse";

export interface Question {
  readonly prompt: string;
  readonly system: string;
  readonly temperature: number;
  readonly maxTokens: number;
  /** Refuse instead of letting another model answer. */
  readonly strict: boolean;
}

/** Who really answered, as the answer says it. */
export interface Spoke {
  readonly model: string;
  readonly provider: string;
  readonly adapter: string | null;
  readonly fallback: string | null;
}

interface Chunk {
  readonly model?: string;
  readonly choices?: readonly { readonly delta?: { readonly content?: string | null; readonly reasoning_content?: string | null } }[];
  readonly usage?: { readonly completion_tokens?: number } | null;
  readonly error?: { readonly message?: string };
}

export class Answering {
  readonly model;
  readonly text = signal("");
  readonly thoughts = signal("");
  readonly fault = signal("");
  readonly took = signal("");
  readonly spoke = signal<Spoke | null>(null);
  readonly isBusy = signal(false);
  #control: AbortController | null = null;

  constructor(readonly name: string, model: string) {
    this.model = signal(model);
  }

  stop(): void {
    this.#control?.abort();
  }

  async ask(question: Question): Promise<void> {
    this.stop();
    const control = (this.#control = new AbortController());
    for (const one of [this.text, this.thoughts, this.fault, this.took]) one.value = "";
    this.spoke.value = null;
    this.isBusy.value = true;
    try {
      await this.#read(question, control.signal);
    } catch (error) {
      if (!control.signal.aborted) this.fault.value = wordsOf(error);
    } finally {
      if (this.#control === control) this.isBusy.value = false;
    }
  }

  async #read(question: Question, abort: AbortSignal): Promise<void> {
    const began = performance.now();
    const answer = await reach("/v1/chat/completions", { method: "POST", signal: abort, headers: this.#headers(question), body: JSON.stringify(this.#body(question)) });
    let first: number | null = null;
    for await (const events of eventsOf(answer)) {
      for (const { data } of events) {
        if (data === "[DONE]") continue;
        const chunk = JSON.parse(data) as Chunk;
        if (chunk.error) throw new Error(chunk.error.message ?? "The answer broke off.");
        this.#take(chunk, answer.headers);
        if (this.text.peek() || this.thoughts.peek()) first ??= performance.now();
        if (chunk.usage) this.took.value = tookWords(began, first, chunk.usage.completion_tokens);
      }
    }
  }

  #headers({ strict }: Question): Record<string, string> {
    return headers({ "content-type": "application/json", ...(strict ? { "x-ragweld-strict": "true" } : {}) });
  }

  #body({ prompt, system, temperature, maxTokens }: Question): unknown {
    const messages = [...(system.trim() ? [{ role: "system", content: system }] : []), { role: "user", content: prompt }];
    return { model: this.model.peek(), messages, temperature, max_tokens: maxTokens, stream: true, stream_options: { include_usage: true } };
  }

  #take(chunk: Chunk, from: Headers): void {
    const delta = chunk.choices?.[0]?.delta;
    if (delta?.reasoning_content) this.thoughts.value += delta.reasoning_content;
    if (delta?.content) this.text.value += delta.content;
    if (chunk.model && !this.spoke.peek()) {
      this.spoke.value = { model: chunk.model, provider: from.get("x-ragweld-provider") ?? "", adapter: from.get("x-ragweld-adapter"), fallback: from.get("x-ragweld-fallback") };
    }
  }
}

function tookWords(began: number, first: number | null, tokens: number | undefined): string {
  const now = performance.now();
  const parts = [duration((now - began) / 1000)];
  if (first !== null) parts.push(`first token after ${num(first - began, 3)} ms`);
  if (tokens) parts.push(`${tokens} tokens`);
  return parts.join(", ");
}
