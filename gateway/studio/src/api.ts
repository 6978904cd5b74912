// Made by `python -m gateway.studio` from the gateway's shapes; not to be edited.

export interface AdapterList {
  adapters: AdapterRow[];
  /** For each base, oldest first; the last one is active. */
  moves: Record<string, AliasMove[]>;
}

export interface AdapterRow {
  id: string;
  names: string[];
  active_on: string[];
  resident: boolean;
  base: string | null;
  rank: number;
  scale: number;
  targets: string[] | null;
  bytes: number;
}

/** One line of an alias's history. */
export interface AliasMove {
  version: number;
  adapter_id: string | null;
  previous: string | null;
  reason: string;
  ts: string;
  is_rollback: boolean;
}

/** What became of a wish to cancel, pause or resume. */
export interface Asked {
  ok: boolean;
  run_id: string;
  status: string;
  cancel_requested?: boolean | null;
  pause_requested?: boolean | null;
}

/** A row of `catalog/models.json` and whether it can answer. */
export interface CatalogRow {
  provider: string;
  family: string;
  model: string;
  components: string[];
  unit: string;
  context: number | null;
  input_per_1k: number | null;
  output_per_1k: number | null;
  notes: string;
  answers_now: boolean;
  why_not: string | null;
}

export interface CatalogRows {
  currency: string;
  last_updated: string;
  sources: string[];
  models: CatalogRow[];
}

/** One setting, before and after. */
export interface Change {
  from: unknown;
  to: unknown;
}

export interface ChatModel {
  id: string;
  provider: string;
  source: string;
  provider_type: string;
  base_url: string | null;
  supports_vision: boolean | null;
}

export interface ChatModels {
  models: ChatModel[];
}

/** Everything that was found. */
export interface Check {
  file: string;
  form: string | null;
  base: string;
  base_reason: string;
  max_length: number;
  overlong: "drop" | "cut_oldest";
  seed: number;
  conversations: number;
  conversations_tokenised: number;
  train: SideCount;
  held_out: SideCount;
  nothing_to_learn: number;
  duplicates: number;
  held_out_equal_to_train: number;
  defects_total: number;
  defects: string[];
  shown: ShownRow[];
}

/** Body of `POST /api/datasets/check`. Without `rows` and `dataset_path` it is the dataset a run would take. */
export interface CheckRequest {
  /** Whose settings and dataset; also accepted as corpus_id or repo_id. */
  scope?: string;
  /** JSONL, as a run would be given it. */
  dataset_path?: string | null;
  /** Rows themselves, instead of a file. */
  rows?: unknown[] | null;
  /** Base whose tokens are counted; default is the scope's. */
  base?: string | null;
  /** Tokens of the longest row; default is what a run would take. */
  max_length?: number | null;
  /** What becomes of longer ones. */
  overlong?: "drop" | "cut_oldest";
  /** Decides which rows are held out. */
  seed?: number;
  /** How many rows are shown as text, with what is learned apart from what is read. */
  show?: number;
}

/** One behaviour check and what the candidate answered. */
export interface CheckResult {
  /** In the file of checks. */
  line: number;
  rule: string;
  passed: boolean;
  /** Its beginning. */
  answer: string;
  /** What is wrong with it. */
  why: string | null;
}

/** A candidate beside another on the same rows, in nats per counted thing; a difference below 0 is better. */
export interface Comparison {
  /** The active adapter or the bare base on the held-out rows, or what answers now on the regression set. */
  against: "active" | "base" | "regression";
  /** The loss's name. */
  compared: string;
  candidate_loss: number;
  other_loss: number;
  /** Candidate minus other. */
  difference: number;
  low: number;
  /** The paired bootstrap interval of the difference over rows: 5th and 95th percentile. */
  high: number;
  rows: number;
  better_rows: number;
  /** `high` must lie below it (at the regression set, not above it). */
  limit: number;
  passed: boolean;
}

export interface ConfigChanged {
  ok: boolean;
  scope: string | null;
  changed: Record<string, Change>;
  effective_now: string[];
  after_restart: string[];
  overruled: Record<string, string>;
}

export interface ConfigShown {
  scope: string | null;
  settings: Record<string, unknown>;
  /** Dotted key -> default, file, environment, command line or scope. */
  sources: Record<string, string>;
  awaiting_restart: Record<string, unknown>;
  secrets: Record<string, string>;
}

/** Everything that a verdict rests on. */
export interface Decision {
  /** In words. */
  rule: string;
  resamples: number;
  seed: number;
  comparisons: Comparison[];
  checks: CheckResult[];
}

