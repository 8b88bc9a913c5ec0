"""A minimal loop with transformers, for comparison: XLS-R 1B's shape, random weights, AdamW, gradient checkpointing.

python experiments/memory_1b/bare.py     two steps of one utterance of 4 s; prints seconds and the peak of memory
"""

import resource
import time

import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

model = Wav2Vec2ForCTC(
    Wav2Vec2Config(
        vocab_size=70, hidden_size=1280, num_hidden_layers=48, num_attention_heads=16, intermediate_size=5120,
        conv_bias=True, feat_extract_norm="layer", do_stable_layer_norm=True, ctc_zero_infinity=True, pad_token_id=0,
    )
)  # fmt: skip
model.freeze_feature_encoder()
model.gradient_checkpointing_enable({"use_reentrant": False})
model.train()
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
for step in (1, 2):
    since = time.perf_counter()
    model(torch.randn(1, 64_000), labels=torch.randint(2, 70, (1, 40))).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    print(f"step {step}: {time.perf_counter() - since:.0f} s")
print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB at the peak")
