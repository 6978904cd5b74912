"""What gateway and trainer both need from MLX: a base in memory, LoRA on it, and the chat template.

The only room that does; `blas.preload()` must run before anything here imports `mlx.core`, so every module of this
package calls it first. Knows nothing of HTTP, runs or batches.
"""