export interface Diff {
  baseline_run_id: string;
  current_run_id: string;
  compatible: boolean;
  reason: string | null;
  primary_metric: string;
  primary_goal: string;
  baseline: Summary;
  current: Summary;
  /** Current minus baseline, like every delta. */
  delta_best: number | null;
  delta_final: number | null;
  delta_time_to_best_secs: number | null;
  delta_stability_stddev: number | null;
  improved: boolean | null;
}

/** Two runs to compare. */
export interface DiffRequest {
  baseline_run_id: string;
  current_run_id: string;
}

export interface EngineBase {
  base: string;
  default: boolean;
  loaded: boolean;
}

/** What the engine holds; only `enabled`, `ready` and `reason` where it is switched off. */
export interface EngineView {
  enabled: boolean;
  ready: boolean;
  reason: string;
  device?: string | null;
  precision?: string | null;
  context?: number | null;
  bases?: EngineBase[];
}

export interface ErrorBody {
  error: ErrorDetail;
}

export interface ErrorDetail {
  message: string;
  type: string;
  param: string | null;
  code: string;
  defects?: string[] | null;
}

/** One line. Fields that do not apply are absent. */
export interface Event {
  type: "log" | "progress" | "metrics" | "state" | "error" | "complete" | "telemetry";
  /** UTC, ISO 8601. */
  ts: string;
  run_id: string;
  /** Optimizer steps done. */
  step?: number | null;
  epoch?: number | null;
  message?: string | null;
  percent?: number | null;
  /** Of a `state` event: the run's status, or `stalled` or `resumed` (with the step after which it goes on), or of its picture `plane_frozen`, `plane_refit` or `surface_measured`. */
  status?: string | null;
  /** `train_loss` and `eval_loss`, mean over supervised tokens, in nats. */
  metrics?: Record<string, number | null> | null;
  /** First coordinate of the displacement in the run's plane. */
  proj_x?: number | null;
  proj_y?: number | null;
  /** Distance of the true point from that plane. */
  proj_off_plane?: number | null;
  /** Share of the squared displacement that the plane holds. */
  proj_share?: number | null;
  /** Identifies the plane; only points with equal digests may be drawn together. */
  proj_digest?: string | null;
  loss?: number | null;
  /** Loss on the run's fixed probe batch at this point. */
  probe_loss?: number | null;
  /** The scheduler's value at this step. */
  lr?: number | null;
  grad_norm?: number | null;
  param_norm?: number | null;
  /** Norm of the measured change of the trainable parameters in this step. */
  update_norm?: number | null;
  step_time_ms?: number | null;
  /** Supervised and context tokens per second. */
  tokens_per_s?: number | null;
  /** Rows seen so far. */
  sample_count?: number | null;
  /** Of a `progress` event: seconds until the last step, at the pace of the latest ones. */
  eta_s?: number | null;
  /** MLX memory in use after the step. */
  memory_active_bytes?: number | null;
  /** MLX memory at its peak in this life of the run. */
  memory_peak_bytes?: number | null;
  /** Memory of the trainer's process in RAM. */
  resident_bytes?: number | null;
}

export interface EventList {
  run_id: string;
  events: Event[];
}

/** The plane's directions, as sums of kept snapshots' displacements; orthonormal in parameter space. */
export interface Frame {
  steps: number[];
  /** Two rows, for x and y, of one weight for each snapshot. */
  weights: number[][];
}

export interface Health {
  providers: ProviderHealth[];
}

/** What whoever asked for a run wants remembered of it; nothing of it changes the run. */
export interface Labels {
  suffix: string;
  metadata: Record<string, string> | null;
  learning_rate_multiplier: number | null;
}

/** One id that can be asked for now. */
export interface OpenAIModel {
  id: string;
  object: string;
  created: number;
  owned_by: string;
  root?: string | null;
  parent?: string | null;
}

export interface OpenAIModels {
  object: string;
  data: OpenAIModel[];
}

/** A path on one plane. */
export interface PathPlane {
  kind: "frozen" | "sketch_pca" | "snapshot_pca";
  /** Identifies the directions; only what has equal digests may be drawn together. */
  digest: string;
  /** Share of the squared distance from the start, summed over the points, that the plane holds. A pure random walk also has a high one. */
  share: number;
  /** How the plane was found, in words. */
  note: string;
  points: PathPoint[];
}

/** Where the run was after a step. Distances are of trainable parameters, (0, 0) is the start. */
export interface PathPoint {
  step: number;
  x: number;
  y: number;
  /** Distance of the true point from the plane. */
  off_plane: number;
  /** Training loss of the step. */
  loss: number | null;
  /** True loss on the probe batch, at the point itself and not at its shadow on the plane. */
  probe_loss: number | null;
  lr: number | null;
}

