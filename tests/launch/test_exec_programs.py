"""Programs of many kinds, as they print: three epochs count as three, whatever their names and surroundings."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.launch.played import EVALUATION, LENGTHS, N, Play, check, read_output, right_moments

Printed = Callable[[Play, int, int], None]


def numbers(
    head: str = "",
    within: str = "",
    end: str = "",
    *,
    before: str = "",
    after: str = "",
    every: int = 10,
    epochs: int = 3,
    start: int = 0,
    first: int = 1,
    final: str = "",
    stream: str = "out",
    line_end: str = "\n",
    unended: bool = False,
) -> Play:
    """A loop that prints templates: {e} number, {E} epochs, {L} number of the last, {b} batch from 1, {z} from 0, {N}, {g} step."""
    play = Play()
    write = play.out if stream == "out" else play.err
    values = {"E": epochs, "L": epochs - 1 + first, "N": N}
    if before:
        write(before)
    play.nap(1.0)
    for e in range(start, epochs):
        if unended:
            write("")
        if head:
            write(head.format(e=e + first, **values))
        for b in play.batches(LENGTHS[e % 3]):
            if within and (b % every == 0 or b == N):
                g = e * N + b
                write(
                    within.format(
                        e=e + first, b=b, z=b - 1, g=g, p=100 * b // N, f=round(g / N, 2), h=f"{b / N:.2f}", **values
                    ),
                    end=line_end,
                )
        play.end_training()
        play.nap(EVALUATION)
        if end:
            write(end.format(e=e + first, g=(e + 1) * N, **values), end="" if unended else "\n")
        play.end_epoch()
        if after:
            write(after.format(e=e + first, **values))
    if final:
        write(final)
    play.nap(0.2)
    return play


LOOPS: dict[str, tuple[dict[str, Any], dict[str, float | None]]] = {
    # name: (its output, the expected figures: planned, steps)
    "fastprogress": ({"within": "Epoch {e}/{E} : |█████-----| {p}.00% [{b}/{N} 00:01<00:01 0.5123]", "every": 1, "line_end": "\r"}, {"epochs": 3}),
    "alive": ({"within": "Epoch {e}/{E} |████████| {b}/{N} [{p}%] in 1.0s (20.00/s) ", "every": 1, "line_end": "\r"}, {"epochs": 3}),
    "progressbar2": ({"within": "Epoch {e}/{E}  {p}% ({b} of {N}) |####   | Elapsed Time: 0:00:01 ETA:  0:00:01", "every": 1, "line_end": "\r"}, {"epochs": 3}),
    "json_message": ({"end": '{{"level": "info", "message": "epoch {e}/{E} loss 0.512", "time": "2024-01-01T10:00:00Z"}}'}, {"epochs": 3}),
    "logfmt": ({"end": 'time=2024-01-01T10:00:00Z level=info msg="epoch finished" epoch={e} loss=0.512'}, {}),
    "structlog": ({"end": "2024-01-01 10:00:00 [info     ] epoch done                     epoch={e} loss=0.512"}, {}),
    "keras_unknown": ({"head": "Epoch {e}/{E}", "within": "     {b}/Unknown \x1b[1m1s\x1b[0m 50ms/step - loss: 0.5", "every": 1, "line_end": "\r"}, {"epochs": 3}),
    "no_total": ({"within": "Epoch {e}: {b}it [00:01, 20.0it/s, loss=0.5]", "every": 1, "line_end": "\r", "stream": "err"}, {}),
    "lightning_stream": ({"before": "Sanity Checking DataLoader 0: 100%|##| 2/2 [00:00<00:00, 99.0it/s]", "within": "Epoch {e}: |          | {b}/? [00:01<00:00, 20.0it/s, v_num=0]", "every": 1, "line_end": "\r", "stream": "err", "first": 0}, {}),
    "vanishing_bar": ({"within": "Epoch {e}/{E}:  {p}%|###| {z}/{N} [00:01<00:01, 9.98it/s]", "every": 3, "line_end": "\r", "stream": "err"}, {"epochs": 3}),
    "stage_words": ({"within": "[Stage 1][Epoch {e}/{E}][{b}/{N}] loss=0.512"}, {"epochs": 3}),
    "fold_words": ({"end": "Fold 2 | Epoch {e}/{E} | train_loss: 0.512 | val_loss: 0.433"}, {"epochs": 3}),
    "seconds_first": ({"end": "[12.3s] epoch {e}: loss 0.512"}, {}),
    "unix_time": ({"end": "1700000000.123 epoch {e} loss 0.512"}, {}),
    "unix_time_heads": ({"head": "1700000000.123 Epoch {e}/{E}"}, {"epochs": 3}),
    "quoted": ({"end": "'epoch {e}' -> loss '0.512'"}, {}),
    "table_of_pipes": ({"before": "| epoch | step | loss | lr |\n|-------|------|------|----|", "end": "| {e} | {g} | 0.512 | 0.001 |"}, {"step": 120}),
    "thousands": ({"within": "Epoch {e}/{E} | step {b}/{N} | loss 1,234.5"}, {"epochs": 3, "step": 120}),
    "swedish": ({"end": "Epok {e}/{E}: förlust 0.512"}, {"epochs": 3}),
    "polish": ({"end": "Epoka {e} z {E}, strata 0.512"}, {}),
    "italian": ({"within": "Epoca {e}/{E}, passo {b}/{N}, perdita 0.512"}, {"epochs": 3, "step": 120}),
    "newline_later": ({"end": "epoch {e} loss 0.512", "unended": True}, {}),
    "tensorboard_tutorial": ({"head": "EPOCH {e}:", "within": "  batch {b} loss: 0.512", "end": "LOSS train 0.5 valid 0.4"}, {}),
    "head_and_step": ({"head": "Epoch {e}", "within": "step {b} loss 0.512", "every": 2}, {}),
    "accelerate": ({"end": "epoch {e}: {{'accuracy': 0.81, 'f1': 0.86}}", "first": 0}, {}),
    "detr": ({"within": "Epoch: [{e}]  [{z:3d}/{N}]  eta: 0:00:10  lr: 0.0001  loss: 6.9  time: 0.05  data: 0.01  max mem: 100", "end": "Epoch: [{e}] Total time: 0:00:02 (0.05 s / it)", "first": 0}, {"step": 120}),
    "dino": ({"within": "Epoch: [{e}/{E}]  [{z:3d}/{N}]  eta: 0:00:10  loss: 6.9", "first": 0, "every": 4}, {"epochs": 3, "step": 120}),
    "detr_resumed": ({"within": "Epoch: [{e}]  [{z:3d}/{N}]  eta: 0:00:10  loss: 6.9", "first": 0, "every": 4, "start": 5, "epochs": 8}, {"step": 320}),
    "swin": ({"within": "[2022-01-01 12:00:00 swin](main.py 200): INFO Train: [{e}/{E}][{z}/{N}]\teta 0:00:10 lr 0.01\tloss 6.9", "end": "[2022-01-01 12:00:00 swin](main.py 210): INFO EPOCH {e} training takes 0:00:02", "first": 0}, {"epochs": 3, "step": 120}),
    "open_clip": ({"within": "2023-01-01,12:00:00 | INFO | Train Epoch: {e} [ {b}/{N} ({p}%)] Data (t): 0.1 Batch (t): 0.5, LR: 0.001 Loss: 5.1", "first": 0, "every": 4}, {}),
    "basicsr": ({"within": "2022-01-01 12:00:00,123 INFO: [train..][epoch:  {e}, iter:     {g}, lr:(2.000e-04,)] [eta: 1 day, time (data): 0.5 (0.01)] l_pix: 2.1e-02 ", "first": 0, "every": 4}, {"step": 120}),
    "icefall": ({"within": "2022-01-01 12:00:00,123 INFO [train.py:800] Epoch {e}, batch {z}, loss[loss=0.51, over 2000 frames.], tot_loss[loss=0.6], batch size: 20", "every": 4}, {}),
    "wenet": ({"head": "2021-01-01 12:00:00,123 INFO Epoch {e} TRAIN info lr 0.001", "within": "2021-01-01 12:00:00,123 DEBUG TRAIN Batch {e}/{z} loss 40.1 lr 0.001", "end": "2021-01-01 12:00:00,123 INFO Epoch {e} CV info cv_loss 5.1", "first": 0}, {}),
    "composer_console": ({"within": "[epoch={e}/{E}][batch={b}/{N}]:\n\t Train loss/train/total: 2.1"}, {"epochs": 3, "step": 120}),
    "paddle_hapi": ({"head": "Epoch {e}/{E}", "within": "step {b}/{N} - loss: 0.5 - acc: 0.9 - 20ms/step", "end": "Eval begin...\nstep 10/10 - loss: 0.4 - 20ms/step"}, {"epochs": 3, "step": 120}),
    "tflearn": ({"within": "Training Step: {g}  | total loss: 0.51 | time: 1.0s\n| Adam | epoch: {e:03d} | loss: 0.51234 -- iter: {b}/{N}", "every": 4}, {}),
    "spinning_up": ({"end": "---------------------------------------\n|             Epoch |               {e} |\n|      AverageEpRet |            21.6 |", "first": 0}, {}),
    "julia": ({"end": "[ Info: Epoch {e}: loss = 0.512"}, {}),
    "allennlp": ({"head": "2020-01-01 12:00:00,123 - INFO - allennlp.training.trainer - Epoch {e}/{L}", "first": 0}, {"epochs": 3}),
    "matlab": ({"before": "|  Epoch  |  Iteration  |  Time Elapsed  |  Mini-batch  |\n|         |             |   (hh:mm:ss)   |   Accuracy   |", "within": "|       {e} |          {g} |       00:00:05 |       50.00% |", "every": 4}, {"step": 120}),
    "paper_code": ({"within": "[Epoch {e}/{E}] [Batch {z}/{N}] [D loss: 0.51] [G loss: 1.2]", "first": 0, "every": 4}, {"epochs": 3, "step": 120}),
    "lua_like": ({"within": "<trainer> on training set:  online epoch # {e} [batchSize = 10]", "every": 4}, {}),
    "yolact": ({"within": "[  {e}]     {g} || B: 5.1 | C: 9.2 | T: 20.0 || ETA: 1 day || timer: 0.5", "end": "Epoch {e} took 2.0 s", "first": 0}, {}),
    "epoch_time": ({"end": "Epoch: {e:02d} | Epoch Time: 0m 2s\n\tTrain Loss: 0.512 | Train Acc: 75.00%"}, {}),
    "seconds": ({"end": "Epoch {e} finished in 2.51s"}, {}),
    "kwargs_order": ({"end": "loss=0.512 acc=0.91 epoch={e}"}, {}),
    "summary_of": ({"end": "--- epoch {e} summary: loss 0.512"}, {}),
    "bracket_iter": ({"within": "Epoch: [{e}/{E}], Iter: [{b}/{N}], Loss: 0.51"}, {"epochs": 3, "step": 120}),
    "flair": ({"within": "2024-01-01 10:00:00,000 epoch {e} - iter {b}/{N} - loss 1.23 - samples/sec: 80.1"}, {"step": 120}),
    "mxnet": ({"within": "INFO:root:Epoch[{e}] Batch [{b}]\tSpeed: 1234.5 samples/sec\taccuracy=0.5", "end": "INFO:root:Epoch[{e}] Train-accuracy=0.61", "first": 0}, {}),
    "upper_end": ({"end": "EPOCH {e:03d} | train_loss 0.512 | val_loss 0.433"}, {}),
    "of_done": ({"end": "Finished epoch {e} of {E} in 2.0 seconds"}, {"epochs": 3}),
    "took": ({"end": "Epoch {e} took 2.1s"}, {}),
    "bare_head": ({"head": "=== Epoch {e} ==="}, {}),
    "head_from_0_of_last": ({"head": "Epoch {e}/{L}", "first": 0}, {"epochs": 3}),
    "head_from_0_of_all": ({"head": "epoch {e}/{E}", "first": 0}, {"epochs": 3}),
    "started_by_logging": ({"head": "INFO:trainer:Starting epoch {e}/{E}"}, {"epochs": 3}),
    "german": ({"within": "Epoche {e} von {E}: Schritt {b}/{N}, Verlust 0,51"}, {"epochs": 3, "step": 120}),
    "french": ({"end": "Époque {e}/{E} - perte : 0.512"}, {"epochs": 3}),
    "spanish": ({"end": "Época {e}/{E} - pérdida: 0.512"}, {"epochs": 3}),
    "russian": ({"end": "Эпоха {e}/{E}, потери: 0.512"}, {"epochs": 3}),
    "chinese": ({"end": "第 {e}/{E} 轮, 损失: 0.512"}, {"epochs": 3}),
    "chinese_of_the_tutorials": ({"within": "第{e}个epoch, 训练批次 {b}/{N}, loss: 0.512"}, {"step": 120}),
    "japanese": ({"end": "エポック {e}/{E} 損失 0.512"}, {"epochs": 3}),
    "korean": ({"end": "에폭 {e}/{E}, 손실: 0.512"}, {"epochs": 3}),
    "no_colon": ({"end": "epoch{e} loss0.512 acc0.9"}, {}),
    "pipes": ({"end": "| epoch   {e} | time: 2.41s | valid accuracy    0.61 "}, {}),
    "text_tutorial": ({"within": "| epoch   {e} |    {b}/   {N} batches | accuracy    0.51", "end": "| end of epoch   {e} | time: 2.41s | valid loss  5.1"}, {"step": 120}),
    "ddp_print": ({"end": "Rank 0, Epoch {e}, Loss 0.512", "first": 0}, {}),
    "json_end": ({"end": '{{"epoch": {e}, "train_loss": 0.51, "val_acc": 0.9}}'}, {}),
    "json_within": ({"within": '{{"epoch": {e}, "step": {g}, "loss": 0.51}}', "every": 4, "first": 0}, {"step": 120}),
    "json_behind_a_logger": ({"end": "2024-01-01 10:00:00 INFO train {{'epoch': {e}, 'loss': 0.51, 'lr': 0.1}}"}, {}),
    "percent_bar": ({"within": "Epoch {e}/{E} [######------] {p}% loss 0.5", "every": 2}, {"epochs": 3}),
    "float_position": ({"within": "step {g} epoch {f} loss 0.512", "every": 4}, {}),
    "loguru": ({"end": "2024-01-01 10:00:00.123 | INFO     | __main__:train:42 - Epoch {e}/{E} loss=0.512"}, {"epochs": 3}),
    "absl": ({"end": "I0101 10:00:00.123456 140000000000 train.py:77] epoch {e}: loss=0.512"}, {}),
    "rich_handler": ({"end": "[10:00:00] INFO     Epoch {e}/{E} loss 0.512                      train.py:42"}, {"epochs": 3}),
    "syslog": ({"end": "Jan  1 10:00:00 node7 train[4711]: epoch {e}/{E} loss 0.512"}, {"epochs": 3}),
    "kubectl_timestamps": ({"head": "2024-01-01T10:00:00.123456789Z Epoch {e}/{E}", "within": "2024-01-01T10:00:00.123456789Z {b}/{N} [====>...] - loss: 0.5"}, {"epochs": 3, "step": 120}),
    "srun_label": ({"within": "0: Epoch {e}/{E} step {b}/{N} loss 0.5"}, {"epochs": 3, "step": 120}),
    "mpirun": ({"within": "[1,0]<stdout>:Epoch {e}/{E} step {b}/{N} loss 0.5"}, {"epochs": 3, "step": 120}),
    "ray": ({"end": "(RayTrainWorker pid=4711) epoch {e} loss 0.512"}, {}),
    "pdsh": ({"end": "gpu-node-12: epoch {e} loss 0.512"}, {}),
    "docker_compose": ({"end": "trainer-1  | Epoch {e}/{E} - loss: 0.5"}, {"epochs": 3}),
    "catalyst": ({"within": "{e}/{E} * Epoch (train):  {p}% {b}/{N} [00:01<00:01, 40it/s, loss=0.5]", "end": "[2024-01-01 10:00:00] {e}/{E} * Epoch {e} (train): loss=0.5"}, {"epochs": 3}),
    "pytorch_examples_lm": ({"within": "| epoch   {e} | {b:5d}/{N:5d} batches | lr 20.00 | ms/batch 50.00 | loss  6.5 | ppl 700.0", "end": "| end of epoch   {e} | time:  2.00s | valid loss  5.8 | valid ppl   330.0"}, {"step": 120}),
    "fairseq_like": ({"head": "begin training epoch {e}", "within": "2020-01-01 10:00:00 | INFO | train_inner | epoch {e:03d}: {b:6d} / {N} loss=9.1, ppl=560.2, num_updates={g}, lr=1e-05"}, {"step": 120}),
    "mmcv": ({"within": "2022-03-01 12:00:00,123 - mmseg - INFO - Epoch [{e}][{b}/{N}]\tlr: 2.000e-02, eta: 1:00:00, loss: 1.2", "after": "2022-03-01 12:00:00,123 - mmseg - INFO - Saving checkpoint at {e} epochs"}, {"step": 120}),
    "paddleclas": ({"within": "[2022/01/01 12:00:00] ppcls INFO: [Train][Epoch {e}/{E}][Iter: {z}/{N}]lr: 0.1, loss: 5.1"}, {"epochs": 3, "step": 120}),
    "paddledet": ({"within": "[01/01 12:00:10] ppdet.engine INFO: Epoch: [{e}] [{z:3d}/{N}] learning_rate: 0.001 loss: 5.1", "first": 0}, {"step": 120}),
    "espnet": ({"head": "[host] 2021-05-01 12:00:00,000 (trainer:272) INFO: {e}/{E}epoch started. Estimated time to finish: 1 hour", "end": "[host] 2021-05-01 12:00:00,000 (trainer:338) INFO: {e}epoch results: [train] iter_time=0.1, loss=52.1"}, {"epochs": 3}),
    "sklearn_like_table": ({"before": "Epoch | Train loss | Valid loss | Acc", "end": "{e} | 0.512 | 0.433 | 0.91"}, {}),
    "chainer": ({"before": "epoch       iteration   main/loss   validation/main/loss", "end": "{e}           {g}         0.192       0.095"}, {"step": 120}),
    "fastai_from_0": ({"before": "epoch     train_loss  valid_loss  time    ", "end": "{e}         0.512345    0.433210    00:02     ", "first": 0}, {}),
    "tab_table": ({"before": "epoch\tloss\tval_loss\tlr", "end": "{e}\t0.512\t0.433\t0.001"}, {}),
    "carriage_returns": ({"within": "Epoch {e}/{E} batch {b}/{N} loss 0.5", "line_end": "\r", "every": 1}, {"epochs": 3, "step": 120}),
    "coloured": ({"within": "\x1b[1;32mEpoch\x1b[0m \x1b[33m{e}\x1b[0m/{E} \x1b[2mstep {b}/{N}\x1b[0m loss 0.5"}, {"epochs": 3, "step": 120}),
    "best_behind": ({"end": "Epoch {e}/{E} loss 0.51 (best 0.49)"}, {"epochs": 3}),
    "trials_word": ({"end": "trial 4 epoch {e} accuracy 0.91"}, {}),
    "resumed": ({"head": "", "within": "Epoch [{e}/{E}], Step [{b}/{N}], loss 0.5", "start": 5, "epochs": 8}, {"epochs": 8, "step": 320}),
    "resumed_heads": ({"head": "Epoch {e}/{E}", "within": "{b}/{N} [===>..] - loss: 0.5", "start": 4, "epochs": 7}, {"epochs": 7, "step": 280}),
    "resumed_ends": ({"before": "Resuming from epoch 4", "end": "epoch {e}/{E} loss 0.5", "start": 4, "epochs": 7}, {"epochs": 7}),
    "checkpoint_lines": ({"head": "Epoch {e}/{E}", "end": "Saved checkpoint of epoch {e} to ckpt/{e}.pt"}, {"epochs": 3}),
    "lr_schedule_lines": ({"within": "epoch {e} step {b}/{N} loss 0.5", "after": "Epoch {e}: reducing learning rate of group 0 to 1.0e-04."}, {"step": 120}),
    "nemo": ({"within": "Training epoch {e}, iteration {z}/39 | lr: 4.4e-05 | global_batch_size: 8 | global_step: {g} | reduced_train_loss: 11.03", "first": 0}, {"step": 120, "batch_size": 8}),
    "marian": ({"within": "[2020-01-01 12:00:00] Ep. {e} : Up. {g} : Sen. 32,000 : Cost 5.12345 : Time 20.11s : 1000.12 words/s"}, {"step": 120}),
    "kaldi": ({"within": "2020-01-01 12:00:00,123 [steps/nnet3/chain/train.py:529 - train - INFO ] Iter: {g}/120   Jobs: 3   Epoch: {f}/3.0 (8.5% complete)   lr: 0.0005", "every": 4}, {"epochs": 3}),
    "mlperf": ({"end": ':::MLLOG {{"namespace": "", "time_ms": 1, "event_type": "INTERVAL_END", "key": "epoch_stop", "value": null, "metadata": {{"file": "train.py", "lineno": 30, "epoch_num": {e}}}}}'}, {}),
    "paddlenlp": ({"within": "[2024-01-01 12:00:00,123] [    INFO] - loss: 2.31234, learning_rate: 5e-05, global_step: {g}, interval_runtime: 0.5, progress_or_epoch: {f}"}, {"step": 120}),
    "dcgan": ({"within": "[{e}/{E}][{z}/{N}]\tLoss_D: 1.2\tLoss_G: 2.1\tD(x): 0.5\tD(G(z)): 0.4 / 0.3", "first": 0}, {"epochs": 3, "step": 120}),
    "pytorch-cifar": ({"head": "\nEpoch: {e}", "within": " [=====>........................]  Step: 25ms | Tot: 2s1ms | Loss: 1.512 | Acc: 45.000% (576/1280) {b}/{N} ", "first": 0, "line_end": "\r", "every": 1}, {"step": 120}),
    "nanodet": ({"within": "[NanoDet][01-01 12:00:00]INFO: Train|Epoch{e}/{E}|Iter{g}({b}/{N})| mem:1.2G| lr:1.00e-04| loss_qfl:0.512|"}, {"epochs": 3, "step": 120}),
    "batch_without_total": ({"within": "epoch: {e}, batch_id: {z}, loss is: [0.5123], acc is: [0.9]", "first": 0}, {}),
    "steps_of_the_run": ({"within": "epoch {e} | global step {g} | loss 0.5", "first": 0}, {"step": 120}),
    "iteration_of_all": ({"within": "Iteration {g}/120 (epoch {e}/{E}): loss 0.5123"}, {"epochs": 3, "step": 120}),
    "lines_without_batches": ({"within": "epoch {e} loss 0.512"}, {}),
    "json_of_the_run": ({"within": '{{"epoch": {e}, "global_step": {g}, "train_loss": 0.51}}', "first": 0}, {"step": 120}),
    "rare_positions": ({"within": "{{'loss': 0.5, 'learning_rate': 1e-05, 'epoch': {f}}}", "every": 25}, {}),
    "figures_under_it": ({"end": "epoch: {e}\ntrain_loss: 0.5123\nval_loss: 0.4123\n---"}, {}),
    "julia_info": ({"end": "┌ Info: Epoch {e}\n│   train_loss = 0.5123\n└   test_acc = 0.91"}, {}),
    "scikit-learn": ({"end": "-- Epoch {e}\nNorm: 12.3, NNZs: 10, Bias: 0.1, T: 100, Avg. loss: 0.5"}, {}),
    "figures_at_the_end": ({"head": "Epoch {e}", "end": "train_loss: 0.5123\nval_loss: 0.4123"}, {}),
    "comma_table": ({"before": "epoch,train_loss,val_loss,acc", "end": "{e},0.5123,0.4123,0.91"}, {}),
    "click": ({"within": "Epoch {e}/{E}  [#######------]  {p:3d}%  00:00:01", "line_end": "\r", "every": 1}, {"epochs": 3}),
    "fullwidth": ({"end": "Epoch\uff1a{e}\uff0c训练损失\uff1a0.5123\uff0c验证准确率\uff1a0.91"}, {}),
    "chinese_words_joined": ({"within": "训练轮次: {e}/{E}, 批次: {b}/{N}, 损失: 0.5123"}, {"epochs": 3, "step": 120}),
    "portuguese": ({"end": "Época {e} de {E} — perda: 0,5123"}, {"epochs": 3}),
    "ukrainian": ({"end": "Епоха {e}/{E}, втрати: 0.5123"}, {"epochs": 3}),
    "arabic": ({"end": "الحقبة {e}/{E} - الخسارة: 0.5123"}, {"epochs": 3}),
    "deepspeed_chat": ({"before": "***** Evaluating perplexity, Epoch 0/3 *****\nppl: 4937.1, loss: 8.5", "head": "Beginning of Epoch {e}/{E}, Total Micro Batches 40", "end": "***** Evaluating perplexity, Epoch {e}/{E} *****\nppl: 3.21, loss: 1.1"}, {"epochs": 3}),
    "evaluates_by_lines": ({"within": "Train epoch {e} [{b}/{N}] loss 0.5", "end": "Valid epoch {e} [10/10] loss 0.4"}, {}),
    "stdout_and_eval_dict": ({"within": "epoch: {e}, step: {b}/{N}, loss: 0.5", "end": "{{'eval_loss': 0.4, 'eval_acc': 0.9, 'epoch': {e}}}"}, {"step": 120}),
}  # fmt: skip


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_that_prints_its_epochs(name: str, terminal: bool):
    how, expected = LOOPS[name]
    check(numbers(**how), expected, terminal=terminal, first=int(str(how.get("start", 0))))  # type: ignore[arg-type]


def every(stride: int, total: int, first: int, template: str) -> Play:
    """A loop that prints one epoch in so many."""
    play = Play()
    play.nap(1.0)
    for number in range(first, total + first):
        play.nap(0.4)
        if number % stride == 0:
            play.out(template.format(e=number, E=total))
        play.end_epoch()
    play.nap(0.1)
    return play


@pytest.mark.parametrize(("stride", "first"), [(10, 1), (5, 1), (2, 1), (10, 0), (5, 0)])
def test_one_line_for_several_epochs_where_all_are_a_multiple(stride: int, first: int):
    play = every(stride, 40, first, "Epoch [{e}/{E}], Loss: 0.5123")
    reading = read_output(play)
    assert reading.ends == list(range(1, 41))
    assert reading.last("epochs") == 40
    assert not right_moments(play, [(one.ended, one.at.mono) for one in reading.news if one.ended and one.at], 0)


@pytest.mark.parametrize(("stride", "total", "template"), [
    (10, 45, "Epoch [{e}/{E}], Loss: 0.5123"),  # five epochs at the end would be missing
    (10, 40, "Epoch {e}, Loss: 0.5123"),  # the amount is unknown
    (10, 20, "Epoch [{e}/{E}], Loss: 0.5123"),  # two lines show no regularity
    (10, 40, "Test Epoch [{e}/{E}], Loss: 0.5123"),
])  # fmt: skip
def test_one_line_for_several_epochs_is_ignored_if_epochs_may_be_missing(stride: int, total: int, template: str):
    assert read_output(every(stride, total, 1, template)).ends == []


@pytest.mark.parametrize("word", ["inner", "ppo"])
def test_epochs_within_a_step_do_not_count(word: str):
    play = Play()
    for number in range(3):
        for inner in range(4):
            play.nap(LENGTHS[number] / 4)
            play.out(f"  {word} epoch {inner + 1}/4 loss 0.4")
        play.out(f"Epoch {number + 1}/3 loss 0.5")
        play.end_epoch()
    play.nap(0.2)
    check(play, {"epochs": 3}, terminal=False)


def test_a_sentence_is_not_a_table_header():
    assert ended_of("Epoch, batch, and loss are printed below", *(f"{row}, 3, 0.5" for row in range(5))) == []


def ended_of(*lines: str) -> list[int]:
    play = Play()
    for line in lines:
        play.nap(1.0)
        play.out(line)
    return read_output(play).ends


def test_irregularly_rising_numbers_are_not_epochs():
    play = Play()
    for number in (10, 20, 35, 40, 50):
        play.nap(1.0)
        play.out(f"Epoch [{number}/100], Loss: 0.5123")
    assert read_output(play).ends == []


def test_the_last_epoch_may_be_printed_beside_every_tenth():
    play = Play()
    for number in range(40):
        play.nap(0.4)
        if number % 10 == 0 or number == 39:
            play.out(f"Epoch {number}/40 loss 0.5123")
        play.end_epoch()
    reading = read_output(play)
    assert reading.ends == list(range(1, 41))
    assert reading.retracts == 0


@pytest.mark.parametrize("figure", ["loss: 2.3011", "best loss so far: 0.5123"])
def test_a_heading_with_an_immediate_figure_begins_an_epoch_if_none_came_before(figure: str):
    play = Play()
    play.nap(0.5)
    for e in range(3):
        play.out(f"Epoch {e + 1}\n{figure}")
        play.nap(LENGTHS[e])
        play.end_epoch()
    play.nap(0.2)
    check(play, {}, terminal=False)


@pytest.mark.parametrize("bar", [
    "Epoch 1/3 : |███████---------| 45.00% [{b}/{N} 00:01<00:01 2.312]",
    "Epoch 1/3 |████████⚠︎           | ▅▃▁ {b}/{N} [45%] in 1s (20.1/s, eta: 1s)",
])  # fmt: skip
def test_bars_of_other_kinds_count_batches(bar: str):
    play = Play()
    for e in range(3):
        for b in play.batches(LENGTHS[e]):
            play.out("\r" + bar.replace("1/3", f"{e + 1}/3", 1).format(b=b, N=N), end="")
        play.out("")
        play.end_epoch()
    play.nap(0.2)
    check(play, {"epochs": 3, "step": 120}, terminal=True)


def test_an_evaluation_that_names_the_epoch_ends_the_one_it_is_of():
    play = Play()
    for e in range(3):
        for b in play.batches(LENGTHS[e]):
            play.err("\r" + play.bar("Training", e * N + b, 3 * N), end="")
        play.end_training()
        play.err(f"\nRunning evaluation for step: {(e + 1) * N}, epoch: {e + 1}")
        play.nap(EVALUATION)
        play.end_epoch()
    play.nap(0.2)
    check(play, {}, terminal=False)


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize(
    "line",
    ["epoch {e} loss 0.5", "Epoch {e}/{E}", "Epoch [{e}/{E}] step [{b}/{N}] loss 0.5", "epoch {e} batch {b} loss 0.5"],
)
def test_a_loop_that_several_ranks_print(line: str, ranks: int):
    play = Play()
    for e in range(3):
        if line.endswith("{E}"):
            for _ in range(ranks):
                play.nap(0.03)
                play.out(line.format(e=e + 1, E=3))
        for b in play.batches(LENGTHS[e]):
            if "{b}" in line and b % 4 == 0:
                for rank in range(ranks):
                    play.out(line.format(e=e + 1, E=3, b=max(b - rank % 2, 1), N=N))
        if line.endswith("0.5") and "{b}" not in line:
            for _ in range(ranks):
                play.nap(0.03)
                play.out(line.format(e=e + 1))
        play.end_epoch()
    play.nap(0.2)
    check(play, {}, terminal=False)


STEPS_ONLY = {
    "llm.c": "step {g}/120 | loss 5.123 (+nanz)| norm 1.2 | lr 3.0e-04",
    "mmcv": "2022-03-01 12:00:00,123 - mmseg - INFO - Iter [{g}/120]\tlr: 1.0e-02, eta: 3:00:00, loss: 2.1",
    "torchtitan": "[titan] 2024-01-01 12:00:00,123 - root - INFO - step: {g}  loss: 10.51  memory: 1.2GiB(1.5%)",
    "maxtext": "completed step: {g}, seconds: 0.512, TFLOP/s/device: 100.1, loss: 5.123",
    "object_detection": "INFO:tensorflow:Step {g} per-step time 0.512s",
    "stanza": "2024-01-01 12:00:00 INFO: Finished STEP {g}/120, loss = 2.123456 (0.1 sec/batch), lr: 0.003",
    "opennmt": "[2021-05-01 12:00:00,000 INFO] Step {g}/  120; acc:   4.54; ppl: 19000; xent: 9.85",
}


@pytest.mark.parametrize("name", STEPS_ONLY)
def test_programs_without_epochs_report_their_steps(name: str):
    play = Play()
    for g in play.batches(9.0, 120):
        if g % 10 == 0:
            play.out(STEPS_ONLY[name].format(g=g))
    reading = read_output(play)
    assert (reading.ends, reading.last("step"), reading.last("epoch")) == ([], 120, None)


def test_a_pruned_trial_ends_no_epoch_that_it_did_not_finish():
    play = Play()
    for stop in (3, 1, 2):
        for e in range(stop):
            play.out(f"Epoch {e + 1}/3")
            for b in play.batches(LENGTHS[e]):
                play.out(f"\r{b}/{N} ━━━━ 0s 50ms/step - loss: 0.5", end="")
            play.end_epoch()
            play.out("")
        if stop < 3:
            play.out(f"Epoch {stop + 1}/3")
            for b in range(1, 9):
                play.nap(0.05)
                play.out(f"\r{b}/{N} ━━━━ 0s 50ms/step - loss: 0.5", end="")
            play.out("\nTrial pruned.")
    assert read_output(play).ends == [1, 2, 3, 4, 5, 6]


def test_a_command_that_fails_ends_no_epoch():
    play = numbers(head="Epoch {e}/{E}", within="{b}/{N} [===>...] - loss: 0.5")
    play.code = 1
    assert read_output(play).ends == [1, 2, 3]  # the last one was full
    play = numbers(within="epoch {e} batch {b} loss 0.5")
    play.code = 1
    assert read_output(play).ends == [1, 2]


# Bars


def tqdm(
    name: str, *, after: str = "", first: int = 1, validation: str | None = None, epochs: int = 3, start: int = 0
) -> Play:
    play = Play()
    for e in range(start, epochs):
        play.draw(name.format(e=e + first, E=epochs), N, LENGTHS[e % 3], after)
        play.end_training()
        if validation is not None:
            play.draw(validation.format(e=e + first, E=epochs), 10, EVALUATION)
        play.end_epoch()
    play.nap(0.2)
    return play


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize(("name", "validation", "first"), [
    ("Epoch {e}/{E}", None, 1),
    ("Epoch {e}", "Validation", 1),
    ("Epoch {e}", "Epoch {e} (val)", 0),
    ("[Train] Epoch {e}/{E}", "[Valid] Epoch {e}/{E}", 1),
    ("Training epoch {e}", "Evaluating epoch {e}", 0),
    ("train | epoch {e}", "test  | epoch {e}", 1),
    ("Epoch {e}/{E} - loss 0.5123", "Epoch {e}/{E} - validation", 1),
    ("epoch={e}", "", 0),
    ("Epoche {e}/{E}", "Validierung", 1),
    ("第{e}轮", "验证", 1),
    ("Epoch:{e} loss:0.51", "scoring after epoch {e}", 1),
    ("[Epoch {e}]", "Sampling", 1),
    ("Epoch [{e}/{E}]", "Epoch [{e}/{E}] dev", 1),
])  # fmt: skip
def test_bars_that_name_the_epoch(name: str, validation: str | None, first: int, terminal: bool):
    check(tqdm(name, validation=validation, first=first), {"step": 120}, terminal=terminal)


def test_headings_that_turn_out_to_be_printed_at_the_end_are_retracted():
    play = Play()
    for e in range(3):
        play.nap(LENGTHS[e])
        play.out(f"Epoch {e + 1}/3")
        play.end_epoch()
    reading = read_output(play)
    assert reading.retracts == 1
    assert reading.news[-1].retract
    assert "read as if they began" in reading.tracker.tracks[0].broken


def test_an_evaluation_before_the_training_is_not_an_epoch():
    play = Play()
    play.nap(0.4)
    play.out("epoch 0 loss 2.303")
    for e in range(3):
        play.nap(LENGTHS[e])
        play.out(f"epoch {e + 1} loss 0.512")
        play.end_epoch()
    check(play, {}, terminal=False)


def test_a_run_resumed_within_an_epoch_did_only_part_of_it():
    play = Play()
    for e, begin in ((3, 24), (4, 0)):
        for b in range(begin, N + 1):
            play.err("\r" + play.bar(f"Epoch {e}/4", b, N), end="")
            play.nap(0.05)
        play.end_epoch()
    reading = read_output(play)
    assert reading.ends == [3, 4]
    assert reading.news[0].began == 2.6


def test_training_bars_without_a_number_are_epochs_once_they_begin_again():
    check(tqdm("Training", validation="Validating"), {"step": 120}, terminal=False)
    assert read_output(tqdm("Training", epochs=1)).ends == []


@pytest.mark.parametrize(
    "name", ["", "Processing", "Loading data", "Map", "Extracting features", "Evaluating", "Sampling", "Downloading"]
)
def test_any_other_bar_is_not_an_epoch_however_often_it_is_drawn(name: str):
    reading = read_output(tqdm(name))
    assert reading.ends == []
    assert reading.last("step") is None


def interleaved(name: str, ranks: int) -> Play:
    """Several ranks draw at once, out of step."""
    play = Play()
    for e in range(3):
        at = [0] * ranks
        count = 0
        while min(at) < N:
            for rank in range(ranks):
                play.err("\r" + play.bar(name.format(e=e + 1, E=3), max(0, at[rank] - (count + rank) % 3), N), end="")
                at[rank] = min(N, at[rank] + 2)
            count += 1
            play.nap(LENGTHS[e] / (N // 2))
        for _ in range(ranks):
            play.err("\r" + play.bar(name.format(e=e + 1, E=3), N, N), end="")
        play.end_epoch()
    play.nap(0.2)
    return play


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_that_draw_at_once_are_one_training(ranks: int):
    assert read_output(interleaved("Epoch {e}/{E}", ranks)).ends == [1, 2, 3]
    for name in ("", "Training"):
        assert read_output(interleaved(name, ranks)).ends == []


@pytest.mark.parametrize(
    "prefix", ["[rank{r}]: ", "{r}: ", "[1,{r}]<stdout>:", "rank {r} | ", "(worker pid=471{r}) ", "node{r}: "]
)
def test_ranks_distinguished_by_their_prefix(prefix: str):
    play = Play()
    for e in range(3):
        for b in play.batches(LENGTHS[e]):
            for rank in range(3):
                play.out(prefix.format(r=rank) + f"epoch {e} batch {max(b - 2 * rank, 1)}/{N} loss 0.5")
        play.end_epoch()
    check(play, {"step": 120}, terminal=False)


@pytest.mark.parametrize("lag", [0.0, 0.05, 0.13, 0.4, 1.1])
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_of_which_one_lags_make_no_false_epochs(ranks: int, lag: float):
    frames: list[tuple[float, int, int]] = []
    for rank in range(ranks):
        now = rank * lag * 0.7
        for _ in range(3):
            frames += [(now + tenth / 10, rank, min(N, 4 * tenth)) for tenth in range(N // 4)]
            now += (1 + rank * lag / 10) * N / 40
            frames.append((now, rank, N))
            now += 0.01
    play = Play()
    for at, _rank, step in sorted(frames):
        play.now = max(play.now, at)
        play.err("\r" + play.bar("train", step, N), end="")
    reading = read_output(play)
    after = [*(one.retract for one in reading.news)][::-1].index(True) if reading.retracts else len(reading.news)
    late_ends = [one.ended for one in reading.news[len(reading.news) - after :] if one.ended]
    assert late_ends in ([], [1, 2, 3])


def test_bars_of_epochs_with_bars_inside():
    for outer, inner in (("Epochs", ""), ("Epoch", "Iteration"), ("Training epochs", "Batch")):
        play = Play()
        play.err("\r" + play.bar(outer, 0, 3), end="")
        for e in range(3):
            play.draw(f"\n{inner}", N, LENGTHS[e])
            play.end_training()
            play.draw("Evaluating", 10, EVALUATION)
            play.err("\x1b[A\r" + play.bar(outer, e + 1, 3), end="")
            play.end_epoch()
        check(play, {"epochs": 3}, terminal=False)


# Output that looks like progress and is not


@pytest.mark.parametrize("lines", [
    ["Namespace(epochs=90, start_epoch=0, batch_size=256)", "{'epoch': 100, 'lr': 0.1, 'loss': 'bce'}"],
    ["loaded checkpoint (epoch 12)", "loaded checkpoint (epoch 13)", "loaded checkpoint (epoch 14)"],
    ["Best epoch: 1", "Best epoch: 2", "Best epoch: 3"],
    ["{'epoch': 41, 'best_loss': 0.3, 'state': 'ok'}"],
    ["lr at epoch 1: 0.1, epoch 2: 0.05, epoch 3: 0.01, epoch 4: 0.005"],
    ["1/1 [====] - 0s 20ms/step"] * 9,
    ["[0]\ttrain-rmse:1.2", "[1]\ttrain-rmse:1.1", "[2]\ttrain-rmse:1.0"],
    ["Iteration 1, loss = 0.5", "Iteration 2, loss = 0.4", "Iteration 3, loss = 0.3"],
    ["file 1/3 done", "file 2/3 done", "file 3/3 done"],
    ["GET /epoch/1/3 200", "GET /epoch/2/3 200", "GET /epoch/3/3 200"],
    ["https://example.com/epoch-1/", "https://example.com/epoch-2/"],
    ["Unix epoch 1700000000", "Unix epoch 1700000001", "Unix epoch 1700000002"],
    ["Epoch 1 of the Jurassic", "chapter two"],
    ["Testing epoch 3 of 3"],
])  # fmt: skip
def test_output_other_than_progress_makes_no_epoch(lines: list[str]):
    play = Play()
    for line in lines:
        play.nap(1.0)
        play.out(line)
    assert read_output(play).ends == []


def test_a_list_of_epochs_printed_at_once_does_not_count():
    play = Play()
    play.out("\n".join(f"epoch {n}: lr 0.{n}" for n in range(1, 90)))
    play.nap(5.0)
    assert read_output(play).ends == []
    play = Play()
    play.out("epoch  loss  val_loss  lr\n" + "\n".join(f"{n}  0.5  0.4  0.1" for n in range(1, 90)))
    play.nap(5.0)
    assert read_output(play).ends == []


def test_preparation_before_a_training_is_not_part_of_it():
    play = Play()
    for _ in range(5):
        play.draw("", 200, 0.5)
    play.out(json.dumps({"epoch": 50, "loss": "mse"}))
    play.out("epochs: 50\nEpoch 50/50 is planned")
    for e in range(3):
        play.draw(f"Epoch {e + 1}/3", N, 2.0)
        play.end_epoch()
    check(play, {"epochs": 3, "step": 120}, terminal=True)
