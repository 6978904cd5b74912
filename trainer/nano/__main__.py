"""`python -m trainer.nano`: the recipe of the built-in model, one subcommand a step, in order.

Each step imports what it alone needs: only `pretrain` and `export` need PyTorch, only `evaluate` needs MLX.
"""

from __future__ import annotations

import argparse
from pathlib import Path

FOLDER = Path("catalog/nano")
WORK = Path("build/nano")
LOGITS = Path("tests/trainer/nano/torch_logits.npz")
SAMPLES = Path("trainer/samples")
SEED = 7


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer.nano", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)

    step = steps.add_parser("tokenizer", help="train the tokenizer on the corpus")
    step.add_argument("--seed", type=int, default=SEED)
    step.add_argument("--folder", type=Path, default=FOLDER)

    step = steps.add_parser("pretrain", help="pretrain the model (PyTorch)")
    step.add_argument("--seed", type=int, default=SEED)
    step.add_argument("--folder", type=Path, default=FOLDER, help="where the tokenizer is")
    step.add_argument("--work", type=Path, default=WORK, help="where the checkpoint is kept")
    step.add_argument("--total-tokens", type=int, default=13_000_000)
    step.add_argument("--resume", action="store_true", help="continue from the checkpoint in --work")

    step = steps.add_parser("export", help="write the mlx-lm folder and the reference logits (PyTorch)")
    step.add_argument("--folder", type=Path, default=FOLDER)
    step.add_argument("--work", type=Path, default=WORK)
    step.add_argument("--logits", type=Path, default=LOGITS)

    step = steps.add_parser("evaluate", help="score the exported folder on held-out prompts (MLX)")
    step.add_argument("--seed", type=int, default=SEED)
    step.add_argument("--folder", type=Path, default=FOLDER)
    step.add_argument("--count", type=int, default=400, help="prompts in each category")
    step.add_argument("--scores", type=Path, default=FOLDER / "scores.json")
    step.add_argument("--show-wrong", type=int, default=0, help="print so many wrong answers of each category")

    step = steps.add_parser("card", help="write the model card from what was measured")
    step.add_argument("--folder", type=Path, default=FOLDER)

    step = steps.add_parser("sample", help="write the sample dataset that teaches new facts")
    step.add_argument("--seed", type=int, default=SEED)
    step.add_argument("--folder", type=Path, default=SAMPLES)
    return parser


def main() -> None:
    """Run one step."""
    args = _parser().parse_args()
    match args.step:
        case "tokenizer":
            from trainer.nano import tokenizer

            tokenizer.save(tokenizer.train(args.seed), args.folder)
        case "pretrain":
            from trainer.nano.pretrain import Plan, pretrain

            pretrain(Plan(args.seed, args.total_tokens), args.folder, args.work, resume=args.resume)
        case "export":
            from trainer.nano.export import export

            export(args.work / "checkpoint.pt", args.folder, args.logits)
        case "evaluate":
            from trainer.nano.evaluate import evaluate

            evaluate(args.folder, args.seed, args.count, args.scores, args.show_wrong)
        case "card":
            from trainer.nano import card

            card.write(args.folder)
        case "sample":
            from trainer.nano.sample import write

            write(args.seed, args.folder)


if __name__ == "__main__":
    main()