/** Every setting of one run, as `run.json` and the manifest record it. What came after the first version has the value that it did not know it had, so that its runs can be read. */
export interface Plan {
  base: string;
  dataset_path: string;
  validation_path: string | null;
  seed: number;
  epochs: number;
  batch_size: number;
  lr: number;
  warmup_ratio: number;
  max_length: number;
  overlong: "drop" | "cut_oldest";
  lora_rank: number;
  lora_alpha: number;
  lora_dropout: number;
  lora_target_modules: string[];
  grad_accum_steps: number;
  telemetry_interval_steps: number;
  promote_if_improves: boolean;
  promote_epsilon: number;
  gate_min_rows: number;
  gate_checks_path: string;
  gate_regression_path: string;
  gate_regression_tolerance: number;
  surface_grid: number;
  surface_share: number;
  snapshot_bytes: number;
  optimizer: "adamw" | "adafactor";
  weight_decay: number;
  lr_schedule: "cosine" | "linear" | "constant";
  max_grad_norm: number;
  grad_checkpoint: boolean;
  eval_interval_steps: number;
  early_stopping_patience: number;
  max_skipped_steps: number;
  objective: "sft" | "dpo" | "orpo";
  dpo_beta: number;
  orpo_lambda: number;
  lora_kind: "lora" | "dora";
}

/** The fixed held-out rows whose loss the surface shows. */
export interface Probe {
  rows: number;
  /** Supervised ones. */
  tokens: number;
  sha256: string;
}

/** Recommended settings for a dataset, a base and a machine, with the reason in words. */
export interface Profile {
  base: string;
  dataset_path: string;
  rows: number;
  epochs: number;
  batch_size: number;
  grad_accum_steps: number;
  lr: number;
  warmup_ratio: number;
  max_length: number;
  steps: number;
  reason: string;
}

/** How far a running run has come. */
export interface Progress {
  step: number;
  steps: number;
  ts: string;
  eta_s: number | null;
  tokens_per_s: number | null;
  memory_bytes: number | null;
}

export interface Promoted {
  ok: boolean;
  run_id: string;
  adapter_id: string;
  previous: string | null;
  /** None when it was active already. */
  version: number | null;
}

/** What the gate or a person decided about the run's adapter. */
export interface Promotion {
  promoted: boolean;
  adapter_id: string;
  reason: string;
  ts: string;
  candidate_loss: number | null;
  active_loss: number | null;
  base_loss: number | null;
  decision: Decision | null;
}

/** What the last look in the background found. */
export interface ProviderHealth {
  provider: string;
  kind: string;
  base_url: string | null;
  reachable: boolean;
  state: "up" | "down" | "unknown" | "off";
  detail: string;
}

/** Whose alias goes back; the default is the base that answers now. */
export interface RollbackRequest {
  base?: string | null;
}

export interface RolledBack {
  ok: boolean;
  base: string;
  version: number;
  adapter_id: string | null;
  previous: string | null;
  reason: string;
  ts: string;
}

/** A run's life, as `run.json` holds it; its course is in `metrics.jsonl`. */
export interface Run {
  run_id: string;
  scope: string;
  status: "queued" | "running" | "paused" | "completed" | "failed" | "cancelled" | "interrupted" | "diverged";
  plan: Plan;
  labels: Labels;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  cancel_requested: boolean;
  pause_requested: boolean;
  stalled: boolean;
  lost: boolean;
  losses: number;
  reason: string | null;
  progress: Progress | null;
  summary: Summary | null;
  adapter_id: string | null;
  promotion: Promotion | null;
}

export interface RunList {
  runs: Run[];
}

/** Body of `GET /api/agent/train/run/{id}/path`: the latest plane of each kind that there is. */
export interface RunPath {
  run_id: string;
  planes: PathPlane[];
}

