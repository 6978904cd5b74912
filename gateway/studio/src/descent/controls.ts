// Live, play, speed and the scrubber.
import { html } from "htm/preact";
import { Icon } from "../ui/icons";
import { SPEEDS, type Player } from "./player";
import type { Plane } from "./scene";

export function Controls({ player, plane, isRunning }: { player: Player; plane: Plane; isRunning: boolean }) {
  const [length, shown, playing] = [player.length.value, player.shown.value, player.isPlaying.value];
  const step = plane.spots[shown - 1]?.step ?? 0;
  const last = plane.spots.at(-1)?.step ?? 0;
  return html`<div class="player row" data-testid="player">
    ${isRunning && html`<button type="button" class="chip live" aria-pressed=${player.isLive.value} data-testid="live" onClick=${() => player.goLive()}><i aria-hidden="true"></i>Live</button>`}
    <button type="button" class="button icon-only" data-testid="play" aria-label=${playing ? "Pause the replay" : "Replay the path"} disabled=${length < 2}
      onClick=${() => (playing ? player.pause() : player.play())}><${Icon} name=${playing ? "pause" : "play"} /></button>
    <input type="range" class="scrub" min="1" max=${Math.max(1, length)} value=${shown} data-testid="scrub" aria-label="Step of the path" aria-valuetext=${`step ${step} of ${last}`}
      onInput=${(event: Event) => (player.pause(), player.seek(Number((event.target as HTMLInputElement).value)))} />
    <output class="mono step" data-testid="shown-step">${step}<small> / ${last}</small></output>
    <label class="inline"><span class="sr">Speed</span><select data-testid="speed" value=${String(player.speed.value)} onChange=${(event: Event) => (player.speed.value = Number((event.target as HTMLSelectElement).value))}>
      ${SPEEDS.map((speed) => html`<option key=${speed} value=${String(speed)}>${speed}×</option>`)}</select></label>
  </div>`;
}
