# SPDX-License-Identifier: Apache-2.0
"""Networks: tensors in, logits out. No other part of the core knows torch; robots need none."""
