// Asks the gateway, with the key if there is one, and reads its one error shape.
import { signal } from "@preact/signals";
import type { ErrorBody } from "../api";

const KEY_SLOT = "ragweld-key";

/** The key that the person gave; it lives as long as the tab. */
export const key = signal(sessionStorage.getItem(KEY_SLOT) ?? "");
/** Why a key is asked for; null while none is. */
export const keyWanted = signal<string | null>(null);

export function useKey(given: string): void {
  sessionStorage.setItem(KEY_SLOT, given);
  key.value = given;
  keyWanted.value = null;
}

/** A refusal of the gateway, in its own words. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly param: string | null = null,
    readonly defects: readonly string[] = [],
  ) {
    super(message);
  }
}

export function headers(more: Record<string, string> = {}): Record<string, string> {
  return key.value ? { authorization: `Bearer ${key.value}`, ...more } : more;
}

/** The JSON of an answer; throws Refusal. */
export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const asked: RequestInit = { method, headers: headers(body === undefined ? {} : { "content-type": "application/json" }) };
  if (body !== undefined) asked.body = JSON.stringify(body);
  const answer = await reach(path, asked);
  return (await answer.json()) as T;
}

export const get = <T>(path: string): Promise<T> => call<T>("GET", path);
export const post = <T>(path: string, body: unknown = {}): Promise<T> => call<T>("POST", path, body);

/** An answer that is not a refusal; asks the person for a key where the gateway does. */
export async function reach(path: string, asked: RequestInit): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, asked);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refusal(0, "unreachable", "The gateway cannot be reached.");
  }
  if (answer.ok) return answer;
  const refusal = await refusalOf(answer);
  if (answer.status === 401 || refusal.code === "missing_scope") keyWanted.value = refusal.message;
  throw refusal;
}

async function refusalOf(answer: Response): Promise<Refusal> {
  try {
    const { error } = (await answer.json()) as ErrorBody;
    return new Refusal(answer.status, error.code, error.message, error.param, error.defects ?? []);
  } catch {
    return new Refusal(answer.status, "unreadable", `The gateway answered ${answer.status}.`);
  }
}

export const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
