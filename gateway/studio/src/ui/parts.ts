// Small parts that every view uses.
import { html } from "htm/preact";
import type { ComponentChildren, VNode } from "preact";
import { useState } from "preact/hooks";
import { wordsOf } from "../lib/http";
import { words } from "../lib/format";

export type Children = { children?: ComponentChildren };

export function Card(props: Children & { title?: ComponentChildren; actions?: ComponentChildren; id?: string; class?: string }) {
  const named = props.title != null && props.id ? `${props.id}-title` : undefined;
  return html`<section class="card ${props.class ?? ""}" data-testid=${props.id} aria-labelledby=${named}>
    ${(props.title != null || props.actions) &&
    html`<header class="card-head"><h2 id=${named}>${props.title}</h2><div class="row">${props.actions}</div></header>`}
    ${props.children}
  </section>`;
}

const TONES: Readonly<Record<string, string>> = {
  running: "live", queued: "wait", paused: "wait", completed: "good", failed: "bad", diverged: "bad",
  interrupted: "warn", cancelled: "mute", stalled: "warn", up: "good", down: "bad", unknown: "wait", off: "mute",
  sound: "good", defects: "bad",
};

export function Badge({ status, testid }: { status: string; testid?: string }) {
  return html`<span class="badge ${TONES[status] ?? "mute"}" data-testid=${testid} data-status=${status}><i aria-hidden="true"></i>${words(status)}</span>`;
}

export function Note(props: Children & { tone?: "bad" | "warn" | "good" | "plain"; testid?: string }) {
  const role = props.tone === "bad" ? "alert" : undefined;
  return html`<div class="note ${props.tone ?? "plain"}" role=${role} data-testid=${props.testid}>${props.children}</div>`;
}

export function Empty(props: Children & { title: string }) {
  return html`<div class="empty"><strong>${props.title}</strong><p>${props.children}</p></div>`;
}

type Act = () => Promise<unknown>;

/** A button for something that may be refused: busy while it runs, and the refusal is said beside it. */
export function Action(props: Children & { act: Act; class?: string; testid?: string; confirm?: string; disabled?: boolean }) {
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState("");
  const [asks, setAsks] = useState(false);
  const run = async () => {
    if (props.confirm && !asks) return setAsks(true);
    setAsks(false);
    setBusy(true);
    setFault("");
    try {
      await props.act();
    } catch (error) {
      setFault(wordsOf(error));
    } finally {
      setBusy(false);
    }
  };
  return html`<span class="action">
    <button type="button" class="button ${props.class ?? ""} ${asks ? "danger" : ""}" disabled=${busy || props.disabled}
      aria-busy=${busy} data-testid=${props.testid} onClick=${run} onBlur=${() => setAsks(false)}>
      ${asks ? props.confirm : props.children}
    </button>
    ${fault && html`<span class="fault" role="alert">${fault}</span>`}
  </span>`;
}

export function Tabs<T extends string>(props: { label: string; tabs: readonly (readonly [T, string])[]; now: T; pick: (tab: T) => void; testid?: string }) {
  const move = (event: KeyboardEvent) => {
    const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!by) return;
    const at = props.tabs.findIndex(([name]) => name === props.now);
    const next = props.tabs[(at + by + props.tabs.length) % props.tabs.length];
    if (next) props.pick(next[0]);
    (event.currentTarget as HTMLElement).querySelectorAll("button")[(at + by + props.tabs.length) % props.tabs.length]?.focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${props.label} onKeyDown=${move}>
    ${props.tabs.map(([name, text]) => html`<button type="button" role="tab" key=${name} aria-selected=${name === props.now}
      tabindex=${name === props.now ? 0 : -1} data-testid=${props.testid && `${props.testid}-${name}`} onClick=${() => props.pick(name)}>${text}</button>`)}
  </div>` as VNode;
}

export function Stat(props: Children & { label: string; testid?: string; title?: string }) {
  return html`<div class="stat" title=${props.title}><dt>${props.label}</dt><dd data-testid=${props.testid}>${props.children}</dd></div>`;
}

/** Offer text as a file. */
export function save(name: string, text: string, type = "text/plain"): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
