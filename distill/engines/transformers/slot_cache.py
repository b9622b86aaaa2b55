"""A key-value cache whose rows are slots: a finished row's place is taken by a new prompt while the others go on.

transformers' DynamicLayer copies the whole cache at every step; here a step writes one column into spare room. All rows
share their columns: a prompt is written so that it ends at the current column, and the columns before it are masked.
Only models with plain full attention can be served so (`slots` gives None for others). The attention for one new
token folds the query heads of a key-value head into the query length instead of copying keys and values for each.
"""

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward

SPARE_COLUMNS = 32
"""Room for new columns whenever a layer is rearranged."""


class SlotLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one layer: `keys` and `values` are views of the filled columns of two buffers."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends columns (rows, heads, columns, size) and gives all of them."""
        filled = self.get_seq_length()
        width = filled + key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.key_room, self.value_room = key_states.contiguous(), value_states.contiguous()
        elif width > self.key_room.shape[-2]:
            self.rearrange(None, 0)
        if filled:
            self.key_room[:, :, filled:width] = key_states
            self.value_room[:, :, filled:width] = value_states
        return self._show(width)

    def put(self, rows: torch.Tensor, other: DynamicLayer) -> None:
        """Writes another cache's rows over some rows of this one, so that both end at the same column."""
        assert other.keys is not None and other.values is not None
        width = self.get_seq_length()
        start = width - other.keys.shape[-2]
        self.key_room[rows, :, start:width] = other.keys
        self.value_room[rows, :, start:width] = other.values

    def rearrange(self, rows: torch.Tensor | None, first: int) -> None:
        """Keeps some rows (None: all) and the columns from `first` on; a negative `first` adds masked columns in front."""
        self.key_room, self.value_room = (self._moved(store, rows, first) for store in (self.keys, self.values))
        self._show(self.get_seq_length() - first)

    def _moved(self, store: torch.Tensor | None, rows: torch.Tensor | None, first: int) -> torch.Tensor:
        assert store is not None
        kept = store if rows is None else store[rows]
        count, heads, width, size = kept.shape
        room = kept.new_empty(count, heads, width - first + SPARE_COLUMNS, size)
        room[:, :, : max(-first, 0)] = 0
        room[:, :, max(-first, 0) : width - first] = kept[:, :, max(first, 0) :]
        return room

    def _show(self, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = self.key_room[:, :, :width], self.value_room[:, :, :width]
        self.keys, self.values = keys, values
        return keys, values


def slots(config: Any) -> DynamicCache | None:
    """A cache with slots for a model of this configuration, or None when its layers are not all plain full attention."""
    cache = DynamicCache(config=config)
    if not cache.layers or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return None
    cache.layers = [SlotLayer() for _ in cache.layers]  # type: ignore[no-untyped-call]
    return cache


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA for transformers' attention interface, without repeated keys and values where there is one query a row."""
    rows, heads, queries, size = query.shape
    if queries != 1 or heads == key.shape[1] or options.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    folded = query.reshape(rows, key.shape[1], heads // key.shape[1], size)
    attended = torch.nn.functional.scaled_dot_product_attention(folded, key, value, attn_mask=attention_mask, scale=options.get("scaling"))
    return attended.reshape(rows, 1, heads, value.shape[-1]), None
