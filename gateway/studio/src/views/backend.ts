// What trains and serves here, in a few words, as the gateway says it.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { ConfigShown, EngineView } from "../api";
import { DASH } from "../lib/format";
import { get } from "../lib/http";

const backend = signal("");

export function useBackend(): string {
  useEffect(() => {
    if (!backend.value) void ask();
  }, []);
  return backend.value || DASH;
}

async function ask(): Promise<void> {
  const [config, engine] = await Promise.all([get<ConfigShown>("/api/config"), get<EngineView>("/api/engine")]);
  const training = config.settings["training"] as Record<string, unknown>;
  const name = String(training["ragweld_agent_backend"]);
  backend.value = [name, engine.device].filter(Boolean).join(" on ");
}