/** Body of `POST /api/agent/train/start`. What is absent comes from the settings and the profile. */
export interface RunRequest {
  /** Whose settings and dataset; also accepted as corpus_id or repo_id. */
  scope?: string;
  /** JSONL of conversations, or of preference pairs for dpo and orpo: a path, or the id of an uploaded file. */
  dataset_path?: string | null;
  /** JSONL of rows that are only measured on; without it a tenth of the dataset is held out. */
  validation_path?: string | null;
  /** Base model id; default is the scope's. */
  base?: string | null;
  /** What is learned: sft says what the data say; dpo and orpo prefer the chosen one of two answers. */
  objective?: "sft" | "dpo" | "orpo" | null;
  /** How dearly dpo pays for leaving the base. */
  dpo_beta?: number | null;
  /** How much orpo weighs preference against imitation. */
  orpo_lambda?: number | null;
  /** Decides order, dropout and initial A matrices. */
  seed?: number | null;
  /** Passes over the training rows. */
  epochs?: number | null;
  /** Rows of one micro-batch. */
  batch_size?: number | null;
  /** Peak learning rate. */
  lr?: number | null;
  /** Share of the steps in which the learning rate rises. */
  warmup_ratio?: number | null;
  /** How the learning rate goes on after its rise. */
  lr_schedule?: "cosine" | "linear" | "constant" | null;
  optimizer?: "adamw" | "adafactor" | null;
  weight_decay?: number | null;
  /** A longer gradient is cut to this length; 0 cuts none. */
  max_grad_norm?: number | null;
  /** True recomputes each block in the backward pass: far less memory for a third more time. */
  grad_checkpoint?: boolean | null;
  /** Tokens of the longest row. */
  max_length?: number | null;
  /** What becomes of longer ones: `drop` counts them, `cut_oldest` leaves out oldest exchanges, whole ones. */
  overlong?: "drop" | "cut_oldest";
  /** lora, or dora: LoRA that learns besides how strong each output is. */
  lora_kind?: "lora" | "dora" | null;
  lora_rank?: number | null;
  lora_alpha?: number | null;
  lora_dropout?: number | null;
  lora_target_modules?: string[] | null;
  grad_accum_steps?: number | null;
  telemetry_interval_steps?: number | null;
  /** Steps between two measurements of all held-out rows; 0 makes ten of them in a run. */
  eval_interval_steps?: number | null;
  /** Measurements in a row without a new best after which the run is complete; 0 takes every step. */
  early_stopping_patience?: number | null;
  /** Steps whose loss or gradient is not finite, or leaps, that are skipped before the run ends as diverged. */
  max_skipped_steps?: number | null;
  promote_if_improves?: boolean | null;
  promote_epsilon?: number | null;
  /** Held-out rows below which nothing is promoted. */
  gate_min_rows?: number | null;
  /** JSONL of prompts and what a good answer to each must be; one bad answer refuses the promotion. */
  gate_checks_path?: string | null;
  /** JSONL of conversations whose loss must not get worse. */
  gate_regression_path?: string | null;
  /** By how much it may, in nats per supervised token. */
  gate_regression_tolerance?: number | null;
  /** Points along each axis of the loss surface; 0 measures none. */
  surface_grid?: number | null;
  /** Most of the run's time that the surface may take; what is missing is measured after the run. */
  surface_share?: number | null;
  /** Most that the snapshots of a run's path may take on the disk. */
  snapshot_bytes?: number | null;
}

/** One sequence of tokens as the model sees it; `answer` says which one of a pair it is. */
export interface ShownRow {
  line: number;
  tokens: number;
  supervised_tokens: number;
  spans: Span[];
  answer: "chosen" | "rejected" | null;
}

/** One side of the split. `rows` are of tokens: a conversation makes one or several, a pair is one. */
export interface SideCount {
  conversations: number;
  rows: number;
  tokens: number;
  supervised_tokens: number;
  over_max_length: number;
  dropped: number;
}

/** Text whose tokens are all learned, or all only read. */
export interface Span {
  text: string;
  supervised: boolean;
}

export interface Started {
  ok: boolean;
  run_id: string;
}

/** The run in numbers; primary metric eval_loss, lower is better. */
export interface Summary {
  primary_metric: "eval_loss";
  primary_goal: "minimize";
  primary_best: number | null;
  primary_final: number | null;
  best_step: number | null;
  time_to_best_secs: number | null;
  stability_stddev: number | null;
}

/** Body of `GET /api/agent/train/run/{id}/surface`: the true loss at the points of a grid on a plane. */
export interface Surface {
  run_id: string;
  digest: string;
  kind: "frozen" | "sketch_pca" | "snapshot_pca";
  /** Points along each axis. */
  grid: number;
  measured: number;
  /** Grid points and path points together; the surface is whole when as many are measured. */
  total: number;
  xs: number[];
  ys: number[];
  /** A row for each y, in it a value for each x; null is not measured yet, or not finite. */
  loss: ((number | null)[])[];
  probe: Probe;
  points: SurfacePoint[];
  share: number;
  frame: Frame;
  /** UTC, ISO 8601. */
  updated: string;
}

/** A point of the path on the surface's plane. */
export interface SurfacePoint {
  step: number;
  x: number;
  y: number;
  off_plane: number;
  /** True loss on the probe batch where the run was. */
  loss: number | null;
  /** True loss on the probe batch at the point's shadow on the plane; null until it is measured. */
  plane_loss: number | null;
}
