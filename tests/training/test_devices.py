"""A precision that a device cannot compute in is refused before a run begins."""

from __future__ import annotations

import pytest
import torch

from benchmark.errors import UserError
from benchmark.training.devices import check_precision, has_fast_bf16, resolve_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def cpu_with(monkeypatch: pytest.MonkeyPatch, *, avx512_bf16: bool, amx: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)


@pytest.mark.parametrize(
    ("avx512_bf16", "amx", "fast"), [(False, False, False), (True, False, True), (False, True, True)]
)
def test_bf16_is_refused_on_a_cpu_without_instructions_for_it(
    avx512_bf16: bool, amx: bool, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu_with(monkeypatch, avx512_bf16=avx512_bf16, amx=amx)
    assert has_fast_bf16(CPU) is fast
    if fast:
        check_precision("bf16", CPU)
    else:
        with pytest.raises(UserError, match=r"neither AVX512-BF16 nor AMX\. Use auto or fp32"):
            check_precision("bf16", CPU)


def test_fp16_is_refused_on_a_cpu() -> None:
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        check_precision("fp16", CPU)


@pytest.mark.parametrize("bf16", [True, False])
def test_auto_is_bf16_where_a_gpu_has_it_and_fp16_on_an_older_one(bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def supported(including_emulation: bool) -> bool:
        asked.append(including_emulation)
        return bf16

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert resolve_precision("auto", GPU) == ("bf16" if bf16 else "fp16")
    assert asked == [False], "emulated bf16 does not count"
    check_precision("fp16", GPU)
    if not bf16:
        with pytest.raises(UserError, match="this GPU"):
            check_precision("bf16", GPU)


@pytest.mark.parametrize("avx512_bf16", [True, False])
def test_precision_auto_is_fp32_on_every_cpu(avx512_bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_with(monkeypatch, avx512_bf16=avx512_bf16, amx=False)
    assert [resolve_precision(asked, CPU) for asked in ("auto", "bf16", "fp32")] == ["fp32", "bf16", "fp32"]
    check_precision("auto", CPU)
    check_precision("fp32", CPU)
