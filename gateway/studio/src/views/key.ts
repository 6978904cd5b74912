// Asks for a key where the gateway does; it stays in this tab and nowhere else.
import { html } from "htm/preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { keyWanted, useKey } from "../lib/http";

export function KeyDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const [typed, setTyped] = useState("");
  const why = keyWanted.value;
  useEffect(() => {
    if (why !== null && !dialog.current?.open) dialog.current?.showModal();
    if (why === null && dialog.current?.open) dialog.current.close();
  }, [why]);
  const submit = (event: Event) => {
    event.preventDefault();
    if (typed.trim()) useKey(typed.trim());
    setTyped("");
  };
  return html`<dialog ref=${dialog} class="dialog" aria-labelledby="key-title" data-testid="key-dialog">
    <form onSubmit=${submit}>
      <h2 id="key-title">This gateway asks for a key</h2>
      <p>${why}</p>
      <label class="field"><span>Key with the scopes admin and chat</span>
        <input type="password" autocomplete="off" value=${typed} data-testid="key-input" onInput=${(event: InputEvent) => setTyped((event.target as HTMLInputElement).value)} /></label>
      <p class="hint">It is kept in this tab until you close it. <code>ragweld keys add NAME --scope chat,admin</code> makes one.</p>
      <div class="row end"><button type="submit" class="button primary" data-testid="key-use">Use this key</button></div>
    </form>
  </dialog>`;
}
