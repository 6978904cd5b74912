// A clock that components read: it ticks once a second while somebody looks.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";

const now = signal(Date.now());
let readers = 0;
let timer = 0;

export function useNow(): number {
  useEffect(() => {
    if (!readers++) timer = window.setInterval(() => (now.value = Date.now()), 1000);
    return () => {
      if (!--readers) clearInterval(timer);
    };
  }, []);
  return now.value;
}
