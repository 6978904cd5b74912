// Server-sent events over fetch: EventSource cannot send a key, and says nothing of a refusal.

export interface ServerEvent {
  readonly id: string | null;
  readonly kind: string;
  readonly data: string;
}

/** Cuts text that arrives in any pieces into events. Pure but for what it holds of an unfinished one. */
export class EventParser {
  #rest = "";
  #id: string | null = null;
  #kind = "";
  #data: string[] = [];

  push(text: string): ServerEvent[] {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    return lines.flatMap((line) => this.#line(line.endsWith("\r") ? line.slice(0, -1) : line));
  }

  #line(line: string): ServerEvent[] {
    if (line === "") return this.#finish();
    if (line.startsWith(":")) return [];
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "id") this.#id = value;
    else if (name === "event") this.#kind = value;
    else if (name === "data") this.#data.push(value);
    return [];
  }

  #finish(): ServerEvent[] {
    const event = { id: this.#id, kind: this.#kind || "message", data: this.#data.join("\n") };
    const isWhole = this.#data.length > 0;
    this.#id = null;
    this.#kind = "";
    this.#data = [];
    return isWhole ? [event] : [];
  }
}

/** Batches of events, as they arrive, until the stream ends; an empty one is a sign of life. */
export async function* eventsOf(answer: Response): AsyncGenerator<ServerEvent[]> {
  if (!answer.body) return;
  const parser = new EventParser();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield parser.push(value);
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
